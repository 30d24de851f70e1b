# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_sbom import lab_sbom

DIGEST = f"sha256:{'ab' * 32}"
HOST = {
    "images": [
        {"reference": f"docker.io/library/redis:8.0@{DIGEST}", "digest": DIGEST},
        {"reference": "registry.lab:5000/digital-twin/cognitive:1.0.0-0123", "digest": ""},
    ],
    "packages": ["docker.io 26.1.5+dfsg1-9 amd64", "libnvidia-compute-550 1:550.163.01-2 amd64"],
    "python": ["boto3==1.44.5"],
    "application": {"url": "https://example.com/robots.git", "revision": "a" * 40},
    "system": {"name": "Debian", "version": "13"},
}


def test_everything_that_runs_is_listed_once() -> None:
    document = lab_sbom({"lab-1": HOST, "lab-2": HOST}, "lab", {"amazon.aws": "10.1.2"})
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    references = [component["bom-ref"] for component in document["components"]]
    assert len(references) == len(set(references))
    assert {component.get("purl") for component in document["components"]} == {
        None,
        f"pkg:oci/redis@sha256%3A{'ab' * 32}?repository_url=docker.io%2Flibrary%2Fredis&tag=8.0",
        "pkg:oci/cognitive@1.0.0-0123?repository_url=registry.lab%3A5000%2Fdigital-twin%2Fcognitive&tag=1.0.0-0123",
        "pkg:deb/debian/docker.io@26.1.5%2Bdfsg1-9?arch=amd64&distro=debian-13",
        "pkg:deb/debian/libnvidia-compute-550@1%3A550.163.01-2?arch=amd64&distro=debian-13",
        "pkg:pypi/boto3@1.44.5",
        f"pkg:generic/application@{'a' * 40}?vcs_url=https%3A%2F%2Fexample.com%2Frobots.git",
        "pkg:generic/amazon.aws@10.1.2",
    }
    redis = next(part for part in document["components"] if part["name"] == "docker.io/library/redis")
    assert redis["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    depends = {row["ref"]: row["dependsOn"] for row in document["dependencies"]}
    assert depends["lab"] == ["pkg:generic/amazon.aws@10.1.2", "host-lab-1", "host-lab-2"]
    assert {*depends["host-lab-1"], *depends["lab"]} <= set(references)


def test_the_same_lab_has_the_same_document() -> None:
    assert lab_sbom({"a": HOST}, "lab") == lab_sbom({"a": HOST}, "lab")
    assert lab_sbom({"a": HOST}, "lab")["serialNumber"] != lab_sbom({"a": {}}, "lab")["serialNumber"]


def test_the_controller_is_part_of_the_lab() -> None:
    names = {component["name"] for component in lab_sbom({}, "lab")["components"]}
    assert names == {"ansible-core", "digital_twin.robotics_lab", "amazon.aws", "community.crypto", "community.docker"}
