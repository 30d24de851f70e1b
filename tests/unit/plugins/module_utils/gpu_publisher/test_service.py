# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The publisher as a process, with failures: CloudWatch gets each sampled value once, with its own time.

The GPU grows warmer by a degree with each reading, so that each sample has a unique value.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import resource
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.sampler import Sample
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.spool import Spool

from sandbox.guest import imds
from sandbox.nvml import Gpus
from sandbox.waiting import wait_until
from tests.support.cloudwatch import CloudWatch, Datum
from tests.support.fork_server import ForkServer
from tests.support.publisher import INSTANCE, MODULE, PRELOADED, SECONDS, Publisher, base_environment

KILLS = 50


@pytest.fixture
def server() -> Iterator[CloudWatch]:
    with CloudWatch() as running:
        yield running


@pytest.fixture(scope="module")
def fork_server(nvml_library: Path) -> Iterator[ForkServer]:
    made = ForkServer(MODULE, {**base_environment(), "LD_LIBRARY_PATH": str(nvml_library)}, PRELOADED)
    yield made
    made.close()


@pytest.fixture
def publisher(nvml_library: Path, tmp_path: Path, server: CloudWatch, fork_server: ForkServer) -> Iterator[Publisher]:
    gpus = Gpus(tmp_path, nvml_library, "A10G")
    gpus.reboot()
    gpus.busy(0, temperature="+1", power=70_000)
    made = Publisher(tmp_path, gpus, server.url, fork_server=fork_server)
    yield made
    if made.process is not None:
        made.kill()


def values(server: CloudWatch, metric: str = "GPUTemperature") -> list[float]:
    """Return the values in CloudWatch of a metric of the host's first GPU, or of the host, in the order of values."""
    return sorted(
        datum.value
        for datum in server.datums()
        if datum.metric == metric and datum.dimensions.get("GpuIndex", "0") == "0"
    )


def wait_for_values(server: CloudWatch, count: int) -> None:
    """Wait until CloudWatch has so many samples."""
    wait_until(lambda: len(values(server)) >= count, what=f"{count} values in CloudWatch", seconds=SECONDS)


def wait_for_segments(publisher: Publisher, count: int) -> None:
    """Wait until so many segments are on disk."""
    wait_until(lambda: len(publisher.segments()) >= count, what=f"{count} segments on disk", seconds=SECONDS)


def taken(publisher: Publisher) -> int:
    """Return how many samples were ever taken: what one reading more answers, less itself."""
    (answer,) = publisher.smi("temperature.gpu")
    return int(answer) - 1


def all_of(count: int) -> list[float]:
    """Return the values of so many samples."""
    return [float(number) for number in range(1, count + 1)]


def everything_arrived(publisher: Publisher, server: CloudWatch, marks: Sequence[Mark] = ()) -> None:
    """End it, and compare what was sampled with what CloudWatch has, except for readings of the test."""
    assert publisher.stop() == 0
    got = values(server)
    elsewhere = [mark.value for mark in marks]
    assert sorted(got + elsewhere) == all_of(len(got) + len(marks))
    assert publisher.segments() == []


class Mark(NamedTuple):
    """A reading taken by the test, and moments before and after it."""

    before: float
    value: float
    after: float


def mark(publisher: Publisher) -> Mark:
    """Read the temperature between two of the publisher's samples."""
    before = time.time()
    (answer,) = publisher.smi("temperature.gpu")
    return Mark(before, float(answer), time.time())


def have_the_second_of_their_reading(server: CloudWatch, marks: Sequence[Mark]) -> None:
    """Compare the time of each value with the moments between which it can only have been read."""
    for datum in server.datums():
        if datum.metric == "GPUTemperature":
            second = datum.timestamp.timestamp()
            assert all(second <= mark.after for mark in marks if datum.value < mark.value)
            # The next sample may have begun, and looked at the clock, before.
            assert all(second >= int(mark.before) for mark in marks if datum.value > mark.value + 1)


