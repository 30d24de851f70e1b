# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard as a process: when it warns users, when it stops the host, and in which order."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.notices import Notice
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.service import time_to_leave
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.settings import GuardSettings
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.stop import Stopper
from moto.server import ThreadedMotoServer

from sandbox.guest import imds
from sandbox.nvml import Gpus
from sandbox.waiting import wait_until
from tests.support.fork_server import ForkServer
from tests.support.guard import PACKAGE, SECONDS, UNIT, GuardedHost, Metadata, base_environment, metadata_service

HOOK, STACK, POWER = "hook before-stop", f"systemctl stop {UNIT}", "systemctl poweroff"
ACTION, REBALANCE, SCHEDULED = (
    "spot/instance-action",
    "events/recommendations/rebalance",
    "events/maintenance/scheduled",
)


def server_of(program: str, nvml_library: Path) -> ForkServer:
    return ForkServer(f"{PACKAGE}.{program}", {**base_environment(), "LD_LIBRARY_PATH": str(nvml_library)}, ["pynvml"])


@pytest.fixture(scope="module")
def guard_server(nvml_library: Path) -> Iterator[ForkServer]:
    made = server_of("service", nvml_library)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lifetime_server(nvml_library: Path) -> Iterator[ForkServer]:
    made = server_of("lifetime", nvml_library)
    yield made
    made.close()


def guarded(folder: Path, nvml_library: Path, server: ForkServer) -> Iterator[GuardedHost]:
    gpus = Gpus(folder, nvml_library, "A10G")
    gpus.reboot()
    gpus.busy(0, utilization=0)
    made = GuardedHost(folder, gpus, server)
    yield made
    made.close()


@pytest.fixture
def host(nvml_library: Path, tmp_path: Path, guard_server: ForkServer) -> Iterator[GuardedHost]:
    yield from guarded(tmp_path, nvml_library, guard_server)


@pytest.fixture
def limited(nvml_library: Path, tmp_path: Path, lifetime_server: ForkServer) -> Iterator[GuardedHost]:
    """Return a host whose lifetime ends; its guard does not run."""
    yield from guarded(tmp_path, nvml_library, lifetime_server)


@pytest.fixture
def metadata(host: GuardedHost) -> Iterator[Metadata]:
    with metadata_service(host.folder / "imds") as service:
        host.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = service.url
        yield service


