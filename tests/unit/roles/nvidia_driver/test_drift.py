# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role nvidia_driver finds changed on a host, and when it may reboot it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.drift import ROOT_FILE, values_of
from tests.support.project import ROOT


@pytest.mark.parametrize("answer", [True, False])
def test_nvidia_driver_accepts_text_for_other_types(tmp_path: Path, answer: bool) -> None:
    values = {
        "replace": "{{ __nvidia_driver_request.replace }}",
        "held": "{{ __nvidia_driver_kernels | length > 0 }}",
        "nouveau": "{{ __nvidia_driver_nouveau_differs }}",
    }
    file = "/etc/modprobe.d/digital-twin-nvidia-driver.conf"
    host: dict[str, Any] = {
        "commands": {
            "gpus": {"stdout_lines": []},
            "dpkg": {"stdout": "installed linux-image-6.8.0-1-generic 6.8.0-1 linux install Ubuntu\n"},
        },
        "files": {file: {**ROOT_FILE, "content": "{{ __nvidia_driver_nouveau_text }}"}},
    }
    writable = {**host, "files": {file: {**host["files"][file], "mode": "0666"}}}
    cases = {
        name: {"__nvidia_driver_host": state, "__nvidia_driver_kept": False}
        for name, state in (("whole", host), ("writable", writable))
    }
    word = str(answer).lower()
    text = f"nvidia_driver_replace={word} nvidia_driver_hold_kernel={word}"
    found = values_of(tmp_path, "nvidia_driver", values, cases, text)
    assert found["whole"] == {"replace": answer, "held": answer, "nouveau": False}
    assert found["writable"]["nouveau"] is True


@pytest.mark.parametrize("answer", ["true", "false"])
def test_the_text_false_does_not_permit_a_reboot(tmp_path: Path, answer: str) -> None:
    """The conditions of the role's own block, on a host whose driver needs a reboot."""
    values = {"reboots": "{{ " + reboot_condition() + " }}"}
    cases = {"case": {"nvidia_driver_reboot_required": True, "__nvidia_driver_control_node": False}}
    found = values_of(tmp_path, "nvidia_driver", values, cases, f"nvidia_driver_reboot_ok={answer}")
    assert found["case"]["reboots"] is (answer == "true")


def reboot_condition() -> str:
    """Return the condition of the block that reboots."""
    lines = (ROOT / "roles/nvidia_driver/tasks/load.yml").read_text().splitlines()
    return lines[lines.index("- name: load | Reboot the host once") + 1].removeprefix("  when: ")


@pytest.mark.parametrize("module", ["auto", "proprietary", "open"])
def test_gpus_without_a_common_module_are_refused_before_anything_changes(tmp_path: Path, module: str) -> None:
    """The problem of the host is known before a source of packages is added."""
    gpus = {"volta": ["0x1db1"], "blackwell": ["0x2bb5"], "turing": ["0x1eb8"], "both": ["0x1db1", "0x2bb5"]}
    cases = {
        name: {
            "__nvidia_driver_host": {
                "commands": {"gpus": {"stdout_lines": ids}, "dpkg": {"stdout": ""}, "probe": {"stdout": ""}}
            }
        }
        for name, ids in gpus.items()
    }
    values = {"problem": "{{ __nvidia_driver_host_problem }}"}
    found = values_of(tmp_path, "nvidia_driver", values, cases, f"nvidia_driver_module={module}")
    refused = {name for name, case in found.items() if case["problem"]}
    assert refused == {"both", *({"proprietary": ["blackwell"], "open": ["volta"]}.get(module, []))}
    assert "Remove one of these GPUs, or use two hosts." in found["both"]["problem"]