def test_every_sample_arrives_in_one_compressed_request_for_each_interval(
    publisher: Publisher, server: CloudWatch
) -> None:
    # As its unit starts it; the other tests save the second that Python takes to load it.
    publisher.fork_server = None
    begin = time.time()
    publisher.start()
    wait_for_values(server, 20)
    everything_arrived(publisher, server)
    end = time.time()
    windows = int(end) - int(begin) + 1
    # The first sample is sent at once, and ending sends what there is.
    assert len(server.calls()) <= windows + 2
    assert {call["datums"] % 6 for call in server.calls()} == {0}, "6 metrics"
    assert all(call["bytes"] < 900 for call in server.calls())
    datums = server.datums()
    assert {int(datum.timestamp.timestamp()) % 60 for datum in datums} == {0}
    assert all(begin - 60 < datum.timestamp.timestamp() <= end for datum in datums)
    assert {datum.resolution for datum in datums} == {60}
    gpu = {"InstanceId": INSTANCE, "GpuIndex": "0"}
    assert {(datum.metric, datum.unit, json.dumps(datum.dimensions)) for datum in datums} == {
        ("GPUUtilization", "Percent", json.dumps(gpu)),
        ("GPUMemoryUsed", "Megabytes", json.dumps(gpu)),
        ("GPUMemoryUsedPercent", "Percent", json.dumps(gpu)),
        ("GPUPowerDraw", "None", json.dumps(gpu)),
        ("GPUTemperature", "None", json.dumps(gpu)),
        ("Heartbeat", "None", json.dumps({"InstanceId": INSTANCE})),
    }
    # A tenth of a second is short for a mean: a process that has to wait between energy and clock gets another.
    assert statistics.median(values(server, "GPUPowerDraw")) == pytest.approx(70, rel=0.1)
    assert len(values(server, "GPUPowerDraw")) == len(values(server))
    assert set(values(server, "Heartbeat")) == {1.0}


def test_percentiles_are_those_of_what_was_read(publisher: Publisher, server: CloudWatch) -> None:
    publisher.start()
    wait_for_values(server, 20)
    everything_arrived(publisher, server)
    got = values(server)
    now = time.time()
    answer = server.client().get_metric_statistics(
        Namespace="DigitalTwin",
        MetricName="GPUTemperature",
        Dimensions=[{"Name": "InstanceId", "Value": INSTANCE}, {"Name": "GpuIndex", "Value": "0"}],
        StartTime=now - 3600,
        EndTime=now + 3600,
        Period=7200,
        ExtendedStatistics=["p50", "p90"],
    )
    (point,) = answer["Datapoints"]
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        assert point["ExtendedStatistics"][name] == got[math.ceil(share * len(got)) - 1]


@pytest.mark.parametrize(
    "kind",
    [
        "unavailable",
        "throttling",
        pytest.param("error", marks=pytest.mark.full),
        pytest.param("denied", marks=pytest.mark.full),
    ],
)
def test_nothing_is_lost_while_cloudwatch_refuses(publisher: Publisher, server: CloudWatch, kind: str) -> None:
    publisher.settings["high_resolution"] = True
    publisher.start()
    wait_for_values(server, 1)
    server.fault(kind)
    publisher.wait_for("cannot publish: ")
    had = len(values(server))
    marks = []
    for count in range(1, 4):
        wait_for_segments(publisher, count + 1)
        marks.append(mark(publisher))
    assert len(values(server)) == had
    server.heal()
    publisher.wait_for("publishing again after ")
    everything_arrived(publisher, server, marks)
    have_the_second_of_their_reading(server, marks)


def test_credentials_that_expire_are_read_again_at_once(publisher: Publisher, server: CloudWatch) -> None:
    publisher.start()
    wait_for_values(server, 1)
    server.fault("expired", count=1)
    wait_until(lambda: any(call["fault"] for call in server.calls()), what="a refusal", seconds=SECONDS)
    had = len(values(server))
    wait_for_values(server, had + 1)
    everything_arrived(publisher, server)
    assert "cannot publish" not in publisher.says()


def test_credentials_that_stay_expired_lose_nothing(publisher: Publisher, server: CloudWatch) -> None:
    server.fault("expired")
    publisher.start()
    publisher.wait_for("ExpiredToken")
    server.heal()
    publisher.wait_for("publishing again")
    everything_arrived(publisher, server)


