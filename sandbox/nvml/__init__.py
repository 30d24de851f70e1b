"""The simulated GPU: NVIDIA's libraries and ``nvidia-smi`` as far as needed, in C; its state is in two directories.

``host.h`` describes the files. Any process that loads the library sees the same GPUs, and what one sets another reads.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sandbox.errors import SandboxError

SOURCES = Path(__file__).resolve().parent
LIBRARY = "libnvidia-ml.so.1"
PROGRAM = "nvidia-smi"
COMPILE = "compile"
# The profiles of host.c, by EC2's names.
PROFILES = ("T4", "A10G", "V100")
CONTENT = "content"
COMPILE_SECONDS = 120


def content() -> str:
    """Return a digest of all sources of the library and the program."""
    digest = hashlib.sha256(platform.machine().encode())
    for path in [SOURCES / COMPILE, *sorted(SOURCES.glob("*.[ch]"))]:
        digest.update(f" {path.name} ".encode() + path.read_bytes())
    return digest.hexdigest()


def build(destination: Path) -> None:
    """Compile the library and ``nvidia-smi`` into a folder, unless the folder is up to date.

    :raises SandboxError: there is no C compiler, or it failed; the message has its last lines.
    """
    wanted, stamp = content(), destination / CONTENT
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination) as scratch:
        compile_into(scratch)
        # Replace whole files: a process may be using the old ones.
        for path in Path(scratch).iterdir():
            path.replace(destination / path.name)
    stamp.write_text(wanted, encoding="ascii")


def compile_into(folder: str) -> None:
    """Run the compiler.

    :raises SandboxError: the compiler is missing, or it failed.
    """
    if shutil.which("cc") is None:
        raise SandboxError("cc is missing. Install a C compiler (apt-get install gcc libc6-dev).")
    done = subprocess.run(
        [str(SOURCES / COMPILE), folder], capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False
    )
    if done.returncode != 0:
        raise SandboxError(f"The simulated GPU could not be compiled: {done.stderr.strip()[-800:]}")


class Gpus:
    """The GPUs of one simulated host, for tests: its two directories and their content.

    :param folder: where the directories are created.
    :param library: the folder that was passed to :func:`build`.
    :param profiles: the lines of ``gpus``, such as ``"T4"`` or ``"A10G ecc=unsupported"``.
    :param driver: version of the installed user land, ``None`` for none.
    :param uid: the user id that processes on the host appear to have.
    """

    def __init__(
        self, folder: Path, library: Path, *profiles: str, driver: str | None = "550.163.01", uid: int = 0
    ) -> None:
        """Set the host up; nothing has opened NVML on it yet."""
        self.run = folder / "run"
        self.state = folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.library = library
        self.uid = uid
        self.plug(*profiles)
        self.install(driver)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process sees these GPUs only."""
        return {
            "SANDBOX_NVML_RUN": str(self.run),
            "SANDBOX_NVML_STATE": str(self.state),
            "SANDBOX_NVML_UID": str(self.uid),
            "LD_LIBRARY_PATH": str(self.library),
        }

    def _write(self, name: str, lines: list[str]) -> None:
        """Replace one file whole: a process may be reading it."""
        scratch = self.state / f".{name}"
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        scratch.replace(self.state / name)

    def plug(self, *profiles: str) -> None:
        """Replace the GPUs by others with factory settings; a reboot should follow."""
        (self.state / "inforom").unlink(missing_ok=True)
        self._write("gpus", list(profiles))

    def install(self, version: str | None) -> None:
        """Install another version of the user land; the loaded kernel module does not change until the reboot."""
        self._write("driver", [version or "none"])

    def unload(self) -> None:
        """Unload the kernel module."""
        self._write("unloaded", [])

    def load(self) -> None:
        """Load the kernel module, of the version that is installed, with everything at its defaults."""
        (self.state / "unloaded").unlink(missing_ok=True)
        (self.run / "state").unlink(missing_ok=True)

    def fault(self, function: str, code: int | str, times: int | None = None, gpu: int | None = None) -> None:
        """Make a function fail.

        :param function: its NVML name, with or without the version at its end; ``nvmlInit`` for all its versions.
        :param code: the code that it returns; ``missing`` for the code of a library without the function; ``ignored``
            for a setter that returns 0 and changes nothing.
        :param times: the number of failures before it works again; ``None`` for always.
        :param gpu: the index of the only GPU on which it fails; ``None`` for all.
        """
        words = [function, str(code), *([str(times)] if times is not None else [])]
        words += [f"@gpu={gpu}"] if gpu is not None else []
        file = self.state / "faults"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self._write("faults", [*lines, " ".join(words)])

    def heal(self) -> None:
        """Remove all faults."""
        (self.state / "faults").unlink(missing_ok=True)

    def _others(self, name: str, *key: int) -> list[str]:
        """Return the lines of a file that do not begin with these numbers."""
        file, words = self.state / name, [str(number) for number in key]
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [line for line in lines if line.split()[: len(words)] != words]

    def busy(self, gpu: int, **readings: int | str) -> None:
        """Replace readings of one GPU's profile by other values: ``busy(0, temperature=71, power=243000)``.

        A text ``"+1000000"`` is a reading that increases by that much with each call that returns it, in any
        process: 1000000, 2000000, and so on until the reboot. Each call of this method starts the counter of
        energy again, from the reading ``energy``.
        """
        values = " ".join(f"{name}={value}" for name, value in readings.items())
        self._write("load", [*self._others("load", gpu), f"{gpu} {values}"])

    def samples(self, gpu: int, kind: int, samples: Iterable[tuple[int, int]]) -> None:
        """Set the driver's buffer of one kind of samples.

        :param kind: a number of NVML's ``nvmlSamplingType_t``, such as ``NVML_GPU_UTILIZATION_SAMPLES``.
        :param samples: times in microseconds since the epoch, oldest first, each with a value in the unit of the
            reading; none to go back to a sample of the reading in force each sixth of a second.
        """
        lines = [f"{gpu} {kind} {timestamp} {value}" for timestamp, value in samples]
        self._write("samples", [*self._others("samples", gpu, kind), *lines])

    def reboot(self) -> None:
        """Clear what a real reboot clears. The caller must end the processes that have NVML open."""
        if self.run.exists():
            shutil.rmtree(self.run)

    def writes(self) -> list[str]:
        """Return the log of all setters since the last reboot: ``nvmlDeviceSetEccMode 0 1 -> 0``."""
        log = self.run / "writes"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
