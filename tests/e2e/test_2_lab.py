# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running lab: inventory, access, correction of drift, and restart after a stop."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.account import counts, holdings
from tests.support.ansible_lines import MAIN, OLDEST, Line, why_not_both
from tests.support.lab import Cloud, execute, inventory, on_host

NAME = "robotics-lab"
HOSTS = [f"{NAME}-1", f"{NAME}-2"]
BOTH_LINES = [pytest.param(MAIN, id="main"), pytest.param(OLDEST, id="oldest", marks=pytest.mark.oldest)]


def ids(lab: Cloud) -> dict[str, str]:
    """Return the ids of the running instances by their names."""
    return {name: host.id for name, host in lab.hosts().items()}


def metadata_answers(lab: Cloud) -> dict[str, str]:
    """Return whether each running container of the stack on the first host connects to the metadata service."""
    running = "docker ps --filter label=com.docker.compose.project=digital-twin --format"
    fields = '{{.ID}} {{.Label "com.docker.compose.service"}}'
    connect = 'timeout 5 bash -c "</dev/tcp/169.254.169.254/80" 2>/dev/null && echo reached || echo refused'
    ask = f"printf '%s ' $name; docker exec $id bash -c '{connect}' </dev/null"
    lines = on_host(lab, f"{running} '{fields}' | while read id name; do {ask}; done").splitlines()
    return dict(line.split() for line in lines)


def test_the_inventory_finds_the_hosts(lab: Cloud) -> None:
    found = inventory(lab)
    assert sorted(found["lab_robotics_lab"]["hosts"]) == HOSTS
    assert sorted(found["lab"]["hosts"]) == HOSTS
    assert sorted(found["gpu_a10g"]["hosts"]) == HOSTS
    addresses = {row["PublicIp"] for row in lab.client("ec2").describe_addresses()["Addresses"]}
    variables = found["_meta"]["hostvars"]
    assert {variables[host]["ansible_host"] for host in HOSTS} == addresses
    assert {host: variables[host]["lab_instance_id"] for host in HOSTS} == ids(lab)


def test_the_first_boot_and_the_setup_are_complete(lab: Cloud) -> None:
    assert on_host(lab, "test -s /var/log/user-data.log && cloud-init status") == "status: done"
    assert on_host(lab, "stat -c %U ~admin/.setup-complete") == "admin"