def in_time(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


# Each decision takes at least 0.05 s, so these take longer than the host must be idle, and the warning.
MANY = 30


def test_an_idle_host_is_warned_and_then_stopped_in_order(host: GuardedHost) -> None:
    host.start()
    host.wait_for_call(POWER)
    wall, *rest = host.calls()
    assert rest == [HOOK, STACK, POWER]
    assert wall.startswith(
        f"wall {socket.gethostname()}: This host stops in 0.005 minutes: no user came since its start"
    )
    assert f"| sudo tee {host.state}/awake_until" in wall
    record = host.document("last_stop.json")
    assert {name: record[name] for name in ("cause", "hook", "stack", "complete")} == {
        "cause": "idle",
        "hook": "done",
        "stack": "done",
        "complete": True,
    }
    assert record["reason"].startswith("no user came since its start at ")
    assert abs(datetime.fromisoformat(record["time"]) - datetime.now(UTC)) < timedelta(seconds=SECONDS)
    assert host.stop() == 0
    assert host.calls().count(POWER) == 1


@pytest.mark.parametrize("use", ["sshd: op@pts/0", "sudo\0sh\0-c\0echo BECOME-SUCCESS-x ; python3", "docker\0pull\0x"])
def test_use_during_the_warning_cancels_the_stop(host: GuardedHost, use: str) -> None:
    host.settings.update(warning_minutes=0.03)
    host.start()
    host.wait_for_call("This host stops in")
    host.use(use)
    host.wait_for("the stop is cancelled: in use: ")
    assert [call for call in host.calls() if not call.startswith("wall")] == []
    host.leave()
    host.wait_for_call(POWER)
    assert sum(call.startswith("wall") for call in host.calls()) == 2, "each stop follows a warning"
    assert host.document("last_stop.json")["reason"].startswith("idle since ")


def test_a_busy_gpu_holds_the_stop_until_it_is_idle(host: GuardedHost) -> None:
    host.gpus.busy(0, utilization=30)
    host.start()
    host.decides("in use: GPU 0;", MANY)
    assert host.calls() == []
    host.gpus.busy(0, utilization=5)
    host.wait_for_call(POWER)


def test_a_gpu_that_cannot_be_read_holds_the_stop(host: GuardedHost) -> None:
    host.gpus.fault("nvmlDeviceGetHandleByIndex", 15)
    host.start()
    host.decides("in use: GPU 0 does not answer: ", MANY)
    assert host.stop() == 0
    assert host.calls() == []
    status = host.document("status.json")
    assert status["unreadable"][0].startswith("GPU 0 does not answer: ")
    assert (status["last_use"], status["visited"]) == (None, False), "which is not a use"


def test_without_idle_stop_it_only_reports(host: GuardedHost) -> None:
    host.settings.update(idle_stop=False)
    host.use()
    host.start()
    host.decides("in use: an SSH session")
    host.leave()
    host.decides("idle since ", MANY)
    assert host.stop() == 0
    assert host.calls() == []
    assert host.document("status.json")["last_use"]["what"] == ["an SSH session"]


def test_a_host_that_was_started_waits_for_its_user(host: GuardedHost) -> None:
    host.settings.update(wait_for_user_minutes=600)
    # What starts at boot is not a user.
    host.use("docker\0pull\0x")
    host.start()
    host.decides("in use: an image pull")
    host.leave()
    host.decides("waits for its first user until ", MANY)
    assert host.calls() == []
    host.use()
    host.decides("in use: an SSH session")
    host.leave()
    host.wait_for_call(POWER)


@pytest.mark.parametrize("boots", [False, True])
def test_a_restart_of_the_guard_forgets_no_user(host: GuardedHost, boots: bool) -> None:
    """A user has come and gone before the guard was killed; after a boot it waits for the next one."""
    host.settings.update(wait_for_user_minutes=600)
    host.use()
    host.start()
    host.decides("in use: an SSH session")
    assert host.stop() == 0
    host.leave()
    if boots:
        host.boot("second")
    used = host.document("status.json")["last_use"]
    host.start()
    if boots:
        host.decides("waits for its first user until ", MANY)
        assert host.calls() == []
    else:
        host.wait_for_call(POWER)
    host.stop()
    assert host.document("status.json")["last_use"]["time"] == used["time"]


def test_awake_holds_the_stop_and_ends_by_itself(host: GuardedHost) -> None:
    host.shift_clock(0)
    (host.state / "awake_until").write_text(in_time(3600))
    host.start()
    host.decides("awake until ", MANY)
    assert host.calls() == []
    host.shift_clock(3600)
    host.wait_for_call(POWER)


@pytest.mark.parametrize("text", ["22:00", "", "2126-11-30T19:30:00Z"])
def test_awake_until_a_time_that_cannot_be_used_holds_the_idle_stop(host: GuardedHost, text: str) -> None:
    (host.state / "awake_until").write_text(text)
    host.start()
    host.decides("awake_until holds ", MANY)
    assert host.calls() == []
    (host.state / "awake_until").unlink()
    host.wait_for_call(POWER)
    assert host.journal().count("awake_until holds ") == 1


def test_a_clock_that_is_set_moves_no_stop(host: GuardedHost) -> None:
    host.settings.update(idle_minutes=10, wait_for_user_minutes=0)
    host.shift_clock(0)
    host.use()
    host.start()
    host.decides("in use: an SSH session")
    host.leave()
    for shift in (86400, -86400):
        host.shift_clock(shift)
        host.decides(f"idle since {in_time(shift)[:10]}", 10)
    assert host.stop() == 0
    assert host.calls() == []
    # The clock was set.
    assert host.document("status.json")["time"] < in_time(-80000)


def test_a_hook_that_hangs_is_killed_with_its_children_and_the_stop_goes_on(host: GuardedHost) -> None:
    hook = host.folder / "bin/hook"
    hook.write_text(
        "#!/bin/sh\ntrap '' TERM\necho busy with backups\n"
        f"(trap '' TERM; sleep 60) & echo $! > {host.folder}/pid\nwait\nwait\n"
    )
    host.settings.update(hook_seconds=3)
    host.start()
    host.wait_for_call(POWER)
    assert host.calls()[1:] == [STACK, POWER]
    record = host.document("last_stop.json")
    assert record["hook"] == "failed: hook was killed after its limit of 3 s: busy with backups"
    child = Path("/proc", (host.folder / "pid").read_text().strip(), "stat")
    wait_until(
        lambda: not child.exists() or child.read_text().split()[2] == "Z", what="the child to end", seconds=SECONDS
    )


@pytest.mark.parametrize(
    ("failing", "part", "message"),
    [
        ("hook-before-stop", "hook", "failed: hook failed with status 5: it fails"),
        ("systemctl-stop", "stack", "failed: systemctl failed with status 5: it fails"),
    ],
)
def test_a_part_that_fails_keeps_no_host_running(host: GuardedHost, failing: str, part: str, message: str) -> None:
    (host.folder / f"{failing}.fail").touch()
    host.start()
    host.wait_for_call(POWER)
    assert host.calls()[1:] == [HOOK, STACK, POWER]
    assert host.document("last_stop.json")[part] == message


def test_a_hook_that_is_missing_keeps_no_host_running(host: GuardedHost) -> None:
    host.settings.update(hook=["/nonexistent/hook"])
    host.start()
    host.wait_for_call(POWER)
    reason = "failed: /nonexistent/hook cannot be started: No such file or directory"
    assert host.document("last_stop.json")["hook"] == reason


def test_a_host_that_cannot_be_powered_off_is_reported(host: GuardedHost) -> None:
    (host.folder / "systemctl-poweroff.fail").touch()
    host.start()
    assert host.running.wait(timeout=SECONDS) == 70, "systemd starts another guard, which warns again"
    host.wait_for("The host could not be powered off: systemctl failed with status 5: it fails")


def test_the_end_of_the_guard_ends_a_stop_that_has_begun(host: GuardedHost) -> None:
    hook = host.folder / "bin/hook"
    hook.write_text(f"#!/bin/sh\ntouch {host.folder}/begun\nsleep 60\n")
    host.start()
    wait_until((host.folder / "begun").exists, what="the hook", seconds=SECONDS)
    assert host.stop() == 0
    assert len(host.calls()) == 1, "the warning"
    assert host.document("last_stop.json")["complete"] is False


def test_an_interruption_leaves_once_and_leaves_the_power_to_aws(host: GuardedHost, metadata: Metadata) -> None:
    host.settings.update(idle_minutes=0.05, wait_for_user_minutes=0)
    host.use()
    host.start()
    host.wait_for("watching this host")
    metadata.set(ACTION, json.dumps({"action": "stop", "time": in_time(120)}))
    host.wait_for_call(STACK)
    host.wait_for_call("wall")
    wait_until(lambda: bool(host.document("last_stop.json").get("complete")), what="the record", seconds=SECONDS)
    assert host.calls()[:2] == [HOOK, STACK]
    assert "AWS needs the capacity of this spot instance: stop at 20" in host.calls()[2]
    assert host.document("last_stop.json")["cause"] == "spot"
    # EC2 restarts only what it has stopped itself, so the idle stop must not be faster.
    host.leave()
    host.decides("idle since ", 2 * MANY)
    assert len(host.calls()) == 3
    host.kill()
    host.use()
    host.start()
    host.decides("in use: an SSH session", 10)
    assert host.stop() == 0
    assert len(host.calls()) == 3, "another guard knows the notice"
    # EC2 has restarted the instance, and interrupts it again.
    metadata.set(ACTION, json.dumps({"action": "stop", "time": in_time(110)}))
    host.start()
    host.wait_for_call(HOOK, 2)


@pytest.mark.parametrize(("left", "seconds"), [(120, 110), (100, 100), (-5, 40), (-86400, 40), (None, 110)])
def test_the_time_of_a_notice(left: float | None, seconds: float) -> None:
    now = datetime.now(UTC)
    time = None if left is None else now + timedelta(seconds=left)
    assert time_to_leave(Notice("spot", "", True, time), now) == seconds


def test_a_hook_leaves_time_for_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 23 seconds the stop of the stack has 20, so that the hook has 3 in place of its 110."""
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho $* >> {tmp_path}/calls\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hook = ["sleep", "60"]
    settings = GuardSettings(str(tmp_path), stack_unit=UNIT, hook=hook, hook_seconds=110, record_tags=False)
    Stopper(settings, threading.Event(), lambda: None).leave("spot", "an interruption", 23)
    record = json.loads((tmp_path / "last_stop.json").read_text())
    assert (record["hook"], record["stack"]) == ("failed: sleep was killed after its limit of 3 s", "done")
    assert (tmp_path / "calls").read_text() == f"stop {UNIT}\n"


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        (REBALANCE, '{"noticeTime": "2026-11-30T19:30:00Z"}', "AWS is more likely to interrupt this spot instance"),
        (
            SCHEDULED,
            '[{"Code": "instance-reboot", "Description": "The instance is scheduled for a reboot", "EventId": "e-1",'
            ' "NotBefore": "21 Jan 2027 09:00:43 GMT", "NotAfter": "21 Jan 2027 09:17:23 GMT", "State": "active"},'
            ' {"Code": "system-reboot", "Description": "[Completed] x", "EventId": "e-0",'
            ' "NotBefore": "1 Jan 2027 09:00:43 GMT", "State": "completed"}]',
            "AWS has scheduled instance-reboot for 21 Jan 2027 09:00:43 GMT: The instance is scheduled for a reboot.",
        ),
        (ACTION, '{"action": "hibernate", "time": "2026-11-30T19:30:00Z"}', "AWS needs the capacity"),
    ],
)
def test_other_notices_are_told_once_and_stop_nothing(
    host: GuardedHost, metadata: Metadata, path: str, text: str, sentence: str
) -> None:
    host.settings.update(idle_stop=False)
    metadata.set(path, text)
    host.start()
    host.wait_for_call(sentence)
    host.decides("the metadata service answers", 10)
    host.kill()
    host.start()
    host.decides("the metadata service answers", 10)
    assert host.stop() == 0
    (call,) = host.calls()
    assert call.startswith("wall ")
    (notice,) = host.document("status.json")["notices"]
    assert sentence in notice["text"]


def test_a_metadata_service_that_fails_stops_nothing_and_is_read_again(host: GuardedHost, metadata: Metadata) -> None:
    host.settings.update(idle_stop=False)
    metadata.set(ACTION, "<html>")
    host.start()
    host.wait_for("reports no notices: JSONDecodeError")
    metadata.set(ACTION, '{"Action": 1}')
    host.decides("KeyError('action')")
    metadata.set(ACTION, json.dumps({"action": "stop", "time": in_time(120)}))
    host.wait_for("the metadata service reports notices again")
    host.wait_for_call(STACK)
    assert host.journal().count("reports no notices") == 1


def test_a_metadata_service_that_never_answers_holds_up_no_idle_stop(host: GuardedHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        host.start()
        host.wait_for("reports no notices: TimeoutError")
        host.wait_for_call(POWER)


def test_a_token_that_has_expired_is_renewed(host: GuardedHost, metadata: Metadata) -> None:
    host.settings.update(idle_stop=False)
    host.start()
    wait_until(lambda: bool(imds.TOKENS), what="a token", seconds=SECONDS)
    imds.TOKENS.clear()
    metadata.set(ACTION, json.dumps({"action": "stop", "time": in_time(120)}))
    host.wait_for_call(STACK)
    assert "reports no notices" not in host.journal()


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run moto, and return the variables by which programs use it."""
    images = tmp_path / "images.json"
    images.write_text("[]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_AMIS_PATH", str(images))
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        place, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "AKIATESTS", "AWS_SECRET_ACCESS_KEY": "canary-aws-3d91"}
        for name, value in keys.items():
            patch.setenv(name, value)
        yield {**keys, "AWS_ENDPOINT_URL": f"http://{place}:{port}"}
        server.stop()


