"""Create a Python package index in a folder: arm in two versions, the later of which needs gripper."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PACKAGES = (("arm", "1.0", ""), ("arm", "2.0", "gripper>=3"), ("gripper", "3.1", ""))


def make_wheel(folder: Path, name: str, version: str, needs: str) -> str:
    """Write a wheel with a module that has its version, and return its file name."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": metadata + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: make_index\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def make_index(root: Path) -> None:
    """Write the wheels, and the page that pip reads for each name."""
    pages: dict[str, str] = {}
    for name, version, needs in PACKAGES:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        wheel = make_wheel(folder, name, version, needs)
        pages[name] = f'{pages.get(name, "")}<a href="{wheel}">{wheel}</a>\n'
    for name, links in pages.items():
        (root / name / "index.html").write_text(f"<!DOCTYPE html>\n<html><body>\n{links}</body></html>\n", "utf-8")


if __name__ == "__main__":
    make_index(Path(sys.argv[1]))