def test_metadata_needs_a_token_and_stays_on_the_host(lab: Cloud) -> None:
    address = "http://169.254.169.254/latest"
    assert on_host(lab, f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' {address}/meta-data/instance-id") == "401"
    token = f"curl -s -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {address}/api/token"
    asked = on_host(lab, f'curl -s -m 5 -H "X-aws-ec2-metadata-token: $({token})" {address}/meta-data/instance-id')
    assert asked == ids(lab)[HOSTS[0]]
    # Every service runs on this host; two of them share its network.
    answers = metadata_answers(lab)
    assert {"redis", "cognitive", "ros2", "isaac_sim", "riva", "nim", "foxglove"} <= set(answers)
    assert set(answers.values()) == {"refused"}, answers


def test_containers_stay_blocked_when_nftables_is_started_and_reloaded(lab: Cloud) -> None:
    """Its usual configuration flushes all tables; this one deletes only ours, so that the lab keeps working."""
    table = "inet metadata-digital-twin"
    kept, used = "/run/nftables.conf", "/etc/nftables.conf"
    assert on_host(lab, "systemctl is-enabled nftables || true") == "disabled"
    on_host(lab, f"cp -p {used} {kept} && printf 'table {table}\\ndelete table {table}\\n' > {used}")
    try:
        on_host(lab, f"nft --file {used}")
        assert metadata_answers(lab)["ros2"] == "reached"
        for verb in ("start", "reload"):
            on_host(lab, f"nft --file {used} && systemctl {verb} nftables")
            assert set(metadata_answers(lab).values()) == {"refused"}, verb
    finally:
        on_host(lab, f"cp -p {kept} {used} && systemctl reload-or-restart digital-twin-metadata")


def test_the_gpu_is_tuned_and_only_containers_that_request_it_have_it(lab: Cloud) -> None:
    query = "nvidia-smi --query-gpu=name,persistence_mode,power.limit --format=csv,noheader"
    assert on_host(lab, query) == "NVIDIA A10G, Enabled, 300.00 W"
    image = "$(docker inspect -f {{.Config.Image}} $(docker ps -q --filter name=cognitive))"
    seen = on_host(lab, f"docker run --rm --device nvidia.com/gpu=all --entrypoint nvidia-smi {image} -L")
    assert seen == on_host(lab, "nvidia-smi -L")
    assert seen.startswith("GPU 0: NVIDIA A10G")
    without = on_host(lab, f"docker run --rm --entrypoint nvidia-smi {image} -L 2>&1 || true")
    assert "not found" in without


def test_the_lab_has_monitoring_and_each_host_publishes_under_its_own_name(lab: Cloud) -> None:
    made = counts(holdings(lab.client))
    assert {kind: made[kind] for kind in ("alarm", "dashboard", "log group")} == {
        # The second host has no service that keeps its GPU busy, and so no idle alarm.
        "alarm": 5 * len(HOSTS) - 1,
        "dashboard": 1,
        "log group": 2,
    }
    busy = lab.client("cloudwatch").list_metrics(Namespace=f"DigitalTwin/{NAME}", MetricName="GPUUtilization")[
        "Metrics"
    ]
    published = [{part["Name"]: part["Value"] for part in metric["Dimensions"]} for metric in busy]
    assert {row.pop("InstanceId") for row in published} == set(ids(lab).values())
    assert published == [{"GpuIndex": "0"}] * len(HOSTS)


@pytest.mark.full
def test_a_check_of_a_running_lab_finds_nothing_to_change(lab: Cloud) -> None:
    checked = lab.playbook("site.yml", "--check", "--diff").must_succeed()
    assert set(HOSTS) <= set(checked.recap)
    assert checked.changed == {}
    assert lab.mutating_calls() == []


def test_check_mode_shows_drift_verify_refuses_it_and_site_corrects_it(lab: Cloud) -> None:
    ec2 = lab.client("ec2")
    group = ec2.describe_security_groups(Filters=[{"Name": "tag:Name", "Values": [f"{NAME}-sg"]}])["SecurityGroups"][0]
    before = group["IpPermissions"]
    outside = {(rule["IpProtocol"], rule["FromPort"]) for rule in before if rule["IpRanges"]}
    assert outside == {("tcp", 22), ("tcp", 8080), ("tcp", 8765), ("tcp", 49100), ("udp", 47998)}
    # The state after an earlier version: DDS open to administrators, and AWS policies that read every parameter.
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpProtocol="udp", FromPort=7400, ToPort=7500, CidrIp="198.51.100.0/24"
    )
    iam = lab.client("iam")
    for policy in ("AmazonSSMManagedInstanceCore", "CloudWatchAgentServerPolicy"):
        iam.attach_role_policy(RoleName=f"{NAME}-instance", PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpProtocol="tcp", FromPort=31337, ToPort=31337, CidrIp="198.51.100.0/24"
    )
    shown = lab.playbook("playbooks/provision.yml", "--check", "--diff").must_succeed()
    assert shown.changed == {"localhost": 2}
    assert "31337" in shown.output
    assert shown.output.count("iam:DetachRolePolicy") == 2

    on_host(lab, "docker stop $(docker ps -q --filter name=redis)")
    failed = lab.playbook("playbooks/verify.yml")
    assert failed.status == 2
    assert failed.recap[HOSTS[0]]["failed"] == 1
    assert failed.recap[HOSTS[1]]["failed"] == 0
    assert on_host(lab, "test ! -e ~admin/.setup-complete && echo gone") == "gone"

    # Limited to one of two hosts: alarms and metrics of the other stay.
    corrected = lab.playbook("site.yml", "--limit", f"localhost,{HOSTS[0]}").must_succeed()
    assert set(corrected.changed) == {"localhost", HOSTS[0]}
    assert corrected.changed["localhost"] == 2
    assert iam.list_attached_role_policies(RoleName=f"{NAME}-instance")["AttachedPolicies"] == []
    after = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"][0]["IpPermissions"]
    assert sorted(map(json.dumps, after)) == sorted(map(json.dumps, before))
    assert on_host(lab, "stat -c %U ~admin/.setup-complete") == "admin"


