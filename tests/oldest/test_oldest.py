# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests of code that uses Ansible, and the gates marked each_line, on the oldest line of Ansible.

tests/e2e/test_2_lab.py runs that line on a lab.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.lines import OLDEST
from tests.support.project import clean_environment, run

SECONDS = 2000
# The code under test does not use Ansible: programs of the hosts and of the sandbox, and plugins/module_utils, as
# test_module_utils_use_nothing_of_ansible in tests/gates/test_lint.py checks.
WITHOUT_ANSIBLE = (
    "cognitive",
    "simulators",
    "plugins/module_utils",
    "ros2",
    "sandbox",
    "world",
    "test_digital_twin_stack_files.py",
    "test_docker_engines.py",
    "test_python_environment_files.py",
)
LEFT_OUT = [f"--ignore=tests/unit/{name}" for name in WITHOUT_ANSIBLE]
# The folders of unit tests, so that several workers can share them.
UNIT = {
    "modules": ["tests/unit/plugins/modules"],
    "plugins": ["tests/unit/plugins", "--ignore=tests/unit/plugins/modules", *LEFT_OUT],
    "rest": ["tests/unit", "--ignore=tests/unit/plugins", *LEFT_OUT],
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