def test_the_tag_and_the_topics_report_the_stop(host: GuardedHost, metadata: Metadata, aws: dict[str, str]) -> None:
    """The tag of its own instance, and a topic whose subscriber is a queue. A topic that is gone stops nothing."""
    make: Any = boto3.client
    ec2, sns, sqs = (
        make(name, endpoint_url=aws["AWS_ENDPOINT_URL"], region_name="us-east-1") for name in ("ec2", "sns", "sqs")
    )
    instance = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    topic = sns.create_topic(Name="operators")["TopicArn"]
    queue = sqs.create_queue(QueueName="operators")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    metadata.set("instance-id", instance)
    (host.folder / "hook-before-stop.fail").touch()
    host.environment.update(aws)
    host.settings.update(record_tags=True, topics=[f"{topic}-gone", "no-arn", topic])
    host.start()
    host.wait_for_call(POWER)
    tags = {tag["Key"]: tag["Value"] for tag in ec2.describe_tags()["Tags"] if tag["ResourceId"] == instance}
    assert tags["digital_twin_last_action"] == f"stop idle {host.document('last_stop.json')['time']}"
    assert tags["digital_twin_last_error"].endswith(": The hook: failed: hook failed with status 5: it fails.")
    (message,) = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert "This host stops in 0.005 minutes: " in json.loads(message["Body"])["Message"]
    assert host.journal().count("SNS: sns:publish failed: ") == 2