def test_nothing_is_lost_while_no_server_listens(publisher: Publisher, server: CloudWatch) -> None:
    publisher.start()
    wait_for_values(server, 1)
    server.stop()
    publisher.wait_for("cannot publish: cloudwatch:PutMetricData in http://127.0.0.1")
    server.start()
    publisher.wait_for("publishing again")
    everything_arrived(publisher, server)


def test_a_connection_that_hangs_holds_up_no_sample(publisher: Publisher, server: CloudWatch) -> None:
    server.fault("timeout", count=1, seconds=4)
    publisher.start()
    wait_for_segments(publisher, 3)
    assert values(server) == []
    publisher.wait_for("publishing again")
    everything_arrived(publisher, server)


def test_a_name_that_does_not_resolve_loses_nothing(publisher: Publisher, server: CloudWatch) -> None:
    publisher.endpoint = "http://cloudwatch.invalid"
    # A resolver that is not there is asked once.
    publisher.environment["RES_OPTIONS"] = "timeout:1 attempts:1"
    publisher.start()
    publisher.wait_for("cannot publish: cloudwatch:PutMetricData in http://cloudwatch.invalid/: ")
    assert publisher.stop() == 0
    assert publisher.segments()
    publisher.endpoint = server.url
    publisher.start()
    publisher.wait_for("of an earlier run wait")
    wait_for_values(server, 10)
    everything_arrived(publisher, server)


def test_a_reply_that_is_lost_is_the_only_reason_to_send_twice(publisher: Publisher, server: CloudWatch) -> None:
    publisher.start()
    wait_for_values(server, 1)
    server.fault("lost", count=1)
    publisher.wait_for("publishing again")
    assert publisher.stop() == 0
    datums = [datum for datum in server.datums() if datum.metric == "GPUTemperature"]
    counts = Counter(datum.value for datum in datums)
    assert sorted(counts) == all_of(len(counts))
    twice = {value for value, count in counts.items() if count > 1}
    assert twice and max(counts.values()) == 2
    assert len({datum.request for datum in datums if datum.value in twice}) == 2


def test_what_is_refused_is_dropped_with_its_reason(publisher: Publisher, server: CloudWatch) -> None:
    server.fault("invalid", count=1)
    publisher.start()
    publisher.wait_for("1 samples dropped, as CloudWatch refuses them: cloudwatch:PutMetricData in us-east-1: Invalid")
    wait_for_values(server, 5)
    assert publisher.stop() == 0
    assert values(server)[0] == 2.0
    assert publisher.segments() == []


def stored(publisher: Publisher, *moments: float) -> None:
    """Leave samples of these times in the spool, each in a segment of its own, as an earlier process would."""
    spool = Spool(publisher.spool, 10**9)
    for number, moment in enumerate(moments):
        spool.append(Sample(moment, True, {"0": {"GPUTemperature": -1.0 - number}}), INSTANCE)
        spool.close()


def test_samples_of_another_time_than_cloudwatch_takes_are_dropped(publisher: Publisher, server: CloudWatch) -> None:
    now, day = time.time(), 86400
    stored(publisher, now - 15 * day, now - 13 * day, now + 3 * 3600, now - 600)
    publisher.start()
    publisher.wait_for("4 datums dropped: CloudWatch accepts none older than 14 days or 2 hours ahead")
    assert publisher.stop() == 0
    assert values(server)[:2] == [-4.0, -2.0]
    assert publisher.segments() == []


def test_a_segment_that_is_refused_takes_no_other_along(publisher: Publisher, server: CloudWatch) -> None:
    now = time.time()
    stored(publisher, now - 300, now - 200, now - 100)
    # A number that CloudWatch takes for too large, in a line that is whole.
    bad = publisher.folder / "bad"
    spool = Spool(bad, 10**9)
    spool.append(Sample(now - 200, True, {"0": {"GPUTemperature": 1e300}}), INSTANCE)
    spool.close()
    (line,) = bad.iterdir()
    line.replace(publisher.segments()[1])
    publisher.start()
    publisher.wait_for("1 samples dropped, as CloudWatch refuses them")
    assert publisher.stop() == 0
    assert values(server)[:2] == [-3.0, -1.0]


