# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated GPU behaves as NVML documents, through NVIDIA's own binding in separate processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import pytest

from sandbox.nvml import Gpus, build

UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
VERSION_MISMATCH = 18
VERSION_OF_ARGUMENT = 25
DEPRECATED = 26
UNKNOWN = 999

GRAPHICS, SM, MEM, VIDEO = range(4)
MIB = 1024 * 1024
IDLE, CLOCKS_SETTING, POWER_CAP = 1, 2, 4
TDP, UNLIMITED = 0xFFFFFF01, 0xFFFFFF02

POWER, GPU, MEMORY, ENCODER, DECODER, PROCESSOR_CLOCK, MEMORY_CLOCK = range(7)
UNSIGNED_INT = 1
SECOND = 1_000_000
NOBODY = 65534

# Imports the binding once and forks for each client, which is then an independent process.
SERVER = """
import ctypes, json, os, signal, socket
import pynvml

def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, pynvml.c_nvmlDevice_t):
        return pynvml.nvmlDeviceGetIndex(value)
    if isinstance(value, pynvml.Structure):
        return {name: plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, pynvml.c_nvmlValue_t):
        return value.uiVal
    return value

def become(uid):
    # Load it by name first: that user may not be able to enter its folder.
    ctypes.CDLL("libnvidia-ml.so.1")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

OF_THE_PROCESS = {"become": become, "getpid": os.getpid, "umask": os.umask}

def answer(function, arguments):
    if function == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if function in OF_THE_PROCESS:
        return {"value": OF_THE_PROCESS[function](*arguments)}
    try:
        if function.startswith("nvmlDevice") and "HandleBy" not in function and function != "nvmlDeviceGetCount":
            arguments[0] = pynvml.nvmlDeviceGetHandleByIndex(arguments[0])
        return {"value": plain(getattr(pynvml, function)(*arguments))}
    except pynvml.NVMLError as error:
        return {"code": error.value}

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
control = socket.socket(fileno=0)
while True:
    environment, descriptors, *_ = socket.recv_fds(control, 65536, 1)
    if not environment:
        break
    if os.fork() == 0:
        control.close()
        os.environ.update(json.loads(environment))
        stream = socket.socket(fileno=descriptors[0]).makefile("rw", buffering=1)
        for line in stream:
            print(json.dumps(answer(*json.loads(line))), file=stream, flush=True)
        os._exit(0)
    os.close(descriptors[0])
"""


class Refused(Exception):
    """NVML returned an error."""

    def __init__(self, code: int) -> None:
        super().__init__(f"NVML error {code}")
        self.code = code


class Client:
    """A process with NVML's binding; an index replaces the handle in all calls."""

    def __init__(self, gpus: Gpus, stream: TextIO) -> None:
        self.gpus = gpus
        self.stream = stream

    def send(self, function: str, *arguments: Any) -> dict[str, Any]:
        self.stream.write(json.dumps([function, arguments]) + "\n")
        self.stream.flush()
        return dict(json.loads(self.stream.readline() or "{}"))

    def __call__(self, function: str, *arguments: Any) -> Any:
        answer = self.send(function, *arguments)
        if "code" in answer:
            raise Refused(answer["code"])
        return answer["value"]

    def code(self, function: str, *arguments: Any) -> int:
        return int(self.send(function, *arguments).get("code", 0))

    def get(self, what: str, gpu: int = 0, *arguments: Any) -> Any:
        return self(f"nvmlDeviceGet{what}", gpu, *arguments)

    def set(self, what: str, gpu: int = 0, *arguments: Any) -> int:
        return self.code(f"nvmlDevice{what}", gpu, *arguments)

    def die(self) -> None:
        assert self.send("die") == {}, "the process answered"


Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def server(library: Path) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=theirs.fileno(), env=environment)
    theirs.close()
    yield ours
    ours.close()
    process.wait(timeout=10)


@pytest.fixture
def connect(server: socket.socket) -> Iterator[Connect]:
    """Start a process on a host; by default it opens NVML."""
    with contextlib.ExitStack() as stack:

        def start(gpus: Gpus, opened: bool = True, **environment: str) -> Client:
            ours, theirs = socket.socketpair()
            socket.send_fds(server, [json.dumps({**gpus.environment, **environment}).encode()], [theirs.fileno()])
            theirs.close()
            client = Client(gpus, stack.enter_context(ours.makefile("rw")))
            stack.callback(ours.close)
            ours.settimeout(10)
            if opened:
                client("nvmlInit")
            return client

        yield start


Host = Callable[..., Gpus]


@pytest.fixture
def host(tmp_path: Path, library: Path) -> Host:
    def make(*profiles: str, **options: Any) -> Gpus:
        return Gpus(tmp_path, library, *profiles, **options)

    return make


@pytest.fixture
def on(host: Host, connect: Connect) -> Connect:
    """Start a process on a new host with these GPUs."""
    return lambda *profiles, **options: connect(host(*profiles, **options))


