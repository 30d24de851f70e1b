# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command as if this host had no settings for Python and pip, except pip's certificates and proxy.

The first argument is a JSON file with ``index_url`` and ``trusted_hosts``, or empty; the rest is the command. pip gets
its options in its environment, which only root and the caller can read, and never on a command line.
"""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

SYSTEM_FILE = Path("/etc/pip.conf")
# How this host reaches any index, and not what pip does with packages.
KEPT = ("cert", "client-cert", "proxy", "trusted-host")
SECTIONS = ("global", "install")
# pip, venv and Python read these; uv would.
SETTINGS = ("PIP_", "PYTHON", "UV_", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
OWN = {
    # pip then reads no configuration file.
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_NO_INPUT": "1",
    # Without these two, a dependency or what builds a package from source would come in a version that was not pinned.
    "PIP_NO_DEPS": "1",
    "PIP_ONLY_BINARY": ":all:",
    "PIP_ROOT_USER_ACTION": "ignore",
}


def pip_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files from which pip would read options, the last of which wins."""
    named, home = environment.get("PIP_CONFIG_FILE", ""), Path(environment.get("HOME") or "~").expanduser()
    if named == os.devnull:
        return
    for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        yield Path(folder, "pip", "pip.conf")
    yield SYSTEM_FILE
    if not Path(named).is_file():
        yield home / ".pip" / "pip.conf"
        yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(named)


def pip_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the options of this host's pip that are kept, by their names."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for path in pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            # pip would stop at such a file, and no option could be read from it.
            continue
        for section in SECTIONS:
            options = parser.items(section) if parser.has_section(section) else []
            found[section].update({name.removeprefix("--").replace("_", "-"): value for name, value in options})
    environ = {name: environment.get(f"PIP_{name.upper().replace('-', '_')}", "") for name in KEPT}
    rows = [*found.values(), environ]
    return {name: row[name] for row in rows for name in KEPT if row.get(name)}


def alone(environment: Mapping[str, str], index_url: str, trusted_hosts: list[str]) -> dict[str, str]:
    """Return the environment of the command."""
    options = pip_options(environment)
    trusted = dict.fromkeys([*trusted_hosts, *options.pop("trusted-host", "").split()])
    variables = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in options.items()}
    variables |= {"PIP_INDEX_URL": index_url, "PIP_TRUSTED_HOST": " ".join(trusted)}
    rest = {name: value for name, value in environment.items() if not name.startswith(SETTINGS)}
    return {**rest, **OWN, **{name: value for name, value in variables.items() if value}}


def main() -> int:
    """Run the command, and return its exit status."""
    settings, *command = sys.argv[1:]
    index = json.loads(Path(settings).read_text(encoding="utf-8")) if settings else {}
    environment = alone(os.environ, index.get("index_url", ""), index.get("trusted_hosts", []))
    # All users may run what is installed, whatever the host's umask.
    os.umask(0o022)
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