def test_a_segment_that_cannot_be_read_holds_up_no_other(publisher: Publisher, server: CloudWatch) -> None:
    now = time.time()
    stored(publisher, now - 300, now - 200, now - 100)
    path = publisher.segments()[1]
    away = path.rename(publisher.folder / "away")
    path.mkdir()
    publisher.start()
    publisher.wait_for("segment 2 cannot be read: Is a directory; it is kept until it can be read")
    assert values(server)[:2] == [-3.0, -1.0]
    path.rmdir()
    away.rename(path)
    wait_until(lambda: -2.0 in values(server), what="the segment to arrive", seconds=SECONDS)
    assert publisher.stop() == 0
    assert publisher.segments() == []


@pytest.mark.parametrize("seconds", [3600.0, pytest.param(-3600.0, marks=pytest.mark.full)])
def test_a_clock_that_is_set_stops_nothing(publisher: Publisher, server: CloudWatch, seconds: float) -> None:
    publisher.settings["high_resolution"] = True
    publisher.shift_clock(0)
    publisher.start()
    wait_for_values(server, 5)
    publisher.shift_clock(seconds)
    publisher.wait_for(f"the clock was set by {seconds:+.0f} s")
    had = len(values(server))
    wait_for_values(server, had + 15)
    publisher.shift_clock(0)
    publisher.wait_for(f"the clock was set by {-seconds:+.0f} s")
    everything_arrived(publisher, server)
    times = {datum.timestamp.timestamp() for datum in server.datums()}
    assert max(times) - min(times) > 3000


def test_a_clock_that_is_a_year_ahead_costs_only_what_was_taken_then(publisher: Publisher, server: CloudWatch) -> None:
    publisher.shift_clock(365 * 86400)
    publisher.start()
    # The signature carries the true time: only the process's own clock is set here.
    wait_for_segments(publisher, 1)
    publisher.shift_clock(0)
    wait_for_values(server, 5)
    assert publisher.stop() == 0
    assert publisher.segments() == []