def smi(gpus: Gpus, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [gpus.library / "nvidia-smi", *arguments],
        env={**os.environ, **gpus.environment},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


# Opening and the driver


def test_no_function_works_before_init(host: Host, connect: Connect) -> None:
    client = connect(host("T4"), opened=False)
    # The binding loads the library at that call.
    client("nvmlInit")
    client("nvmlShutdown")
    for function in ("nvmlDeviceGetCount", "nvmlSystemGetDriverVersion", "nvmlShutdown"):
        assert client.code(function) == UNINITIALIZED
    assert client.code("nvmlDeviceGetHandleByIndex", 0) == UNINITIALIZED


def test_init_counts_its_calls(on: Connect) -> None:
    client = on("T4")
    client("nvmlInit")
    client("nvmlShutdown")
    assert client("nvmlDeviceGetCount") == 1
    client("nvmlShutdown")
    assert client.code("nvmlDeviceGetCount") == UNINITIALIZED


@pytest.mark.parametrize(
    ("driver", "cuda", "nvml"),
    [
        ("535.309.01", 12020, "12.535.309.01"),
        ("550.163.01", 12040, "12.550.163.01"),
        ("580.95.05", 13000, "13.580.95.05"),
        ("610.43.02", 13030, "13.610.43.02"),
    ],
)
def test_versions_follow_the_installed_driver(on: Connect, driver: str, cuda: int, nvml: str) -> None:
    client = on("T4", driver=driver)
    assert client("nvmlSystemGetDriverVersion") == driver
    assert client("nvmlSystemGetCudaDriverVersion") == client("nvmlSystemGetCudaDriverVersion_v2") == cuda
    assert client("nvmlSystemGetNVMLVersion") == nvml


@pytest.mark.parametrize(
    ("files", "version"),
    [
        (["nvidia/current/libnvidia-ml.so.550.163.01"], "550.163.01"),
        (["nvidia/tesla-535/libnvidia-ml.so.535.309.01"], "535.309.01"),
        (["libnvidia-ml.so.1", "libnvidia-ml.so.580.95.05"], "580.95.05"),
        (["nvidia/current/libnvidia-ml.so.1", "nvidia/current/libnvidia-ml.so.550.163.01.dpkg-new"], None),
        (["libnvidia-ml.so.1"], None),
        ([], None),
    ],
)
def test_the_user_land_is_found_by_its_files(
    host: Host, connect: Connect, tmp_path: Path, files: list[str], version: str | None
) -> None:
    gpus = host("T4")
    (gpus.state / "driver").unlink()
    for file in files:
        path = tmp_path / "root/usr/lib/x86_64-linux-gnu" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    client = connect(gpus, opened=False, SANDBOX_NVML_ROOT=str(tmp_path / "root"))
    assert client.code("nvmlInit") == (0 if version else LIBRARY_NOT_FOUND)
    if version:
        assert client("nvmlSystemGetDriverVersion") == version


def test_the_environment_can_set_the_driver(host: Host, connect: Connect) -> None:
    client = connect(host("T4", driver=None), SANDBOX_NVML_DRIVER="570.86.15")
    assert client("nvmlSystemGetDriverVersion") == "570.86.15"


def test_no_driver(host: Host, connect: Connect) -> None:
    assert connect(host("T4", driver=None), opened=False).code("nvmlInit") == LIBRARY_NOT_FOUND


def test_no_module(host: Host, connect: Connect) -> None:
    gpus = host("T4")
    gpus.unload()
    client = connect(gpus, opened=False)
    assert client.code("nvmlInit") == DRIVER_NOT_LOADED
    gpus.load()
    assert client.code("nvmlInit") == 0


def test_an_upgrade_requires_a_reboot(host: Host, connect: Connect) -> None:
    gpus = host("T4", driver="535.309.01")
    running = connect(gpus)
    gpus.install("550.163.01")
    assert connect(gpus, opened=False).code("nvmlInit") == VERSION_MISMATCH
    assert running("nvmlSystemGetDriverVersion") == "535.309.01", (
        "a process with NVML open continues with the loaded driver"
    )
    gpus.reboot()
    assert connect(gpus)("nvmlSystemGetDriverVersion") == "550.163.01"


def test_a_driver_that_is_reloaded_needs_no_reboot(host: Host, connect: Connect) -> None:
    gpus = host("T4", driver="535.309.01")
    connect(gpus)("nvmlShutdown")
    gpus.install("550.163.01")
    gpus.load()
    assert connect(gpus)("nvmlSystemGetDriverVersion") == "550.163.01"


# Identity


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (
            "T4",
            {
                "Name": "Tesla T4",
                "Brand": 14,
                "Architecture": 6,
                "CudaComputeCapability": [7, 5],
                "PowerManagementLimitConstraints": [60000, 70000],
                "PowerManagementDefaultLimit": 70000,
                "SupportedMemoryClocks": [5001, 405],
                "MaxPcieLinkGeneration": 3,
            },
        ),
        (
            "A10G",
            {
                "Name": "NVIDIA A10G",
                "Brand": 14,
                "Architecture": 7,
                "CudaComputeCapability": [8, 6],
                "PowerManagementLimitConstraints": [100000, 300000],
                "PowerManagementDefaultLimit": 300000,
                "SupportedMemoryClocks": [6251, 405],
                "MaxPcieLinkGeneration": 4,
            },
        ),
        (
            "V100",
            {
                "Name": "Tesla V100-SXM2-16GB",
                "Brand": 2,
                "Architecture": 5,
                "CudaComputeCapability": [7, 0],
                "PowerManagementLimitConstraints": [150000, 300000],
                "PowerManagementDefaultLimit": 300000,
                "SupportedMemoryClocks": [877],
                "MaxPcieLinkGeneration": 3,
            },
        ),
    ],
)
def test_profiles(on: Connect, profile: str, expected: dict[str, Any]) -> None:
    client = on(profile)
    assert {what: client.get(what) for what in expected} == expected
    assert (
        client.get("PowerManagementLimit")
        == client.get("EnforcedPowerLimit")
        == client.get("PowerManagementDefaultLimit")
    )
    assert client.get("EccMode") == [1, 1]
    assert client.get("DefaultEccMode") == [1]
    assert client.get("VirtualizationMode") == 1
    assert client.get("PowerManagementMode") == 1
    assert client.get("PersistenceMode") == client.get("ComputeMode") == 0
    assert client.get("DisplayMode") == client.get("DisplayActive") == 0
    assert client.get("CurrPcieLinkWidth") == client.get("MaxPcieLinkWidth") == 16
    assert client.get("PcieReplayCounter") == client.get("NumFans") == 0
    assert client.get("ComputeRunningProcesses") == client.get("GraphicsRunningProcesses") == []
    assert len(client.get("VbiosVersion").split(".")) == 5
    assert 0 < client.get("PowerUsage") <= client.get("PowerManagementLimit")
    assert client.get("TotalEnergyConsumption") > 0
    assert client.get("Temperature", 0, 0) == client.get("TemperatureV", 0, 0) > 0
    assert client.get("TemperatureThreshold", 0, 0) > client.get("TemperatureThreshold", 0, 1) > 80


@pytest.mark.parametrize(
    ("profile", "function", "arguments"),
    [
        ("T4", "FanSpeed", ()),
        ("T4", "FanSpeed_v2", (0,)),
        ("T4", "MigMode", ()),
        ("T4", "DriverModel", ()),
        ("T4", "TemperatureThreshold", (2,)),
        ("T4", "RemappedRows", ()),
        ("A10G", "RetiredPages", (0,)),
    ],
)
def test_unsupported_features(on: Connect, profile: str, function: str, arguments: tuple[int, ...]) -> None:
    assert on(profile).code(f"nvmlDeviceGet{function}", 0, *arguments) == NOT_SUPPORTED


def test_memory_errors_by_architecture(on: Connect) -> None:
    client = on("T4", "A10G")
    assert client.get("RetiredPages", 0, 0) == []
    assert client.get("RetiredPagesPendingStatus", 0) == 0
    assert client.get("RemappedRows", 1) == [0, 0, 0, 0]
    client.gpus.busy(1, remapped_correctable=1, remapped_uncorrectable=2, remapping_pending=1, remapping_failed=1)
    assert client.get("RemappedRows", 1) == [1, 2, 1, 1]


def test_a_function_of_another_driver_is_missing(on: Connect) -> None:
    assert on("T4").code("nvmlDeviceGetBAR1MemoryInfo", 0) == FUNCTION_NOT_FOUND


def test_two_gpus_are_distinguished(on: Connect) -> None:
    client = on("A10G", "A10G")
    assert client("nvmlDeviceGetCount") == 2
    for what in ("UUID", "Serial", "MinorNumber", "Index"):
        assert client.get(what, 0) != client.get(what, 1)
    for gpu in (0, 1):
        assert client("nvmlDeviceGetHandleByUUID", client.get("UUID", gpu)) == gpu
        assert client("nvmlDeviceGetHandleBySerial", client.get("Serial", gpu)) == gpu
    pci = client.get("PciInfo", 1)
    assert (pci["busId"], pci["busIdLegacy"]) == ("00000000:00:1E.0", "0000:00:1E.0")
    assert (pci["domain"], pci["bus"], pci["device"]) == (0, 0, 0x1E)
    assert (pci["pciDeviceId"], pci["pciSubSystemId"]) == (0x223710DE, 0x152F10DE)
    for name in ("00000000:00:1E.0", "0000:00:1e.0", "00:1E.0"):
        assert client("nvmlDeviceGetHandleByPciBusId", name) == 1


@pytest.mark.parametrize(
    ("function", "argument", "code"),
    [
        ("nvmlDeviceGetHandleByIndex", 1, INVALID_ARGUMENT),
        ("nvmlDeviceGetHandleByUUID", "GPU-0", NOT_FOUND),
        ("nvmlDeviceGetHandleBySerial", "1", NOT_FOUND),
        ("nvmlDeviceGetHandleByPciBusId", "0000:00:01.0", NOT_FOUND),
        ("nvmlDeviceGetHandleByPciBusId", "nonsense", NOT_FOUND),
    ],
)
def test_no_such_gpu(on: Connect, function: str, argument: int | str, code: int) -> None:
    assert on("T4").code(function, argument) == code


def test_a_host_without_gpus(host: Host, connect: Connect) -> None:
    gpus = host()
    assert connect(gpus)("nvmlDeviceGetCount") == 0
    (gpus.state / "gpus").unlink()
    assert connect(gpus)("nvmlDeviceGetCount") == 0


def test_a_mistake_in_the_files_is_reported(host: Host) -> None:
    gpus = host("T4 ecc=maybe", "RTX9090", "# the rest is A10G", "", "A10G")
    done = smi(gpus, "--query-gpu=name", "--format=csv,noheader")
    assert done.stdout.splitlines() == ["Tesla T4", "NVIDIA A10G"]
    assert "gpus: not understood: RTX9090" in done.stderr
    assert "gpus: not understood: ecc" in done.stderr


# Load


