# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/pin.yml on this machine, with a fake engine that has the registries' digests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.images import FakeEngine
from tests.support.project import ROOT

REDIS, BASE = "docker.io/library/redis:8.0", "docker.io/library/debian:trixie-slim"
FIRST, SECOND = (f"sha256:{word * 32}" for word in ("ab", "cd"))
DOCKER = f"""#!/bin/sh
case "$*" in *redis*) echo docker.io/library/redis@{FIRST} ;; *) exit 1 ;; esac
"""


# The Python of a host that forges the module's answer.
FORGER = """#!/bin/sh
case "$*" in *image_digest_info*) cat {answer} ;; *) exec {python} "$@" ;; esac
"""


def pin(folder: Path, code: int = 0) -> str:
    """Run the playbook with the engine's socket in a folder, and check its exit status."""
    words = ["mount --bind", str(folder / "run"), "/run && exec ansible-playbook -i", str(folder / "lab.ini")]
    words += ["-e", f"lab_sbom_file={folder}/lab.cdx.json"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", " ".join([*words, "playbooks/pin.yml"])],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_images_are_pinned_and_listed(tmp_path: Path) -> None:
    for name in ("run", "bin", "group_vars"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    python = f"ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}"
    image = "digital_twin_stack_redis_image=library/redis:8.0"
    # A variable of the host would override the file.
    (tmp_path / "lab.ini").write_text(f"[lab]\nhere {python}\n[all:vars]\n{image}\naws_infrastructure_name=my-lab\n")
    pins = tmp_path / "group_vars" / "lab.yml"
    engine = FakeEngine(tmp_path / "run" / "docker.sock")
    try:
        engine.digests = {REDIS: FIRST, BASE: FIRST}
        assert "failed=0" in pin(tmp_path)
        wanted = {
            "digital_twin_stack_redis_image": f"library/redis:8.0@{FIRST}",
            "digital_twin_stack_base_image": f"library/debian:trixie-slim@{FIRST}",
        }
        assert yaml.safe_load(pins.read_text()) == wanted
        document = json.loads((tmp_path / "lab.cdx.json").read_text())
        (redis,) = (part for part in document["components"] if part["type"] == "container")
        assert (redis["name"], redis["hashes"][0]["content"]) == ("docker.io/library/redis", FIRST[7:])
        # A moved tag is detected, and an unreachable registry does not remove existing pins.
        engine.digests = {BASE: SECOND}
        assert f"{REDIS} stays as it was" in " ".join(pin(tmp_path).split())
        wanted["digital_twin_stack_base_image"] = f"library/debian:trixie-slim@{SECOND}"
        assert yaml.safe_load(pins.read_text()) == wanted
    finally:
        engine.close()


@pytest.mark.parametrize("digest", ["{{ lookup('pipe', 'touch OWNED') }}", f"{FIRST}\n"])
def test_a_host_writes_no_template_into_the_variables(tmp_path: Path, digest: str) -> None:
    """The file is read as group_vars, whose templates run on the control machine."""
    for name in ("run", "bin", "group_vars"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    answer, forger = tmp_path / "answer.json", tmp_path / "python"
    answer.write_text(json.dumps({"changed": False, "digests": {REDIS: digest, BASE: FIRST}, "problems": {}}))
    forger.write_text(FORGER.format(answer=answer, python=sys.executable))
    forger.chmod(0o755)
    host = f"here ansible_connection=local ansible_become=false ansible_python_interpreter={forger}"
    (tmp_path / "lab.ini").write_text(f"[lab]\n{host}\n[all:vars]\ndigital_twin_stack_redis_image=library/redis:8.0\n")
    shown = pin(tmp_path, 2)
    assert "digital_twin_stack_redis_image of here" in " ".join(shown.split())
    assert not (tmp_path / "group_vars" / "lab.yml").exists()


def test_a_failed_host_writes_no_template_into_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root of a host can return any fact from any module, where facts are also variables."""
    monkeypatch.setenv("ANSIBLE_INJECT_FACT_VARS", "true")
    for name in ("run", "bin", "group_vars"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    answer, forger = tmp_path / "answer.json", tmp_path / "python"
    pins = {"digital_twin_stack_redis_image": "{{ lookup('pipe', 'touch OWNED') }}"}
    facts = {"digital_twin_stack_pins": pins, "pin_described": {}}
    answer.write_text(json.dumps({"changed": False, "ansible_facts": facts}))
    forger.write_text(
        FORGER.replace("image_digest_info*) cat", "_setup*) cat")
        .replace('exec {python} "$@"', "exit 1")
        .format(answer=answer)
    )
    forger.chmod(0o755)
    local = "ansible_connection=local ansible_become=false ansible_python_interpreter="
    hosts = f"here {local}{sys.executable}\nfailed {local}{forger}\n"
    (tmp_path / "lab.ini").write_text(f"[lab]\n{hosts}[all:vars]\ndigital_twin_stack_redis_image=library/redis:8.0\n")
    engine = FakeEngine(tmp_path / "run" / "docker.sock")
    engine.digests = {REDIS: FIRST, BASE: FIRST}
    try:
        shown = pin(tmp_path, 2)
    finally:
        engine.close()
    assert "digital_twin_stack_redis_image of failed" in " ".join(shown.split())
    assert not (tmp_path / "group_vars" / "lab.yml").exists()