def test_a_full_disk_loses_nothing(publisher: Publisher, server: CloudWatch) -> None:
    publisher.settings.update(sample_interval=0.02, flush_interval=2)
    server.fault("unavailable")
    publisher.start()
    publisher.wait_for("cannot publish")
    no_more = (4000, resource.RLIM_INFINITY)
    resource.prlimit(publisher.running.pid, resource.RLIMIT_FSIZE, no_more)
    publisher.wait_for("samples are kept in memory: ")
    resource.prlimit(publisher.running.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    publisher.wait_for("samples are kept on disk again")
    server.heal()
    publisher.wait_for("publishing again")
    everything_arrived(publisher, server)


def test_a_folder_that_cannot_be_written_loses_nothing(publisher: Publisher, server: CloudWatch) -> None:
    publisher.spool.write_text("no folder")
    server.fault("unavailable")
    publisher.start()
    publisher.wait_for("samples are kept in memory: ")
    publisher.wait_for("cannot publish")
    server.heal()
    publisher.wait_for("publishing again")
    everything_arrived(publisher, server)


def test_killed_at_any_moment_it_starts_again_and_sends_the_rest(publisher: Publisher, server: CloudWatch) -> None:
    chance = random.SystemRandom()
    publisher.settings.update(sample_interval=0.01, flush_interval=0.1, metrics=["GPUTemperature"])
    before_kill = []
    for turn in range(KILLS):
        # Of three lives one goes by without a CloudWatch, so that the spool is never empty for long.
        server.heal()
        if turn % 3 == 0:
            server.fault("unavailable")
        publisher.start()
        publisher.wait_until_it_samples()
        time.sleep(chance.uniform(0, 0.3))
        publisher.kill()
        # What was on its way is still being taken.
        wait_until(server.is_idle, what="the server to end the last request", seconds=SECONDS)
        before_kill.append(max((datum.request for datum in server.datums()), default=-1))
    server.heal()
    publisher.start()
    publisher.wait_until_it_samples()
    assert publisher.stop() == 0
    assert publisher.segments() == []
    last = taken(publisher)
    datums = [datum for datum in server.datums() if datum.metric == "GPUTemperature"]
    counts = Counter(datum.value for datum in datums)
    lost = set(all_of(last)) - counts.keys()
    assert len(lost) <= KILLS, "each kill takes at most the sample that was being taken"
    requests = {value: sorted(datum.request for datum in group) for value, group in by_value(datums)}
    repeated = {request for made in requests.values() for request in made[:-1]}
    assert repeated <= set(before_kill), "only a request whose reply was never read is repeated"
    assert all(len(made) == len(set(made)) for made in requests.values())


def by_value(datums: list[Datum]) -> Iterator[tuple[float, list[Datum]]]:
    """Yield each value with its datums."""
    ordered = sorted(datums, key=lambda datum: datum.value)
    for value, group in itertools.groupby(ordered, key=lambda datum: datum.value):
        yield value, list(group)


def test_a_line_that_was_cut_short_or_damaged_is_left_out(publisher: Publisher, server: CloudWatch) -> None:
    stored(publisher, time.time() - 120, time.time() - 60)
    one, other = publisher.segments()
    one.write_bytes(one.read_bytes() * 2 + one.read_bytes()[:-7])
    other.write_bytes(b"\0" * 20 + b"\n" + other.read_bytes().replace(b"-2.0", b"-7.0"))
    publisher.start()
    wait_for_values(server, 3)
    assert publisher.stop() == 0
    got = values(server)
    assert got[:2] == [-1.0, -1.0]
    assert got[2:] == all_of(len(got) - 2)


def test_a_spool_that_grows_too_large_loses_the_oldest(publisher: Publisher, server: CloudWatch) -> None:
    publisher.settings["spool_bytes"] = 6000
    server.fault("unavailable")
    publisher.start()
    wait_until(
        lambda: publisher.segments() != [] and not publisher.segments()[0].name.startswith("0000000001"),
        what="the first segment to go",
        seconds=SECONDS,
    )
    assert sum(path.stat().st_size for path in publisher.segments()[:-1]) <= 6000
    server.heal()
    publisher.wait_for("publishing again")
    assert publisher.stop() == 0
    got = values(server)
    assert got[0] > 1
    assert got == [float(number) for number in range(int(got[0]), int(got[-1]) + 1)]


def heartbeat(server: CloudWatch) -> float:
    """Return the newest value of the heartbeat."""
    return [datum.value for datum in server.datums() if datum.metric == "Heartbeat"][-1]


def wait_for_heartbeat(server: CloudWatch, value: float) -> None:
    """Wait until the newest heartbeat is this."""
    wait_until(lambda: bool(server.datums()) and heartbeat(server) == value, what=f"heartbeat {value}", seconds=SECONDS)


def test_a_driver_that_is_reloaded_is_survived(publisher: Publisher, server: CloudWatch) -> None:
    publisher.start()
    wait_for_heartbeat(server, 1.0)
    publisher.gpus.fault("nvmlDeviceGetCount", 1)
    publisher.gpus.unload()
    publisher.wait_for("NVML cannot be used: ")
    wait_for_heartbeat(server, 0.0)
    publisher.gpus.heal()
    publisher.gpus.load()
    publisher.wait_for("all 1 GPUs answer")
    wait_for_heartbeat(server, 1.0)
    assert publisher.stop() == 0


def test_a_library_of_another_version_is_survived(publisher: Publisher, server: CloudWatch) -> None:
    publisher.gpus.fault("nvmlInit", 18)
    publisher.settings["renew_interval"] = 2
    publisher.start()
    wait_for_heartbeat(server, 0.0)
    assert values(server) == []
    # A new process may see another library: systemd starts it.
    assert publisher.running.wait(timeout=SECONDS) == 75
    publisher.gpus.heal()
    publisher.start()
    wait_for_heartbeat(server, 1.0)
    assert publisher.stop() == 0


def test_a_gpu_that_falls_off_the_bus_leaves_the_others(publisher: Publisher, server: CloudWatch) -> None:
    publisher.gpus.plug("A10G", "T4")
    publisher.start()
    wait_for_heartbeat(server, 1.0)
    publisher.gpus.fault("nvmlDeviceGetTemperature", 15, gpu=1)
    publisher.wait_for("GPU 1 does not answer: ")
    wait_for_heartbeat(server, 0.0)
    had = len(values(server))
    wait_for_values(server, had + 5)
    publisher.gpus.heal()
    publisher.wait_for("all 2 GPUs answer")
    everything_arrived(publisher, server)


def test_a_reading_that_fails_is_missing_alone(publisher: Publisher, server: CloudWatch) -> None:
    publisher.gpus.plug("A10G", "T4")
    publisher.gpus.fault("nvmlDeviceGetMemoryInfo", 999, gpu=1)
    publisher.start()
    publisher.wait_for("GPU 1: GPUMemoryUsed cannot be read: Unknown Error (nvmlDeviceGetMemoryInfo, NVML error 999)")
    wait_for_values(server, 5)
    assert set(values(server, "Heartbeat")) == {1.0}
    of = {(datum.metric, datum.dimensions.get("GpuIndex")) for datum in server.datums()}
    assert {("GPUTemperature", "1"), ("GPUMemoryUsed", "0")} <= of
    assert ("GPUMemoryUsed", "1") not in of
    publisher.gpus.heal()
    publisher.wait_for("GPU 1: GPUMemoryUsed can be read again")
    everything_arrived(publisher, server)


def test_a_second_gpu_is_found_after_a_restart(publisher: Publisher, server: CloudWatch) -> None:
    publisher.start()
    wait_for_heartbeat(server, 1.0)
    assert publisher.stop() == 0
    publisher.gpus.plug("A10G", "T4")
    publisher.gpus.reboot()
    publisher.start()
    wait_until(
        lambda: {datum.dimensions.get("GpuIndex") for datum in server.datums()} == {None, "0", "1"},
        what="the second GPU",
        seconds=SECONDS,
    )
    assert publisher.stop() == 0


def test_an_instance_is_asked_who_it_is(
    publisher: Publisher, server: CloudWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = tmp_path / "imds"
    documents.mkdir()
    monkeypatch.setattr(imds, "ROOT", documents)
    service = ThreadingHTTPServer(("127.0.0.1", 0), imds.Handler)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        publisher.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{service.server_port}/"
        publisher.settings.update(instance_id="", region="")
        publisher.start()
        publisher.wait_for("the metadata service at http://127.0.0.1")
        document = {
            "http_tokens": "required",
            "hop_limit": 1,
            "meta-data": {"instance-id": "i-asked", "placement": {"region": "us-east-1"}},
        }
        (documents / "127.0.0.1.json").write_text(json.dumps(document), encoding="utf-8")
        publisher.wait_for("this is i-asked in us-east-1")
        wait_for_values(server, 5)
    finally:
        service.shutdown()
        thread.join()
        service.server_close()
    everything_arrived(publisher, server)
    assert {datum.dimensions["InstanceId"] for datum in server.datums()} == {"i-asked"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "settings.json cannot be read: "),
        ('{"namespace": "x"}', "settings.json cannot be read: "),
        ('{"namespace": "x", "spool": "/x", "metrics": ["Speed"]}', "settings.json: metrics has Speed. Allowed: GPU"),
        (
            '{"namespace": "x", "spool": "/x", "endpoint_url": "http://host:99999"}',
            "settings.json: endpoint_url is 'http://host:99999'. Allowed: https://HOST or http://HOST, and :PORT",
        ),
        (
            '{"namespace": "x", "spool": "/x", "endpoint_url": "http://[::1"}',
            "endpoint_url is 'http://[::1'. Allowed: ",
        ),
    ],
)
def test_invalid_settings_are_refused(publisher: Publisher, text: str, said: str) -> None:
    publisher.start(text)
    assert publisher.running.wait(timeout=SECONDS) == 78
    assert said in publisher.says()
    assert publisher.says().rstrip().endswith("Apply the role gpu_metrics again.")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"endpoint_url": "http://a_b.invalid"}, "Invalid endpoint: http://a_b.invalid. Correct region and"),
        ({"region": "us east 1"}, "'us east 1' doesn't match a supported format.. Correct region and"),
    ],
)
def test_what_botocore_does_not_take_ends_it_and_keeps_the_samples(
    publisher: Publisher, server: CloudWatch, settings: dict[str, str], said: str
) -> None:
    publisher.settings.update(settings)
    publisher.start()
    assert publisher.running.wait(timeout=SECONDS) == 78
    assert said in publisher.says()
    publisher.settings.clear()
    publisher.start()
    wait_for_values(server, 5)
    everything_arrived(publisher, server)