def test_memory(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    gpus.busy(0, memory_used=1000 * MIB)
    client = connect(gpus)
    old, new = client.get("MemoryInfo"), client.get("MemoryInfo", 0, 0x02000028)
    assert old["total"] == new["total"] == 23028 * MIB
    assert old["total"] == old["used"] + old["free"]
    assert new["used"] == 1000 * MIB
    assert new["total"] == new["used"] + new["reserved"] + new["free"]
    assert old["used"] == new["used"] + new["reserved"], "the older function counts the driver's own memory as used"
    assert client.code("nvmlDeviceGetMemoryInfo", 0, 0x01000028) == VERSION_OF_ARGUMENT


def test_a_test_can_set_the_readings(host: Host, connect: Connect) -> None:
    gpus = host("T4", "A10G fan=supported")
    gpus.busy(1, utilization=87, memory_utilization=55, encoder=11, decoder=12, temperature=71, fan=33)
    gpus.busy(1, utilization=88, memory_utilization=56, encoder=11, decoder=12, temperature=71, power=243000, fan=33)
    gpus.busy(0, pcie_tx=7, pcie_rx=8, ecc_corrected=3, ecc_uncorrected=4)
    client = connect(gpus)
    assert client.get("UtilizationRates", 1) == {"gpu": 88, "memory": 56}
    assert client.get("EncoderUtilization", 1)[0] == 11
    assert client.get("DecoderUtilization", 1)[0] == 12
    assert client.get("Temperature", 1, 0) == client.get("TemperatureV", 1, 0) == 71
    assert client.get("PowerUsage", 1) == 243000
    assert (client.get("FanSpeed", 1), client.get("FanSpeed_v2", 1, 0), client.get("NumFans", 1)) == (33, 33, 1)
    assert (client.get("PcieThroughput", 0, 0), client.get("PcieThroughput", 0, 1)) == (7, 8)
    assert (client.get("TotalEccErrors", 0, 0, 0), client.get("TotalEccErrors", 0, 1, 1)) == (3, 4)
    assert [client.get("MemoryErrorCounter", 0, 1, 0, location) for location in (1, 2, 7)] == [0, 4, 0]
    assert client.code("nvmlDeviceGetMemoryErrorCounter", 0, 1, 0, 8) == INVALID_ARGUMENT
    assert client.get("UtilizationRates", 0)["gpu"] == 34, "the profile's own"


@pytest.mark.parametrize(("profile", "lowest", "state"), [("T4", [300, 405], 8), ("V100", [135, 877], 0)])
def test_an_idle_gpu_rests(host: Host, connect: Connect, profile: str, lowest: list[int], state: int) -> None:
    gpus = host(profile)
    client = connect(gpus)
    assert client.get("PerformanceState") == 0
    assert client.get("CurrentClocksEventReasons") == 0
    gpus.busy(0, utilization=0)
    assert [client.get("ClockInfo", 0, GRAPHICS), client.get("ClockInfo", 0, MEM)] == lowest
    assert client.get("PerformanceState") == state
    assert client.get("CurrentClocksEventReasons") == client.get("CurrentClocksThrottleReasons") == IDLE
    assert client.get("SupportedClocksEventReasons") & IDLE
    assert client.get("CurrPcieLinkGeneration") == 1


def test_power_stays_under_its_limit(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    gpus.busy(0, power=290000, reasons=0x40)
    client = connect(gpus)
    assert client.get("PowerUsage") == 290000
    assert client.set("SetPowerManagementLimit", 0, 200000) == 0
    assert client.get("PowerUsage") == client.get("EnforcedPowerLimit") == 200000
    assert client.get("CurrentClocksEventReasons") == POWER_CAP | 0x40


# Counting readings


def used(client: Client, gpu: int = 0) -> int:
    return int(client.get("MemoryInfo", gpu, 0x02000028)["used"])


def test_a_reading_can_count_every_read(host: Host, connect: Connect) -> None:
    gpus = host("A10G", "A10G")
    gpus.busy(0, memory_used="+1000000", utilization=7)
    gpus.busy(1, memory_used="+5")
    first, second = connect(gpus), connect(gpus)
    assert [used(client) for client in (first, second, second, first)] == [1000000, 2000000, 3000000, 4000000]
    assert used(first, 1) == 5
    assert first.get("UtilizationRates")["gpu"] == 7
    gpus.busy(0, memory_used="+1")
    assert used(second) == 4000001, "another step continues from there"
    gpus.busy(0, memory_used=9)
    assert [used(first), used(second)] == [9, 9]
    gpus.reboot()
    gpus.busy(0, memory_used="+1000000")
    assert used(connect(gpus)) == 1000000


@pytest.mark.parametrize(
    ("reading", "function", "arguments"),
    [
        ("utilization", "UtilizationRates", ()),
        ("memory_utilization", "UtilizationRates", ()),
        ("encoder", "EncoderUtilization", ()),
        ("decoder", "DecoderUtilization", ()),
        ("temperature", "Temperature", (0,)),
        ("temperature", "TemperatureV", (0,)),
        ("power", "PowerUsage", ()),
        ("memory_used", "MemoryInfo", ()),
        ("fan", "FanSpeed", ()),
        ("fan", "FanSpeed_v2", (0,)),
        ("pcie_tx", "PcieThroughput", (0,)),
        ("pcie_rx", "PcieThroughput", (1,)),
        ("ecc_corrected", "TotalEccErrors", (0, 0)),
        ("ecc_uncorrected", "MemoryErrorCounter", (1, 0, 2)),
        ("reasons", "CurrentClocksEventReasons", ()),
        ("remapped_correctable", "RemappedRows", ()),
        ("remapped_uncorrectable", "RemappedRows", ()),
        ("remapping_pending", "RemappedRows", ()),
        ("remapping_failed", "RemappedRows", ()),
    ],
)
def test_every_reading_can_count(
    host: Host, connect: Connect, reading: str, function: str, arguments: tuple[int, ...]
) -> None:
    def numbers(answer: Any) -> list[int]:
        return [answer] if isinstance(answer, int) else list(answer.values() if isinstance(answer, dict) else answer)

    gpus = host("A10G fan=supported")
    gpus.busy(0, **{reading: "+16"})
    client = connect(gpus)
    answers = [numbers(client.get(function, 0, *arguments)) for turn in range(3)]
    changes = [{after - before for before, after in zip(*pair, strict=True)} for pair in itertools.pairwise(answers)]
    assert changes[0] == changes[1]
    assert 16 in changes[0]
    assert changes[0] <= {16, 0, -16}, "what is used is no longer free"


def test_a_call_that_only_depends_on_a_reading_does_not_advance_it(host: Host, connect: Connect) -> None:
    gpus = host("A10G memory_locked_clocks=unsupported")
    gpus.busy(0, utilization="+10", power="+1000", encoder="+1")
    client = connect(gpus)
    for what in ("PerformanceState", "CurrentClocksEventReasons", "TotalEnergyConsumption", "PowerManagementLimit"):
        client.get(what)
    client.get("ClockInfo", 0, SM)
    gpus.fault("nvmlDeviceGetPowerUsage", UNKNOWN, times=1)
    assert client.code("nvmlDeviceGetPowerUsage", 0) == UNKNOWN, "and a call that fails does not advance it"
    assert (client.get("UtilizationRates")["gpu"], client.get("PowerUsage")) == (10, 1000)
    assert query(gpus, "utilization.gpu,power.draw") == ["20 %, 2.00 W"]


def test_no_two_processes_read_the_same_value(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    gpus.busy(0, temperature="+1")
    clients = [connect(gpus) for turn in range(4)]

    def work(client: Client) -> list[int]:
        return [client.get("Temperature", 0, 0) for turn in range(50)]

    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(work, clients))
    assert sorted(itertools.chain(*seen)) == list(range(1, 201))
    assert all(numbers == sorted(numbers) for numbers in seen)


def test_a_count_survives_a_process_that_is_killed_while_reading(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    gpus.busy(0, temperature="+1")
    seen = []
    for turn in range(4):
        client = connect(gpus)
        victim = client("getpid")
        # All in one write, so that the process is killed during one of them.
        client.stream.write((json.dumps(["nvmlDeviceGetTemperature", [0, 0]]) + "\n") * 1000)
        client.stream.flush()
        seen.append(json.loads(client.stream.readline())["value"])
        os.kill(victim, signal.SIGKILL)
        # Unread calls turn the end of its stream into an error.
        with contextlib.suppress(ConnectionResetError):
            for line in client.stream:
                seen.append(json.loads(line)["value"])
        assert len(seen) < 1000 * (turn + 1), "it was killed before it had read all"
    assert seen == sorted(set(seen))
    assert connect(gpus).get("Temperature", 0, 0) > seen[-1]


# Samples


def samples(client: Client, kind: int, last: int = 0, gpu: int = 0) -> list[tuple[int, int]]:
    type_of_value, answer = client.get("Samples", gpu, kind, last)
    assert type_of_value == UNSIGNED_INT
    return [(sample["timeStamp"], sample["sampleValue"]) for sample in answer]


def now() -> int:
    return time.time_ns() // 1000


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (POWER, 132000),
        (GPU, 42),
        (MEMORY, 18),
        (ENCODER, 9),
        (DECODER, 0),
        (PROCESSOR_CLOCK, 1710),
        (MEMORY_CLOCK, 6251),
    ],
)
def test_a_sample_each_sixth_of_a_second(on: Connect, kind: int, value: int) -> None:
    client = on("A10G")
    before = now()
    seen = samples(client, kind)
    after = now()
    assert {number for when, number in seen} == {value}
    times = [when for when, number in seen]
    newest = times[-1] * 6 // SECOND + (times[-1] * 6 % SECOND > 0)
    assert before * 6 // SECOND <= newest <= after * 6 // SECOND
    assert times == [tick * SECOND // 6 for tick in range(newest - 99, newest + 1)]


def test_only_samples_newer_than_the_last_one_read(on: Connect) -> None:
    client = on("T4")
    times = [when for when, value in samples(client, GPU)]
    later = [when for when, value in samples(client, GPU, times[-3])]
    assert later[:2] == times[-2:]
    assert [when for when, value in samples(client, GPU, times[-3] - 1)][:3] == times[-3:]
    assert client.code("nvmlDeviceGetSamples", 0, GPU, now() + 3600 * SECOND) == NOT_FOUND


def test_a_test_can_set_the_buffer(host: Host, connect: Connect) -> None:
    gpus = host("A10G", "A10G")
    held = [(1000 + turn, turn) for turn in range(250)]
    gpus.samples(0, GPU, held)
    gpus.samples(0, MEMORY, [(5, 50), (6, 4294967295)])
    gpus.samples(1, GPU, [(7, 70)])
    client = connect(gpus)
    assert samples(client, GPU) == held
    assert samples(client, GPU, 1247) == [(1248, 248), (1249, 249)]
    assert client.code("nvmlDeviceGetSamples", 0, GPU, 1249) == NOT_FOUND
    assert samples(client, MEMORY) == [(5, 50), (6, 4294967295)]
    assert samples(client, GPU, gpu=1) == [(7, 70)]
    assert len(samples(client, POWER)) == 100
    gpus.samples(0, GPU, [])
    assert {value for when, value in samples(client, GPU)} == {42}
    assert samples(client, GPU, gpu=1) == [(7, 70)]


def test_a_fetch_reads_once(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    gpus.busy(0, utilization="+10")
    client = connect(gpus)
    assert client.code("nvmlDeviceGetSamples", 0, GPU, now() + 3600 * SECOND) == NOT_FOUND
    assert [{value for when, value in samples(client, GPU)} for turn in range(2)] == [{10}, {20}]


@pytest.mark.parametrize(("kind", "code"), [(7, NOT_SUPPORTED), (9, NOT_SUPPORTED), (10, INVALID_ARGUMENT)])
def test_sample_types_that_no_gpu_has(on: Connect, kind: int, code: int) -> None:
    assert on("T4").code("nvmlDeviceGetSamples", 0, kind, 0) == code


def test_a_mistake_in_the_samples_is_reported(host: Host) -> None:
    gpus = host("T4")
    (gpus.state / "samples").write_text("0 1 1000 5\n0 1 early 6\n", encoding="utf-8")
    code = (
        "import pynvml as nvml; nvml.nvmlInit(); "
        "print(len(nvml.nvmlDeviceGetSamples(nvml.nvmlDeviceGetHandleByIndex(0), 1, 0)[1]))"
    )
    environment = {**os.environ, **gpus.environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=10, check=True
    )
    assert done.stdout == "1\n"
    assert "samples: not understood: 0 1 early 6\n" in done.stderr


# Energy


@pytest.mark.parametrize("profile", ["T4", "A10G", "V100"])
def test_energy_is_power_times_time(host: Host, connect: Connect, profile: str) -> None:
    gpus = host(profile)
    gpus.busy(0, power=50000, energy=9_000_000_000_000)
    client = connect(gpus)
    since = (now() - 3600 * SECOND - SECOND // 2) * 1000
    os.utime(gpus.state / "load", ns=(since, since))

    def counted() -> int:
        return 9_000_000_000_000 + (time.time_ns() - since) * 50 // SECOND

    lower = counted()
    energy = client.get("TotalEnergyConsumption")
    assert lower - 1 <= energy <= counted()
    assert client.get("TotalEnergyConsumption") >= energy


def test_energy_restarts_with_other_readings(host: Host, connect: Connect) -> None:
    gpus = host("T4")
    gpus.busy(0, power=0, energy=9)
    client = connect(gpus)
    assert [client.get("TotalEnergyConsumption") for turn in range(2)] == [9, 9], "without power"
    gpus.busy(0, power=50000, energy=700)
    os.utime(gpus.state / "load", (time.time() + 3600,) * 2)
    assert client.get("TotalEnergyConsumption") == 700, "not before the readings are in force"


def test_energy_uses_the_power_below_the_limit(host: Host, connect: Connect) -> None:
    gpus = host("T4")
    gpus.busy(0, power=70000, energy=0)
    client = connect(gpus)
    os.utime(gpus.state / "load", (time.time() - 1000,) * 2)
    client.set("SetPowerManagementLimit", 0, 60000)
    assert 60_000_000 <= client.get("TotalEnergyConsumption") < 70_000_000


def test_without_other_readings_energy_counts_since_the_module_was_loaded(host: Host, connect: Connect) -> None:
    gpus = host("T4")
    connect(gpus)("nvmlShutdown")
    state = gpus.run / "state"
    loaded = next(int(line[7:]) for line in state.read_text().splitlines() if line.startswith("loaded="))
    assert abs(loaded - now()) < 3600 * SECOND
    state.write_text(f"module=550.163.01\nloaded={loaded - 10_000 * SECOND}\n")
    client = connect(gpus)
    energy = client.get("TotalEnergyConsumption")
    assert energy >= 7412000 + 10_000 * 41000
    assert client.set("SetPersistenceMode", 0, 1) == 0
    client("nvmlShutdown")
    assert connect(gpus).get("TotalEnergyConsumption") >= energy, "another process has written the state"
    gpus.load()
    assert connect(gpus).get("TotalEnergyConsumption") < energy, "but not after a reload"


# Power


@pytest.mark.parametrize(
    ("profile", "limit", "code"),
    [
        ("A10G", 100000, 0),
        ("A10G", 300000, 0),
        ("A10G", 99999, INVALID_ARGUMENT),
        ("A10G", 300001, INVALID_ARGUMENT),
        ("T4", 59999, INVALID_ARGUMENT),
        ("T4", 60000, 0),
        ("T4", 300000, INVALID_ARGUMENT),
        ("V100", 149999, INVALID_ARGUMENT),
        ("V100", 250000, 0),
        ("T4 power_management=unsupported", 70000, NOT_SUPPORTED),
    ],
)
def test_power_limits(host: Host, connect: Connect, profile: str, limit: int, code: int) -> None:
    gpus = host(profile)
    client = connect(gpus)
    assert client.set("SetPowerManagementLimit", 0, limit) == code
    assert gpus.writes() == [f"nvmlDeviceSetPowerManagementLimit 0 {limit} -> {code}"]
    if code == 0:
        assert connect(gpus).get("PowerManagementLimit") == limit, "another process must read it"
    elif code == INVALID_ARGUMENT:
        assert client.get("PowerManagementLimit") == client.get("PowerManagementDefaultLimit")


# Clocks


@pytest.mark.parametrize(
    ("profile", "memory", "graphics"),
    [
        ("A10G", 6251, list(range(1710, 195, -15))),
        ("A10G", 405, list(range(420, 195, -15))),
        ("T4", 5001, list(range(1590, 285, -15))),
        ("V100", 877, [(3060 - 15 * step) // 2 for step in range(187)]),
    ],
)
def test_supported_clocks(on: Connect, profile: str, memory: int, graphics: list[int]) -> None:
    client = on(profile)
    assert client.get("SupportedGraphicsClocks", 0, memory) == graphics
    assert client.code("nvmlDeviceGetSupportedGraphicsClocks", 0, memory - 1) == NOT_FOUND
    assert client.get("MaxClockInfo", 0, GRAPHICS) == client.get("MaxClockInfo", 0, SM) >= graphics[0]


@pytest.mark.parametrize(
    ("profile", "memory", "graphics", "code"),
    [
        ("V100", 877, 1530, 0),
        ("V100", 877, 1522, 0),
        ("V100", 877, 1523, INVALID_ARGUMENT),
        ("T4", 5001, 1590, 0),
        ("T4", 405, 1590, INVALID_ARGUMENT),
        ("T4", 405, 300, 0),
        ("A10G", 6251, 1710, 0),
        # The values of the guide and AWS.
        ("A10G", 6250, 1710, INVALID_ARGUMENT),
        ("A10G", 6251, 1711, INVALID_ARGUMENT),
        ("A10G", 6251, 0, INVALID_ARGUMENT),
        ("A10G application_clocks=unsupported", 6251, 1710, NOT_SUPPORTED),
        ("A10G application_clocks=deprecated", 6251, 1710, DEPRECATED),
        ("A10G application_clocks=missing", 6251, 1710, FUNCTION_NOT_FOUND),
    ],
)
def test_application_clocks(on: Connect, profile: str, memory: int, graphics: int, code: int) -> None:
    client = on(profile)
    assert client.set("SetApplicationsClocks", 0, memory, graphics) == code
    assert client.gpus.writes() == [f"nvmlDeviceSetApplicationsClocks 0 {memory} {graphics} -> {code}"]
    if code == 0:
        assert client.get("ApplicationsClock", 0, MEM) == client.get("ClockInfo", 0, MEM) == memory
        assert client.get("ApplicationsClock", 0, GRAPHICS) == client.get("ClockInfo", 0, GRAPHICS) == graphics


def test_application_clocks_are_reset(on: Connect) -> None:
    client = on("T4")
    assert client.get("DefaultApplicationsClock", 0, GRAPHICS) == client.get("ApplicationsClock", 0, GRAPHICS) == 585
    assert client.get("ClockInfo", 0, GRAPHICS) == 1590, "a GPU boosts until its clocks are set"
    assert client.set("SetApplicationsClocks", 0, 5001, 900) == 0
    assert client.get("CurrentClocksEventReasons") == CLOCKS_SETTING
    assert client.get("ClockInfo", 0, VIDEO) < 900
    assert client.set("ResetApplicationsClocks") == 0
    assert client.get("ApplicationsClock", 0, GRAPHICS) == 585
    assert client.get("ClockInfo", 0, GRAPHICS) == 1590
    assert client.get("CurrentClocksEventReasons") == 0


@pytest.mark.parametrize(("driver", "code"), [("580.95.05", 0), ("610.43.02", DEPRECATED)])
def test_later_drivers_deprecate_application_clocks(on: Connect, driver: str, code: int) -> None:
    client = on("T4", driver=driver)
    assert client.set("SetApplicationsClocks", 0, 5001, 1590) == code
    assert client.set("ResetApplicationsClocks") == code
    assert client.code("nvmlDeviceGetApplicationsClock", 0, GRAPHICS) == code
    assert client.code("nvmlDeviceGetDefaultApplicationsClock", 0, GRAPHICS) == code
    assert client.set("SetGpuLockedClocks", 0, 1590, 1590) == 0


@pytest.mark.parametrize(
    ("lowest", "highest", "code", "in_force"),
    [
        (1500, 1500, 0, 1500),
        (1001, 1001, 0, 1005),
        (0, 900, 0, 900),
        (300, 5000, 0, 1710),
        (1, 2, 0, 210),
        (1500, 1499, INVALID_ARGUMENT, 1710),
        (TDP, TDP, 0, 1710),
        (UNLIMITED, UNLIMITED, 0, 1710),
        (UNLIMITED, TDP, 0, 1710),
        (300, TDP, INVALID_ARGUMENT, 1710),
        (TDP, 0xFFFFFF03, INVALID_ARGUMENT, 1710),
    ],
)
def test_locked_clocks(on: Connect, lowest: int, highest: int, code: int, in_force: int) -> None:
    client = on("A10G")
    assert client.set("SetGpuLockedClocks", 0, lowest, highest) == code
    assert client.get("ClockInfo", 0, GRAPHICS) == client.get("ClockInfo", 0, SM) == in_force
    assert client.set("ResetGpuLockedClocks") == 0
    assert client.get("ClockInfo", 0, GRAPHICS) == 1710


def test_locked_clocks_apply_to_an_idle_gpu(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    gpus.busy(0, utilization=0)
    client = connect(gpus)
    assert client.set("SetApplicationsClocks", 0, 6251, 900) == 0
    assert client.set("SetGpuLockedClocks", 0, 1410, 1600) == 0
    assert client.set("SetMemoryLockedClocks", 0, 6000, 6251) == 0
    assert [client.get("ClockInfo", 0, GRAPHICS), client.get("ClockInfo", 0, MEM)] == [1410, 6251]
    assert client.set("ResetMemoryLockedClocks") == 0
    assert client.get("ClockInfo", 0, MEM) == 405


@pytest.mark.parametrize(
    ("profile", "code"),
    [("A10G", 0), ("T4", NOT_SUPPORTED), ("V100", NOT_SUPPORTED), ("T4 memory_locked_clocks=supported", 0)],
)
def test_memory_clocks_are_locked_from_ampere_on(on: Connect, profile: str, code: int) -> None:
    client = on(profile)
    assert client.set("SetMemoryLockedClocks", 0, 405, 405) == code
    assert client.set("ResetMemoryLockedClocks") == code
    assert client.set("SetMemoryLockedClocks", 0, 405, 404) == (code or INVALID_ARGUMENT)


# Modes


@pytest.mark.parametrize(
    ("setter", "getter", "mode", "code"),
    [
        ("SetPersistenceMode", "PersistenceMode", 1, 0),
        ("SetPersistenceMode", "PersistenceMode", 2, INVALID_ARGUMENT),
        ("SetComputeMode", "ComputeMode", 3, 0),
        ("SetComputeMode", "ComputeMode", 2, 0),
        ("SetComputeMode", "ComputeMode", 1, INVALID_ARGUMENT),
        ("SetComputeMode", "ComputeMode", 4, INVALID_ARGUMENT),
        ("SetEccMode", "PendingEccMode", 2, INVALID_ARGUMENT),
    ],
)
def test_modes(on: Connect, setter: str, getter: str, mode: int, code: int) -> None:
    client = on("T4")
    before = client.get(getter)
    assert client.set(setter, 0, mode) == code
    assert client.get(getter) == (before if code else mode)


def test_ecc_is_pending_until_the_reboot(host: Host, connect: Connect) -> None:
    gpus = host("A10G", "T4")
    client = connect(gpus)
    assert client.set("SetEccMode", 0, 0) == 0
    assert [client.get("EccMode", 0), client.get("EccMode", 1)] == [[1, 0], [1, 1]]
    client("nvmlShutdown")
    client = connect(gpus)
    assert client.get("EccMode", 0) == [1, 0], "closing NVML changes neither"
    gpus.reboot()
    client = connect(gpus)
    assert [client.get("EccMode", 0), client.get("EccMode", 1)] == [[0, 0], [1, 1]]
    assert client.code("nvmlDeviceGetTotalEccErrors", 0, 0, 0) == NOT_SUPPORTED, "nothing counts errors then"
    assert client.code("nvmlDeviceGetMemoryErrorCounter", 0, 0, 0, 2) == NOT_SUPPORTED
    assert client.set("SetEccMode", 0, 1) == 0
    gpus.reboot()
    assert connect(gpus).get("EccMode", 0) == [1, 1]


def test_ecc_as_it_comes_from_the_factory(host: Host, connect: Connect) -> None:
    gpus = host("A10G ecc_pending=0")
    client = connect(gpus)
    assert (client.get("EccMode"), client.get("DefaultEccMode")) == ([0, 0], [1])
    assert client.set("SetEccMode", 0, 1) == 0
    gpus.reboot()
    assert connect(gpus).get("EccMode") == [1, 1], "the setting is in the GPU, not in the list"


def test_a_gpu_without_ecc(on: Connect) -> None:
    client = on("T4 ecc=unsupported")
    for function in ("nvmlDeviceGetEccMode", "nvmlDeviceGetDefaultEccMode"):
        assert client.code(function, 0) == NOT_SUPPORTED
    assert client.set("SetEccMode", 0, 0) == NOT_SUPPORTED


@pytest.mark.parametrize("word", ["unsupported", "deprecated", "missing"])
@pytest.mark.parametrize(
    ("feature", "function", "arguments"),
    [
        ("serial", "GetSerial", ()),
        ("utilization", "GetUtilizationRates", ()),
        ("power_management", "GetPowerUsage", ()),
        ("power_management", "GetTotalEnergyConsumption", ()),
        ("power_management", "GetSamples", (POWER, 0)),
        ("energy", "GetTotalEnergyConsumption", ()),
        ("samples", "GetSamples", (MEMORY, 0)),
        ("utilization", "GetSamples", (GPU, 0)),
        ("locked_clocks", "SetGpuLockedClocks", (300, 300)),
        ("supported_clocks", "GetSupportedMemoryClocks", ()),
        ("persistence_mode", "SetPersistenceMode", (1,)),
        ("compute_mode", "GetComputeMode", ()),
    ],
)
def test_features_can_be_removed(
    on: Connect, word: str, feature: str, function: str, arguments: tuple[int, ...]
) -> None:
    client = on(f"T4 {feature}={word}")
    code = {"unsupported": NOT_SUPPORTED, "deprecated": DEPRECATED, "missing": FUNCTION_NOT_FOUND}[word]
    assert client.code(f"nvmlDevice{function}", 0, *arguments) == code


# Permissions, and the lifetime of settings

SETTERS = [
    ("SetPowerManagementLimit", (100000,)),
    ("SetApplicationsClocks", (6251, 1710)),
    ("ResetApplicationsClocks", ()),
    ("SetGpuLockedClocks", (300, 300)),
    ("ResetGpuLockedClocks", ()),
    ("SetMemoryLockedClocks", (405, 405)),
    ("ResetMemoryLockedClocks", ()),
    ("SetPersistenceMode", (1,)),
    ("SetComputeMode", (3,)),
    ("SetEccMode", (0,)),
]


def test_only_root_sets(host: Host, connect: Connect) -> None:
    gpus = host("A10G", uid=1000)
    client = connect(gpus)
    state = (gpus.run / "state").read_text()
    for setter, arguments in SETTERS:
        assert client.set(setter, 0, *arguments) == NO_PERMISSION, setter
    lines = [" ".join([f"nvmlDevice{name} 0", *map(str, arguments), "-> 4"]) for name, arguments in SETTERS]
    assert gpus.writes() == lines, "refused calls are logged too"
    assert (gpus.run / "state").read_text() == state
    assert client.get("PowerManagementLimit") == 300000, "all users may read"


def test_setters_are_logged_and_getters_are_not(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    client = connect(gpus)
    for what in ("PowerManagementLimit", "EccMode", "PersistenceMode", "ComputeMode", "UUID"):
        client.get(what)
    assert gpus.writes() == []
    for setter, arguments in SETTERS:
        assert client.set(setter, 0, *arguments) == 0, setter
    assert gpus.writes() == [
        " ".join([f"nvmlDevice{name} 0", *map(str, arguments), "-> 0"]) for name, arguments in SETTERS
    ]


def tune(client: Client) -> None:
    for setter, arguments in (
        ("SetPowerManagementLimit", (200000,)),
        ("SetApplicationsClocks", (6251, 1500)),
        ("SetGpuLockedClocks", (900, 900)),
        ("SetComputeMode", (3,)),
    ):
        assert client.set(setter, 0, *arguments) == 0


def tuned(client: Client) -> list[int]:
    return [
        client.get("PowerManagementLimit"),
        client.get("ApplicationsClock", 0, GRAPHICS),
        client.get("ClockInfo", 0, GRAPHICS),
        client.get("ComputeMode"),
    ]


TUNED, UNTUNED = [200000, 1500, 900, 3], [300000, 1710, 1710, 0]


def test_without_persistence_the_settings_end_with_the_last_process(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    first = connect(gpus)
    tune(first)
    second = connect(gpus)
    first("nvmlShutdown")
    assert tuned(second) == TUNED, "another process still had the GPU open"
    third = connect(gpus)
    second("nvmlShutdown")
    assert tuned(third) == TUNED
    third("nvmlShutdown")
    assert tuned(connect(gpus)) == UNTUNED


def test_with_persistence_the_settings_outlive_their_process(host: Host, connect: Connect) -> None:
    gpus = host("A10G", "A10G")
    client = connect(gpus)
    client.set("SetPersistenceMode", 0, 1)
    tune(client)
    client.set("SetPowerManagementLimit", 1, 150000)
    client("nvmlShutdown")
    client = connect(gpus)
    assert tuned(client) == TUNED
    assert client.get("PowerManagementLimit", 1) == 300000, "the mode is each GPU's own"
    client.set("SetPersistenceMode", 0, 0)
    client("nvmlShutdown")
    assert tuned(connect(gpus)) == UNTUNED


def test_a_killed_process_has_closed_the_gpu(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    client = connect(gpus)
    tune(client)
    client.die()
    assert tuned(connect(gpus)) == UNTUNED


def test_a_reboot_clears_all_settings_except_those_in_the_gpu(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    client = connect(gpus)
    client.set("SetPersistenceMode", 0, 1)
    client.set("SetEccMode", 0, 0)
    tune(client)
    client("nvmlShutdown")
    gpus.reboot()
    client = connect(gpus)
    assert tuned(client) == UNTUNED
    assert client.get("PersistenceMode") == 0
    assert client.get("EccMode") == [0, 0]
    assert gpus.writes() == []


def test_all_can_be_read_without_write_access(host: Host, connect: Connect) -> None:
    client = connect(host("T4"), SANDBOX_NVML_RUN="/proc/nowhere")
    assert client("nvmlSystemGetDriverVersion") == "550.163.01"
    assert client.get("PowerManagementLimit") == 70000
    assert client.set("SetPowerManagementLimit", 0, 65000) == UNKNOWN
    assert client.get("PowerManagementLimit") == 70000


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        # The user of the tests must be able to delete the folders.
        for path in folder.iterdir():
            path.chmod(0o755)


def close_locks(gpus: Gpus) -> None:
    for name in ("lock", "clients"):
        (gpus.run / name).chmod(0)


def empty_run(gpus: Gpus) -> None:
    gpus.reboot()
    gpus.run.mkdir()


@pytest.mark.parametrize("prepare", [lambda gpus: None, close_locks, empty_run, Gpus.reboot])
def test_a_user_without_write_access_can_read_everything(
    public: Path, library: Path, connect: Connect, prepare: Callable[[Gpus], None]
) -> None:
    gpus = Gpus(public, library, "A10G", uid=NOBODY)
    gpus.busy(0, temperature=71, memory_used=5 * MIB, power=200000, encoder=3, decoder=4, ecc_corrected=5, energy=10)
    gpus.samples(0, GPU, [(1000, 42)])
    assert smi(gpus, "-L").returncode == 0
    prepare(gpus)
    folders = [folder for folder in (public, gpus.state, gpus.run) if folder.exists()]
    for folder in folders:
        folder.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in public.rglob("*")}
    client = connect(gpus, opened=False)
    client("become", NOBODY)
    client("nvmlInit")
    assert client.get("Temperature", 0, 0) == 71
    assert used(client) == 5 * MIB
    assert client.get("UtilizationRates") == {"gpu": 42, "memory": 18}
    assert (client.get("EncoderUtilization")[0], client.get("DecoderUtilization")[0]) == (3, 4)
    assert client.get("PowerUsage") == 200000
    assert client.get("TotalEnergyConsumption") >= 10
    assert samples(client, GPU) == [(1000, 42)]
    assert len(samples(client, POWER)) == 100
    assert client.get("TotalEccErrors", 0, 0, 0) == client.get("MemoryErrorCounter", 0, 0, 0, 2) == 5
    assert client.get("RemappedRows") == [0, 0, 0, 0]
    assert client.get("CurrentClocksEventReasons") == 0
    assert client.get("ClockInfo", 0, SM) == 1710
    assert {path: path.stat().st_mtime_ns for path in public.rglob("*")} == before


def test_a_count_that_cannot_be_stored_is_an_error(public: Path, library: Path, connect: Connect) -> None:
    gpus = Gpus(public, library, "A10G", uid=NOBODY)
    gpus.busy(0, temperature="+1")
    assert query(gpus, "temperature.gpu") == ["1"]
    gpus.run.chmod(0o555)
    client = connect(gpus, opened=False)
    client("become", NOBODY)
    client("nvmlInit")
    assert [client.code("nvmlDeviceGetTemperature", 0, 0) for turn in range(2)] == [UNKNOWN, UNKNOWN]
    gpus.run.chmod(0o777)
    assert client.get("Temperature", 0, 0) == 2
    gpus.run.chmod(0o755)


def test_the_first_user_does_not_lock_out_others(public: Path, library: Path, connect: Connect) -> None:
    gpus = Gpus(public, library, "A10G")
    gpus.busy(0, temperature="+1")
    first = connect(gpus, opened=False)
    first("umask", 0o077)
    first("nvmlInit")
    assert first.set("SetPowerManagementLimit", 0, 200000) == 0
    assert first.get("Temperature", 0, 0) == 1
    second = connect(gpus, opened=False)
    second("become", NOBODY)
    second("nvmlInit")
    assert second.get("PowerManagementLimit") == 200000
    first("nvmlShutdown")
    assert second.get("PowerManagementLimit") == 200000
    assert [second.get("Temperature", 0, 0), second.get("Temperature", 0, 0)] == [2, 3]
    assert connect(gpus).get("PowerManagementLimit") == 200000, "the second has the GPU open"


def test_processes_do_not_overwrite_each_other(host: Host, connect: Connect) -> None:
    gpus = host(*["A10G"] * 4)
    clients = [connect(gpus) for turn in range(4)]

    def work(gpu: int) -> None:
        for watts in range(100, 130):
            assert clients[gpu].set("SetPowerManagementLimit", gpu, watts * 1000 + gpu) == 0

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, range(4)))
    assert [clients[0].get("PowerManagementLimit", gpu) for gpu in range(4)] == [129000, 129001, 129002, 129003]
    assert len(gpus.writes()) == 120


def test_a_gpu_that_falls_off_the_bus(host: Host, connect: Connect) -> None:
    gpus = host("A10G", "T4")
    gpus.fault("nvmlDeviceGetHandleByIndex", GPU_IS_LOST, gpu=1)
    client = connect(gpus)
    assert client("nvmlDeviceGetCount") == 2
    assert client.code("nvmlDeviceGetHandleByIndex", 1) == GPU_IS_LOST
    assert client.get("Name", 0) == "NVIDIA A10G"


# Faults


def test_a_permanent_fault(host: Host, connect: Connect) -> None:
    gpus = host("A10G", "A10G")
    gpus.fault("nvmlDeviceSetPowerManagementLimit", NOT_SUPPORTED)
    gpus.fault("nvmlDeviceGetUUID", 999, gpu=1)
    gpus.fault("nvmlDeviceGetMemoryInfo", "missing")
    client = connect(gpus)
    for gpu in (0, 1, 0):
        assert client.set("SetPowerManagementLimit", gpu, 200000) == NOT_SUPPORTED
    assert client.code("nvmlDeviceGetUUID", 0) == 0
    assert client.code("nvmlDeviceGetUUID", 1) == 999
    assert client.code("nvmlDeviceGetMemoryInfo", 0) == FUNCTION_NOT_FOUND
    assert client.code("nvmlDeviceGetMemoryInfo", 0, 0x02000028) == FUNCTION_NOT_FOUND, "with its version too"
    gpus.heal()
    assert client.set("SetPowerManagementLimit", 0, 200000) == 0
    assert [line.split()[-1] for line in gpus.writes()] == ["3", "3", "3", "0"]


def test_a_setter_that_changes_nothing(host: Host, connect: Connect) -> None:
    gpus = host("A10G")
    gpus.fault("nvmlDeviceSetPowerManagementLimit", "ignored", times=1)
    gpus.fault("nvmlDeviceSetEccMode", "ignored")
    client = connect(gpus)
    assert client.set("SetPowerManagementLimit", 0, 200000) == 0
    assert client.set("SetEccMode", 0, 0) == 0
    assert client.set("SetPowerManagementLimit", 0, 1) == INVALID_ARGUMENT
    assert client.get("PowerManagementLimit") == 300000
    assert client.get("EccMode") == [1, 1]
    assert [line.split()[-1] for line in gpus.writes()] == ["0", "0", "2"]


def test_a_temporary_fault_is_counted_over_all_processes(host: Host, connect: Connect) -> None:
    gpus = host("A10G", "A10G")
    gpus.fault("nvmlInit", DRIVER_NOT_LOADED, times=2)
    gpus.fault("nvmlDeviceGetName", GPU_IS_LOST, times=1, gpu=1)
    gpus.fault("nvmlDeviceGetPowerUsage", 999)
    clients = [connect(gpus, opened=False) for turn in range(3)]
    assert [client.code("nvmlInit") for client in clients] == [DRIVER_NOT_LOADED, DRIVER_NOT_LOADED, 0]
    client = clients[2]
    assert client.code("nvmlDeviceGetName", 0) == 0
    assert [client.code("nvmlDeviceGetName", 1) for turn in range(3)] == [GPU_IS_LOST, 0, 0]
    assert client.code("nvmlDeviceGetPowerUsage", 0) == 999
    assert (gpus.state / "faults").read_text() == "nvmlDeviceGetPowerUsage 999\n"


def test_faults_can_follow_each_other(host: Host, connect: Connect) -> None:
    gpus = host("T4")
    gpus.fault("nvmlDeviceGetName", 10, times=2)
    gpus.fault("nvmlDeviceGetName", GPU_IS_LOST)
    client = connect(gpus)
    assert [client.code("nvmlDeviceGetName", 0) for turn in range(4)] == [10, 10, GPU_IS_LOST, GPU_IS_LOST]


def test_a_fault_is_counted_exactly_with_many_callers(host: Host, connect: Connect) -> None:
    gpus = host("T4")
    gpus.fault("nvmlDeviceGetTemperature", 10, times=50)
    clients = [connect(gpus) for turn in range(4)]

    def work(client: Client) -> int:
        return sum(client.code("nvmlDeviceGetTemperature", 0, 0) == 10 for turn in range(20))

    with ThreadPoolExecutor() as pool:
        assert sum(pool.map(work, clients)) == 50


def test_a_name_with_the_same_prefix_is_another(host: Host, connect: Connect) -> None:
    gpus = host("T4")
    gpus.fault("nvmlDeviceGetPowerManagementLimit", 999)
    client = connect(gpus)
    assert client.code("nvmlDeviceGetPowerManagementLimit", 0) == 999
    assert client.code("nvmlDeviceGetPowerManagementLimitConstraints", 0) == 0


# nvidia-smi


def query(gpus: Gpus, fields: str, *arguments: str) -> list[str]:
    done = smi(gpus, f"--query-gpu={fields}", "--format=csv,noheader", *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_smi_queries(host: Host) -> None:
    gpus = host("T4", "A10G ecc=unsupported")
    fields = "index,name,memory.total,power.limit,utilization.gpu,temperature.gpu,clocks.gr,ecc.mode.current,fan.speed"
    done = smi(gpus, f"--query-gpu={fields}", "--format=csv")
    assert done.stdout.splitlines() == [
        "index, name, memory.total [MiB], power.limit [W], utilization.gpu [%], temperature.gpu, clocks.gr [MHz], "
        "ecc.mode.current, fan.speed [%]",
        "0, Tesla T4, 15360 MiB, 70.00 W, 34 %, 52, 1590 MHz, Enabled, [N/A]",
        "1, NVIDIA A10G, 23028 MiB, 300.00 W, 42 %, 47, 1710 MHz, [N/A], [N/A]",
    ]
    done = smi(gpus, "-i", "1", "--query-gpu", "power.limit, memory.total", "--format=csv,noheader,nounits")
    assert done.stdout == "300.00, 23028\n"
    # Listed separately, because each calls another function of NVML.
    asked = (
        "timestamp,driver_version,uuid,serial,pci.bus_id,memory.used,memory.free,utilization.memory,power.draw,"
        "power.default_limit,power.min_limit,power.max_limit,clocks.sm,clocks.mem,clocks.current.graphics,"
        "clocks.max.memory,clocks.applications.graphics,clocks.default_applications.memory,persistence_mode,"
        "ecc.mode.pending,compute_mode,pstate,vbios_version,compute_cap,pcie.link.gen.current,pcie.link.width.max,"
        "clocks_throttle_reasons.active,ecc.errors.uncorrected.volatile.total"
    )
    for field in asked.split(","):
        assert query(gpus, field, "-i", "0")[0].strip("[]") not in {"", "N/A", "Unknown Error"}, field


def test_smi_refuses_unknown_options(host: Host) -> None:
    gpus = host("T4")
    done = smi(gpus, "--query-gpu=name,colour", "--format=csv")
    assert (done.returncode, done.stdout) == (2, 'Field "colour" is not a valid field to query.\n\n')
    assert smi(gpus, "--query-gpu=name").returncode == 2
    assert smi(gpus, "--frobnicate").returncode == 2


def test_smi_finds_a_gpu_by_any_name(host: Host) -> None:
    gpus = host("T4", "A10G")
    for name in ("1", *query(gpus, "uuid", "-i", "1"), "00000000:00:1E.0", *query(gpus, "serial", "-i", "1")):
        assert query(gpus, "index", f"--id={name}") == ["1"]
    done = smi(gpus, "-i", "7", "--query-gpu=name", "--format=csv")
    assert (done.returncode, done.stdout) == (6, "No devices were found\n")


def test_smi_lists_and_describes(host: Host) -> None:
    gpus = host("T4", "A10G")
    uuids = query(gpus, "uuid")
    assert smi(gpus, "-L").stdout.splitlines() == [
        f"GPU 0: Tesla T4 (UUID: {uuids[0]})",
        f"GPU 1: NVIDIA A10G (UUID: {uuids[1]})",
    ]
    table = smi(gpus).stdout
    assert "Driver Version: 550.163.01     CUDA Version: 12.4" in table
    assert "|   1  NVIDIA A10G                    Off |   00000000:00:1E.0 Off |" in table
    assert "132W /  300W |    6114MiB /  23028MiB |     42%      Default |" in table
    assert len({len(line) for line in table.splitlines()[1:] if line}) == 1, "a table's lines are of one length"
    full = smi(gpus, "-q", "-i", "1").stdout
    for line in ("GPU 00000000:00:1E.0", "    Product Name                          : NVIDIA A10G"):
        assert line in full.splitlines()
    assert "        Max Power Limit                   : 300.00 W" in full.splitlines()
    clocks = smi(gpus, "-q", "-d", "SUPPORTED_CLOCKS", "-i", "1").stdout
    assert clocks.count("Graphics") == 101 + 15
    assert "Power Limit" not in clocks
    assert "DRIVER version      : 550.163.01" in smi(gpus, "--version").stdout
    assert "--query-gpu=" in smi(gpus, "--help").stdout


@pytest.mark.parametrize(
    ("break_it", "code", "text"),
    [
        (lambda gpus: gpus.install(None), 12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system."),
        (
            lambda gpus: gpus.unload(),
            9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        ),
        (lambda gpus: gpus.plug(), 6, "No devices were found"),
        (lambda gpus: gpus.fault("nvmlInit", 4), 4, "Failed to initialize NVML: Insufficient Permissions"),
        (
            lambda gpus: (smi(gpus), gpus.install("580.95.05")),
            18,
            "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95.05\n",
        ),
    ],
    ids=["no library", "no module", "no GPU", "no permission", "mismatch"],
)
def test_smi_reports_why_it_fails(host: Host, break_it: Callable[[Gpus], Any], code: int, text: str) -> None:
    gpus = host("T4")
    break_it(gpus)
    done = smi(gpus)
    assert done.returncode == code
    assert done.stdout.startswith(text)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["-pl", "200"], "power.limit", "200.00 W"),
        (["--power-limit=150.5"], "power.limit", "150.50 W"),
        (["-pm", "0"], "persistence_mode", "Disabled"),
        (["-e", "0"], "ecc.mode.pending", "Disabled"),
        (["--ecc-config=DISABLED"], "ecc.mode.current", "Enabled"),
        (["-c", "EXCLUSIVE_PROCESS"], "compute_mode", "Exclusive_Process"),
        (["-c", "2"], "compute_mode", "Prohibited"),
        (["-ac", "6251,1500"], "clocks.applications.gr", "1500 MHz"),
        (["-rac"], "clocks.applications.gr", "1710 MHz"),
        (["-lgc", "1005"], "clocks.gr", "1005 MHz"),
        (["-lgc", "300,900"], "clocks.gr", "900 MHz"),
        (["-rgc"], "clocks.gr", "1710 MHz"),
        (["-lmc", "405"], "clocks.mem", "405 MHz"),
    ],
)
def test_smi_sets(host: Host, arguments: list[str], field: str, value: str) -> None:
    gpus = host("A10G")
    assert smi(gpus, "-pm", "1").stdout.endswith("All done.\n")
    done = smi(gpus, *arguments)
    assert done.returncode == 0, done.stdout
    assert "All done.\n" in done.stdout
    assert ("Reboot required.\n" in done.stdout) is field.startswith("ecc")
    assert query(gpus, field) == [value]


@pytest.mark.parametrize(
    ("profile", "uid", "arguments", "answer"),
    [
        ("T4", 0, ["-pl", "300"], (2, "Provided power limit 300.00 W is not a valid power limit which should be")),
        ("T4", 0, ["-ac", "5001,1591"], (2, 'Specified clock combination "(5001,1591)" is not supported')),
        ("T4", 0, ["-c", "FAST"], (2, 'Invalid compute mode "FAST"')),
        ("T4", 0, ["-lmc", "405"], (3, "Changing Memory clocks is not supported for GPU: 00000000:00:1E.0.")),
        ("T4", 1000, ["-pm", "1"], (4, "Unable to set persistence mode for GPU 00000000:00:1E.0: Insufficient Perm")),
        ("T4 application_clocks=deprecated", 0, ["-rac"], (255, "Unable to set Applications clocks for GPU")),
    ],
)
def test_smi_is_refused(host: Host, profile: str, uid: int, arguments: list[str], answer: tuple[int, str]) -> None:
    done = smi(host(profile, uid=uid), *arguments)
    assert (done.returncode, done.stdout[: len(answer[1])]) == answer