@pytest.mark.parametrize("line", BOTH_LINES)
def test_status_reports_what_runs(lab: Cloud, line: Line) -> None:
    shown = lab.playbook("playbooks/status.yml", line=line).must_succeed()
    assert shown.changed == {}
    for host in HOSTS:
        assert host in shown.output
        figures = r"\d+ % busy, \d+ MB used, \d+ % of the memory, \d+ W, \d+ °C"
        assert re.search(f"{host} GPU 0: {figures}", " ".join(shown.output.split()))
    assert "running" in shown.output


def test_diagnose_finds_nothing_on_a_lab_that_verify_has_passed(lab: Cloud) -> None:
    shown = lab.playbook("playbooks/diagnose.yml").must_succeed()
    assert shown.changed == {}
    assert sorted(re.findall(r"Nothing is wrong on ([\w-]+)", shown.output)) == HOSTS


def test_images_are_pinned_by_the_digests_of_the_registry(lab: Cloud, tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "lab_pins_file": str(tmp_path / "lab.yml"),
        "lab_sbom_file": str(tmp_path / "lab.cdx.json"),
    }
    pinned = lab.playbook("playbooks/pin.yml", **files).must_succeed()
    assert set(pinned.changed) == {"localhost"}
    pins = yaml.safe_load((tmp_path / "lab.yml").read_text("utf-8"))
    assert {"digital_twin_stack_redis_image", "digital_twin_stack_cognitive_image"} <= pins.keys()
    assert all(re.fullmatch(r"[a-z0-9./_-]+:[^@]+@sha256:[0-9a-f]{64}", image) for image in pins.values())
    document = json.loads((tmp_path / "lab.cdx.json").read_text("utf-8"))
    kinds = [component["type"] for component in document["components"]]
    assert kinds.count("device") == len(HOSTS)
    assert kinds.count("container") >= len(pins)
    names = {component["name"] for component in document["components"]}
    assert {"boto3", "docker.io", "nvidia-container-toolkit", "amazon.aws", "digital_twin.robotics_lab"} <= names
    assert lab.playbook("playbooks/pin.yml", **files).must_succeed().changed == {}


def test_stopped_hosts_come_back_and_a_second_run_changes_nothing(lab: Cloud) -> None:
    """Its alarm stops one, its schedule the other and starts both. The oldest line runs if it is installed.

    The newest line's second run is the one on a clean control machine.
    """
    ec2 = lab.client("ec2")
    instances = [ids(lab)[host] for host in HOSTS]
    idle = {"AlarmName": f"{HOSTS[0]}-gpu-idle", "StateValue": "ALARM", "StateReason": "nothing to do for an hour"}
    lab.client("cloudwatch").set_alarm_state(**idle)
    # So far ahead that nothing is due before the clock is moved.
    stop, start = (datetime.now(UTC).replace(second=0) + timedelta(hours=hours) for hours in (11, 12))
    times = {"start": f"{start:%H:%M}", "stop": f"{stop:%H:%M}", "days": "daily", "zone": "UTC"}
    scheduled = lab.playbook("playbooks/schedule.yml", aws_schedule_times=times).must_succeed()
    assert f"Next stop: {stop:%a %Y-%m-%d %H:%M} (UTC)." in " ".join(scheduled.output.split())
    lab.control("POST", "clock/set", {"time": f"{stop:%Y-%m-%dT%H:%M:00+00:00}"})
    ec2.get_waiter("instance_stopped").wait(InstanceIds=instances, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    assert not set(HOSTS) & set(inventory(lab)["_meta"]["hostvars"])
    lab.control("POST", "clock/set", {"time": f"{start:%Y-%m-%dT%H:%M:00+00:00}"})
    lab.control("POST", "clock/reset")
    ec2.get_waiter("instance_running").wait(InstanceIds=instances, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    assert set(HOSTS) <= set(inventory(lab)["_meta"]["hostvars"])
    line = MAIN if why_not_both() else OLDEST
    version = execute(["ansible", "--version"], line.first_on_path(lab.environment)).must_succeed()
    assert version.output.startswith("ansible [core 2.19.") == (line is OLDEST or MAIN.programs == OLDEST.programs)
    again = lab.playbook("site.yml", line=line, aws_schedule_times=times).must_succeed()
    assert set(HOSTS) <= set(again.recap)
    assert again.changed == {}
    # The lab's own description has no times.
    ended = lab.playbook("playbooks/schedule.yml").must_succeed()
    assert "is empty, so its schedule is deleted" in " ".join(ended.output.split())
