# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the machine's real apt with sources, lists and keys below a folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote


class AptRoot:
    """A folder that apt uses as the root of an amd64 host."""

    def __init__(self, folder: Path) -> None:
        """Create an apt without sources."""
        self.folder = folder
        self.main = folder / "etc/apt/sources.list"
        self.parts = folder / "etc/apt/sources.list.d"
        self.keyrings = folder / "etc/apt/keyrings"
        self.lists = folder / "var/lib/apt/lists"
        self.configuration = folder / "apt.conf"
        for place in (self.parts, self.lists / "partial", folder / "var/cache/apt/archives/partial"):
            place.mkdir(parents=True)
        for name in ("apt.conf.d", "preferences.d", "auth.conf.d", "trusted.gpg.d"):
            (folder / "etc/apt" / name).mkdir()
        (folder / "status").touch()
        self.configure(f'Dir "{folder}"; Dir::Bin::methods "/usr/lib/apt/methods"; Dir::Log "log";')
        self.configure(f'Dir::State::status "{folder}/status"; APT::Sandbox::User "root"; Acquire::Retries "0";')
        self.configure('APT::Architecture "amd64"; APT::Architectures { "amd64"; };')

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which apt uses the folder."""
        return {"APT_CONFIG": str(self.configuration)}

    def configure(self, text: str) -> None:
        """Add to apt's configuration."""
        with self.configuration.open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def write(self, name: str, text: str) -> Path:
        """Write a file below /etc/apt; a binary key is text with surrogates."""
        path = self.folder / "etc/apt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", "surrogateescape")
        return path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run apt-get."""
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", **self.environment}
        return subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)

    def releases(self) -> set[str]:
        """Return the folder of each Release file that apt would download, without scheme and login."""
        done = self.run("update", "--print-uris")
        assert done.returncode == 0, done.stderr
        uris = [line.split("'")[1] for line in done.stdout.splitlines()]
        places = [unquote(uri.partition(":")[2]).removeprefix("//") for uri in uris if uri.endswith("/InRelease")]
        return {place.partition("@")[2] or place for place in (place.removesuffix("InRelease") for place in places)}

    def files(self) -> dict[str, str]:
        """Return every file below /etc/apt with its text, as it was written."""
        etc = self.folder / "etc/apt"
        return {
            str(path.relative_to(etc)): path.read_text("utf-8", "surrogateescape")
            for path in etc.rglob("*")
            if path.is_file()
        }


@contextmanager
def apt_root() -> Iterator[AptRoot]:
    """Yield an apt in its own folder, which the user _apt can enter."""
    folder = Path(tempfile.mkdtemp(prefix="apt-root-"))
    folder.chmod(0o755)
    try:
        yield AptRoot(folder)
    finally:
        shutil.rmtree(folder)
