"""The effects of role python_environment, as other users of the host see them."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from testinfra.host import Host

ENVIRONMENT = "/opt/digital-twin/nvml"
# The scenario takes the package and its version from there.
DEFAULTS = Path(__file__).parents[3] / "roles" / "gpu_tuning" / "defaults" / "main.yml"


def test_every_user_can_import_the_package_in_its_version(host: Host) -> None:
    code = "import importlib.metadata, pynvml; print(importlib.metadata.version('nvidia-ml-py'))"
    imported = host.check_output(f'cd / && runuser -u nobody -- {ENVIRONMENT}/bin/python -c "{code}"')
    assert imported == yaml.safe_load(DEFAULTS.read_text("utf-8"))["gpu_tuning_binding_version"]


def test_nothing_else_is_installed(host: Host) -> None:
    # The scenario leaves a pip configuration on the host, which this call must not read.
    pip = f"env PIP_CONFIG_FILE=/dev/null {ENVIRONMENT}/bin/python -m pip"
    listed = json.loads(host.check_output(f"{pip} list --format=json"))
    assert {package["name"] for package in listed} - {"pip", "setuptools"} == {"nvidia-ml-py"}


def test_the_python_of_the_host_does_not_have_the_package(host: Host) -> None:
    assert host.run("/usr/bin/python3 -c 'import pynvml'").rc == 1


def test_only_root_may_write_there(host: Host) -> None:
    others = host.check_output(r"find /opt/digital-twin ! -type l \( ! -user root -o -perm /022 \)")
    assert others == ""
