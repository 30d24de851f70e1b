# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests of code that uses Ansible, and the gates marked each_line, on the oldest line of Ansible.

tests/e2e/test_2_lab.py runs that line on a lab.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.ansible_lines import OLDEST
from tests.support.project import clean_environment, run

SECONDS = 2000
# The code under test does not use Ansible: programs of the hosts and of the sandbox, and plugins/module_utils, as
# test_module_utils_use_nothing_of_ansible in tests/gates/test_lint.py checks.
WITHOUT_ANSIBLE = (
    "compose/cognitive",
    "compose/ros2",
    "compose/world",
    "docs",
    "plugins/module_utils",
    "roles/digital_twin_stack/test_programs.py",
    "roles/docker/test_engines.py",
    "roles/python_environment/test_pip_settings.py",
    "sandbox",
    "support",
)
# Slow tests of playbooks and roles. Other tests of the same file, or tests/e2e, run the same code on both lines.
CASES_OF_ONE_LINE = (
    "plugins/test_tagged_things.py::test_destroy_removes_nothing_while_another_tag_hides_a_part_of_the_lab",
    "plugins/test_tagged_things.py::test_the_summary_shows_no_ssh_option_from_a_tag",
    "roles/aws_infrastructure/test_cost.py::test_the_cost_is_recorded_and_reported",
    "roles/aws_infrastructure/test_cost.py::test_the_prices_that_were_used_are_named",
    "roles/aws_infrastructure/test_data_volumes.py::test_a_data_volume_outlives_its_lab",
    "roles/aws_infrastructure/test_move.py::test_a_host_moves_with_the_consent_of_the_user",
    "roles/aws_infrastructure/test_power.py::test_a_lab_is_stopped_started_and_resized_in_place",
    "roles/aws_infrastructure/test_rights.py::test_a_tunnel_closes_the_ports_of_viewers_and_the_summary_shows_it",
    "roles/aws_infrastructure/test_rights.py::test_each_variable_adds_its_rights_and_removes_them",
    "roles/aws_schedule/test_schedule.py::test_awake",
    "roles/aws_schedule/test_schedule.py::test_awake_is_not_forgotten_and_can_end_early",
    "roles/aws_schedule/test_schedule.py::test_awake_that_ends_early_before_it_held_a_stop",
    "roles/aws_schedule/test_schedule.py::test_stop_only",
    "roles/aws_schedule/test_schedule.py::test_exceptions",
    "roles/aws_schedule/test_schedule.py::test_a_terminated_instance_does_not_keep_the_others_running",
    "roles/aws_schedule/test_schedule.py::test_times_that_are_removed_from_the_description",
    "roles/aws_schedule/test_schedule.py::test_a_start_without_capacity_does_not_come_in_the_evening",
    "roles/aws_schedule/test_schedule.py::test_a_start_with_capacity_after_half_an_hour",
    "roles/aws_schedule/test_schedule.py::test_the_key_of_the_volumes",
)
LEFT_OUT = [
    *(f"--ignore=tests/unit/{name}" for name in WITHOUT_ANSIBLE),
    *(f"--deselect=tests/unit/{name}" for name in CASES_OF_ONE_LINE),
]
# The folders of unit tests, so that several workers can share them.
UNIT = {
    "modules": ["tests/unit/plugins/modules"],
    "plugins": ["tests/unit/plugins", "--ignore=tests/unit/plugins/modules", *LEFT_OUT],
    "roles": ["tests/unit/roles", *LEFT_OUT],
    "rest": ["tests/unit", "--ignore=tests/unit/plugins", "--ignore=tests/unit/roles", *LEFT_OUT],
}


@pytest.mark.oldest
@pytest.mark.parametrize(
    "selection",
    [
        pytest.param(["-m", "gate and each_line", "-k", "sanity"], id="sanity"),
        pytest.param(["-m", "gate and each_line", "-k", "not sanity"], id="gates"),
        *(pytest.param(["-m", "unit", *words], id=f"unit-{name}") for name, words in UNIT.items()),
    ],
)
def test_oldest_line(selection: list[str], record_property: Callable[[str, object], None]) -> None:
    # pytest's variables describe this run, and must not reach its children.
    environment = {
        name: value for name, value in clean_environment().items() if not name.startswith(("PYTEST_", "PY_COLORS"))
    }
    command = [str(OLDEST.programs / "pytest"), "-p", "no:cacheprovider", "-q", *selection]
    output = run(command, env=OLDEST.first_on_path(environment), timeout=SECONDS)
    record_property("summary", output.splitlines()[-1].strip("= "))
