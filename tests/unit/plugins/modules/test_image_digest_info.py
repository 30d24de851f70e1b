# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import image_digest_info

from tests.support.images import FakeEngine

Run = Callable[..., dict[str, Any]]
REDIS, ISAAC = "docker.io/library/redis:8.0", "nvcr.io/nvidia/isaac-sim:5.1.0"
DIGEST = f"sha256:{'ab' * 32}"
PASSWORD = "canary-ngc-1f6e"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    running = FakeEngine(tmp_path / "docker.sock")
    yield running
    running.close()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module and return its result."""

    def run_module(*names: str) -> dict[str, Any]:
        arguments = {
            "images": list(names),
            "docker_socket": str(tmp_path / "docker.sock"),
            "docker_config": str(tmp_path / "config.json"),
        }
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            image_digest_info.main()
        out = capsys.readouterr().out
        assert PASSWORD not in out
        return dict(json.loads(out))

    return run_module


def test_each_registry_gets_its_own_credentials(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    login = base64.b64encode(f"$oauthtoken:{PASSWORD}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"nvcr.io": {"auth": login}}}))
    engine.digests = {ISAAC: DIGEST}
    result = run(REDIS, ISAAC)
    assert result["changed"] is False
    assert result["digests"] == {ISAAC: DIGEST}
    assert result["problems"] == {REDIS: f"manifest unknown: {REDIS}"}
    (redis, none), (isaac, sent) = engine.pulls
    assert (redis, none, isaac) == (REDIS, "", ISAAC)
    assert PASSWORD in base64.urlsafe_b64decode(sent).decode()


@pytest.mark.parametrize("digest", ["", "sha512:" + "a" * 128, DIGEST.upper(), DIGEST + "\n", DIGEST[:-1]])
def test_an_answer_without_a_digest(run: Run, engine: FakeEngine, digest: str) -> None:
    engine.digests = {REDIS: digest}
    assert run(REDIS)["digests"] == {}
    assert "no SHA-256 digest" in run(REDIS)["problems"][REDIS]


def test_no_engine_and_an_invalid_name(run: Run) -> None:
    result = run(REDIS, "redis")
    assert result["digests"] == {}
    assert "no engine answers" in result["problems"][REDIS]
    assert "redis is not a full image name" in result["problems"]["redis"]