def test_settings_that_cannot_be_read_end_it(host: GuardedHost) -> None:
    host.start('{"unknown": 1}')
    assert host.running.wait(timeout=SECONDS) == 78
    assert host.journal().rstrip().endswith("Apply the role instance_guard again.")


def test_a_status_that_cannot_be_written_is_reported_and_stops_nothing(host: GuardedHost) -> None:
    (host.state / "status.json").mkdir()
    host.start()
    host.wait_for_call(POWER)
    assert host.journal().count("the status cannot be written: ") == 1


def test_a_lifetime_ends_with_a_warning_while_no_guard_runs(limited: GuardedHost) -> None:
    limited.settings.update(lifetime_minutes=480, idle_stop=False)
    limited.use()
    limited.start()
    assert limited.running.wait(timeout=SECONDS) == 0
    wall, *rest = limited.calls()
    assert "This host stops in 0.005 minutes: its lifetime is over, which is 8 hours from its start." in wall
    assert rest == [HOOK, STACK, POWER]
    assert limited.document("last_stop.json")["cause"] == "lifetime"


def test_awake_holds_the_end_of_a_lifetime(limited: GuardedHost) -> None:
    (limited.state / "awake_until").write_text(in_time(3600))
    limited.shift_clock(0)
    limited.start()
    limited.wait_for("awake until ")
    assert limited.calls() == []
    (limited.state / "awake_until").write_text("tonight")
    assert limited.running.wait(timeout=SECONDS) == 0
    assert limited.calls()[-1] == POWER, "the cap on time is worth more than a text that is not a time"


def test_only_one_stop_at_a_time(limited: GuardedHost) -> None:
    descriptor = os.open(limited.state / "stop.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    limited.start()
    limited.wait_for("another stop of this host is in progress")
    assert len(limited.calls()) == 1, "the warning"
    os.close(descriptor)
    assert limited.running.wait(timeout=SECONDS) == 0
    assert limited.calls()[1:] == [HOOK, STACK, POWER]


def test_a_lifetime_that_cannot_power_off_fails_so_that_systemd_does(limited: GuardedHost) -> None:
    (limited.folder / "systemctl-poweroff.fail").touch()
    limited.start()
    assert limited.running.wait(timeout=SECONDS) == 70


def test_the_end_of_the_unit_ends_a_lifetime_without_a_stop(limited: GuardedHost) -> None:
    limited.settings.update(warning_minutes=10)
    limited.start()
    limited.wait_for_call("wall")
    assert limited.stop() == 0
    assert len(limited.calls()) == 1
