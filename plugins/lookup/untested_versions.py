# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lookup untested_versions."""

from __future__ import annotations

DOCUMENTATION = r"""
name: untested_versions
short_description: Check ansible-core and collections against the tested versions
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares the installed ansible-core and the installed dependencies of this collection with the ranges that this
    collection is tested with, which are in its C(meta/runtime.yml) and in its list of dependencies.
"""

EXAMPLES = r"""
- name: Report versions that are not tested
  ansible.builtin.debug:
    msg: "{{ item.message }}"
  loop: "{{ query('digital_twin.robotics_lab.untested_versions') }}"
"""

RETURN = r"""
_raw:
  description: One element for each version that is outside its range, and for each collection that is missing.
  type: list
  elements: dict
  contains:
    name:
      description: C(ansible-core), or the name of the collection.
      type: str
      sample: amazon.aws
    installed:
      description: The installed version. Empty when the collection is not installed.
      type: str
      sample: 9.0.0
    tested:
      description: The range that is tested.
      type: str
      sample: '>=10.1.0,<12.0.0'
    message:
      description: One line about it, with the remedy.
      type: str
      sample: amazon.aws 9.0.0 is installed, and this collection is tested with >=10.1.0,<12.0.0. Run ...
"""

import importlib
import json
import operator
import re
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleLookupError
from ansible.module_utils.compat.version import LooseVersion
from ansible.plugins.lookup import LookupBase
from ansible.release import __version__ as core_version

OWN = "digital_twin.robotics_lab"
COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}
CLAUSE = re.compile(r"([<>=]+)\s*([0-9][0-9.]*)")


def described(folder: Path) -> dict[str, Any]:
    """Return the metadata of a collection, whether it was built or is a checkout.

    Args:
        folder: The collection's folder.

    Raises:
        OSError: it has neither MANIFEST.json nor galaxy.yml.
    """
    manifest = folder / "MANIFEST.json"
    if manifest.is_file():
        return dict(json.loads(manifest.read_text("utf-8"))["collection_info"])
    return dict(yaml.safe_load((folder / "galaxy.yml").read_text("utf-8")))


def folder_of(collection: str) -> Path | None:
    """Return the folder of a collection as Ansible finds it, or None."""
    try:
        package = importlib.import_module(f"ansible_collections.{collection}")
    except ImportError:
        return None
    return Path(next(iter(package.__path__)))


def contains(tested: str, version: str) -> bool:
    """Return whether a range such as ">=2.19.0,<2.22" contains a version.

    A pre-release such as 2.21.0rc1 counts as its version: only its leading numbers are compared.
    """
    numbers = LooseVersion(".".join(re.findall(r"[0-9]+", re.split(r"[a-z+-]", version)[0])) or "0")
    return all(COMPARISONS[sign](numbers, LooseVersion(limit)) for sign, limit in CLAUSE.findall(tested))


def judge(name: str, installed: str, tested: str) -> dict[str, str] | None:
    """Return a finding, or None for a tested version.

    Args:
        name: "ansible-core" or a collection.
        installed: Its version; empty when it is not installed.
        tested: The range of tested versions.
    """
    if installed and contains(tested, installed):
        return None
    state = f"{name} {installed} is installed" if installed else f"{name} is not installed"
    install = (
        f"python3 -m pip install '{name}{tested}'"
        if name == "ansible-core"
        else f"ansible-galaxy collection install '{name}:{tested}'"
    )
    message = f"{state}, and {OWN} is tested with {tested}. Run `{install}`."
    return {"name": name, "installed": installed, "tested": tested, "message": message}


class LookupModule(LookupBase):
    """Returns the versions that are not tested."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, str]]:
        """Return one element for each finding; it takes no terms."""
        if terms or kwargs:
            raise AnsibleLookupError("The lookup untested_versions takes no arguments.")
        own = folder_of(OWN)
        if own is None:
            raise AnsibleLookupError(f"Ansible does not find {OWN}. Install it, or add its folder to collections_path.")
        runtime = yaml.safe_load((own / "meta" / "runtime.yml").read_text("utf-8"))
        findings = [judge("ansible-core", core_version, runtime["requires_ansible"])]
        for name, tested in described(own)["dependencies"].items():
            folder = folder_of(name)
            findings.append(judge(name, described(folder)["version"] if folder else "", tested))
        return [finding for finding in findings if finding]
