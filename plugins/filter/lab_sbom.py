# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_sbom."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_sbom
short_description: Describe the software of a lab as a CycloneDX document
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns a software bill of materials in the format of CycloneDX 1.6. Write it to a file for scanners with
    C(to_nice_json). The same input gives the same document.
options:
  _input:
    description:
      - The software of each host, by the hosts' names.
      - C(images) lists container images, each with its C(reference), such as C(name:tag), and its C(digest) or id.
        C(packages) lists C(name version architecture) of dpkg. C(python) lists Python packages as C(name==version).
        C(application) has C(url) and C(revision). C(system) has C(name) and C(version).
    type: dict
    required: true
  lab:
    description: Name of the lab.
    type: str
    required: true
  controller:
    description:
      - Versions of ansible-core and of collections, by their names. When not set, those of this collection and of the
        collections that it depends on.
    type: dict
"""

EXAMPLES = r"""
- name: Write the bill of materials
  ansible.builtin.copy:
    dest: lab.cdx.json
    content: "{{ hosts | digital_twin.robotics_lab.lab_sbom('robotics-lab') | to_nice_json }}"
    mode: "0644"
  vars:
    hosts:
      robotics-lab-1:
        packages: [docker.io 26.1.5+dfsg1-9 amd64]
        system: {name: Debian, version: "13"}
"""

RETURN = r"""
_value:
  description: The document.
  type: dict
  sample: {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [], "dependencies": []}
"""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ansible.release import __version__ as core_version

from ..lookup.untested_versions import OWN, described, folder_of

REFERENCE = re.compile(
    r"(?P<name>[^@]+?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
SHA256 = re.compile(r"sha256:([0-9a-f]{64})")


def purl(kind: str, name: str, version: str, **qualifiers: str) -> str:
    """Return a package URL."""
    words = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(qualifiers.items()) if value)
    place = "/".join(quote(part, safe="") for part in name.split("/"))
    return f"pkg:{kind}/{place}@{quote(version, safe='')}{'?' + words if words else ''}"


def component(kind: str, name: str, version: str, reference: str, **rest: Any) -> dict[str, Any]:
    """Return a component that is known by a package URL, or by another name of its own."""
    made = {"type": kind, "bom-ref": reference, "name": name, "version": version, **rest}
    return made | ({"purl": reference} if reference.startswith("pkg:") else {})


def of_image(image: Mapping[str, str]) -> dict[str, Any]:
    """Return a container image."""
    match = REFERENCE.fullmatch(image["reference"])
    name, tag = (match["name"], match["tag"] or "") if match else (image["reference"], "")
    digest = image.get("digest") or (match["digest"] if match else "") or ""
    reference = purl("oci", name.rpartition("/")[2], digest or tag, repository_url=name, tag=tag)
    found = SHA256.fullmatch(digest)
    rest = {"hashes": [{"alg": "SHA-256", "content": found[1]}]} if found else {}
    return component("container", name, tag or digest, reference, **rest)


def of_host(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the software of one host."""
    system = facts.get("system") or {"name": "linux", "version": "0"}
    vendor = str(system["name"]).lower()
    found = [of_image(image) for image in facts.get("images") or ()]
    for line in facts.get("packages") or ():
        name, version, architecture = line.split()
        distro = f"{vendor}-{system['version']}"
        reference = purl("deb", f"{vendor}/{name}", version, arch=architecture, distro=distro)
        found.append(component("library", name, version, reference))
    for name, _sign, version in (pin.partition("==") for pin in facts.get("python") or ()):
        found.append(component("library", name, version, purl("pypi", name, version)))
    application = facts.get("application") or {}
    if application.get("revision"):
        reference = purl("generic", "application", application["revision"], vcs_url=application["url"])
        found.append(component("application", "application", application["revision"], reference))
    found.append(component("operating-system", vendor, str(system["version"]), f"{vendor}-{system['version']}"))
    return found


def controller_versions() -> dict[str, str]:
    """Return the versions of ansible-core, of this collection and of those that it depends on."""
    found = {"ansible-core": core_version}
    own = folder_of(OWN)
    for name in (OWN, *(described(own).get("dependencies") or {} if own else {})):
        folder = folder_of(name)
        if folder:
            found[name] = str(described(folder)["version"])
    return found


def lab_sbom(hosts: Mapping[str, Any], lab: str, controller: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the bill of materials of a lab."""
    components: dict[str, dict[str, Any]] = {}
    dependencies: dict[str, list[str]] = {"lab": []}
    versions = controller_versions() if controller is None else controller
    for name, version in sorted(versions.items()):
        made = component("framework", name, version, purl("generic", name, version))
        components[made["bom-ref"]] = made
        dependencies["lab"].append(made["bom-ref"])
    for host, facts in sorted(hosts.items()):
        reference = f"host-{host}"
        components[reference] = {"type": "device", "bom-ref": reference, "name": host}
        runs = {made["bom-ref"]: made for made in of_host(facts)}
        components |= runs
        dependencies["lab"].append(reference)
        dependencies[reference] = sorted(runs)
    body = {
        "metadata": {"component": {"type": "platform", "bom-ref": "lab", "name": lab}},
        "components": [components[key] for key in sorted(components)],
        "dependencies": [{"ref": key, "dependsOn": value} for key, value in sorted(dependencies.items())],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1, **body}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"lab_sbom": lab_sbom}
