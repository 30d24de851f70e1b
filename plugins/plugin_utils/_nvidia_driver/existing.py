# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Assess a host's existing NVIDIA driver: its origin, whether it works, whether it fits. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .drivers import NVML, Driver, Request, in_range, installed_flavour, meets, numbers

# The exit code of nvidia-smi when an infoROM is corrupt. It still answers.
INFOROM_CORRUPT = 14
NO_DEVICES, NOT_LOADED, MISMATCH, NO_PROGRAM = 6, 9, 18, 127
NUMBER = re.compile(r"\d{3}\.\d+(\.\d+)?")
# The packages that messages name first, since users install these.
LEADING = (
    "nvidia-driver",
    "cuda-drivers",
    "nvidia-open",
    "nvidia-headless",
    "nvidia-linux-grid",
    "nvidia-vgpu",
    "libcuda1",
)
MODULES = re.compile(r"linux-(modules|objects|signatures)-nvidia-")
UNKNOWN_GPU = (
    "The driver does not know this GPU, or it is a part of one (vGPU), which needs NVIDIA's GRID driver. Run "
    "`journalctl --dmesg --grep=NVRM` for the kernel's reason."
)
REJECTED = (
    "Secure Boot refuses the module (Key was rejected by service). Install a signed one (Ubuntu's linux-modules-nvidia "
    "packages), or enrol the key of DKMS with `mokutil --import` and reboot, or turn Secure Boot off."
)
SECURE_BOOT = (
    "Secure Boot is on. Run `modprobe nvidia`: where it reports a rejected key, enrol the key of DKMS with "
    "`mokutil --import` and reboot."
)
NOUVEAU = "nouveau drives the GPU until it is blacklisted below /etc/modprobe.d and the host is rebooted."
OF_DISTRIBUTION = re.compile(r"[@.](debian|ubuntu|canonical)\.")


@dataclass(frozen=True)
class Package:
    """An installed package."""

    name: str
    version: str
    source: str = ""
    maintainer: str = ""

    @property
    def driver_version(self) -> str:
        """The driver's version, where the package has it as its own."""
        return Driver("", self.version).version


@dataclass(frozen=True)
class Host:
    """What a host reports about its driver.

    Attributes:
        packages: all that are installed.
        smi_status: the exit code of nvidia-smi, 127 where it is missing.
        smi: what it prints.
        kernel: the running kernel's release.
        module: the version of the loaded module, ``unknown`` if the kernel does not report it; empty without a module.
        built: the kernels that have a module.
        libraries: by the name that programs ask for, the file that the loader finds.
        icd, egl: the files by which Vulkan and EGL find the driver.
        installer: the programs that NVIDIA's installer leaves.
        root: the root of a driver container.
        pinned: the source packages that the role has pinned, such as ``src:nvidia-graphics-drivers``.
        nouveau, headers, wsl: whether nouveau is loaded, the kernel's headers are installed, and this is WSL.
        secure_boot: whether the kernel requires signed modules.
        modprobe: the errors of ``modprobe nvidia``, if it was run.
        dkms: the rows of ``dkms status``.
    """

    packages: tuple[Package, ...] = ()
    smi_status: int = NO_PROGRAM
    smi: tuple[str, ...] = ()
    kernel: str = ""
    module: str = ""
    built: tuple[str, ...] = ()
    libraries: dict[str, str] = field(default_factory=dict)
    icd: tuple[str, ...] = ()
    egl: tuple[str, ...] = ()
    installer: tuple[str, ...] = ()
    root: str = ""
    pinned: tuple[str, ...] = ()
    nouveau: bool = False
    headers: bool = False
    wsl: bool = False
    secure_boot: bool = False
    modprobe: str = ""
    dkms: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """What to do about the driver of a host.

    Attributes:
        verdict: ``absent`` without a driver; ``own`` when the role installed it; ``kept`` when another one works and
            fits; ``replaced`` when another one may be replaced; ``refused``.
        version: of the driver in use, else of the one that is installed; empty for none.
        gpus: how many GPUs nvidia-smi lists.
        loaded: whether a module by NVIDIA is loaded.
        problem: why it does not work, in sentences; empty when it works.
        reboot_helps: whether a reboot may change that.
        packages: its packages, if it is kept and another installed it.
        message: the verdict for the user, in one line; empty for ``absent`` and ``own``.
    """

    verdict: str
    version: str
    gpus: int
    loaded: bool
    problem: str
    reboot_helps: bool
    packages: list[str]
    message: str


def parse_packages(text: str) -> tuple[Package, ...]:
    """Return the installed packages in dpkg-query's rows of status, name, version, source, selection and maintainer."""
    cells = (line.split(maxsplit=5) for line in text.splitlines() if line.startswith("installed "))
    return tuple(Package(row[1], row[2], row[3], row[5] if len(row) > 5 else "") for row in cells if len(row) >= 5)


def parse_probe(text: str, packages: tuple[Package, ...] = (), modprobe: str = "") -> Host:
    """Return the host described by the output of the role's probe.

    Args:
        modprobe: the errors of ``modprobe nvidia``, if it was run.
    """
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _blank, value = line.partition(" ")
        rows.setdefault(key, []).append(value)
    libraries: dict[str, str] = {}
    for row in rows.get("library", []):
        name, path = row.split(" ", 1)
        if not re.search(r"/(i386|arm)-linux|/lib32/", path):
            libraries.setdefault(name, path)
    return Host(
        packages,
        smi_status=int(rows.get("smi-status", [str(NO_PROGRAM)])[0]),
        smi=tuple(line.strip() for line in rows.get("smi", [])),
        kernel="".join(rows.get("kernel", [])),
        module="".join(rows.get("module", [])),
        built=tuple(rows.get("built", [])),
        libraries=libraries,
        icd=tuple(rows.get("icd", [])),
        egl=tuple(rows.get("egl", [])),
        installer=tuple(rows.get("installer", [])),
        root="".join(rows.get("root", [])),
        pinned=tuple(" ".join(rows.get("pinned", [])).split()),
        nouveau="nouveau" in rows,
        headers="headers" in rows,
        wsl="wsl" in rows,
        secure_boot="secure-boot" in rows,
        modprobe=" ".join(modprobe.split()),
        dkms=tuple(rows.get("dkms", [])),
    )


def answers(host: Host) -> list[str]:
    """Return the version that nvidia-smi reports for each GPU. Its output also has warnings."""
    return [line for line in host.smi if NUMBER.fullmatch(line)] if host.smi_status in {0, INFOROM_CORRUPT} else []


def library_version(host: Host, name: str) -> str:
    """Return the version in the name of a library's file, empty for none."""
    found = re.search(rf"[.]so[.]({NUMBER.pattern})$", host.libraries.get(name, ""))
    return found[1] if found else ""


def user_lands(host: Host) -> list[str]:
    """Return the versions of the drivers whose libraries are installed, the one that programs load first."""
    loaded = [library_version(host, name) for name in ("libnvidia-ml.so.1", "libcuda.so.1")]
    packaged = [package.driver_version for package in host.packages if NVML.match(package.name)]
    return list(dict.fromkeys(version for version in [*loaded, *packaged] if version))


def find_version(host: Host, request: Request) -> str:
    """Return the version of the driver in use, else of the installed one, empty for none."""
    module = [host.module] if request.kernel and NUMBER.fullmatch(host.module) else []
    return next(iter([*answers(host), *user_lands(host), *module]), "")


def rejected(host: Host) -> bool:
    """Return whether the kernel has refused the module for its signature."""
    return re.search("Key was rejected|Required key not available", host.modprobe) is not None


def find_problem(host: Host, request: Request) -> str:
    """Return sentences that explain why the driver does not work; empty when it works."""
    versions = answers(host)
    if not versions:
        output = " ".join(host.smi).removesuffix(".")
        if host.smi_status == NO_PROGRAM:
            output = "nvidia-smi is missing"
        return f"{output or f'nvidia-smi ended with {host.smi_status}'}. {explain(host, request)}".strip()
    if request.kernel and NUMBER.fullmatch(host.module) and host.module != versions[0]:
        return f"nvidia-smi reports {versions[0]}, and the loaded module is {host.module}."
    cuda = library_version(host, "libcuda.so.1")
    if cuda and cuda != versions[0]:
        return (
            f"Two drivers are installed: programs load {host.libraries['libcuda.so.1']}, and the driver in use is "
            f"{versions[0]}. Remove one of them, and run `ldconfig`."
        )
    return ""


def explain(host: Host, request: Request) -> str:
    """Return what prevents a driver from answering; empty if unknown."""
    # A container sees the module of its machine.
    module = host.module if request.kernel else ""
    loadable = bool(request.kernel) and not host.module
    reasons = (
        (module and host.smi_status in {MISMATCH, NO_PROGRAM}, f"The loaded module is {module}."),
        (loadable and rejected(host), REJECTED),
        (request.kernel and host.nouveau, NOUVEAU),
        (host.smi_status == NO_DEVICES or "No devices were found" in host.smi, UNKNOWN_GPU),
        (loadable and host.kernel not in host.built, missing_module(host)),
        (loadable and host.modprobe, f"modprobe reports: {host.modprobe.removesuffix('.')}."),
        (loadable and host.secure_boot, SECURE_BOOT),
        (loadable, "The module is not loaded. Run `modprobe nvidia` for the reason."),
    )
    return next((sentence for applies, sentence in reasons if applies), "")


def missing_module(host: Host) -> str:
    """Return the sentences about a kernel without a module."""
    others = f", only for {', '.join(host.built)}" if host.built else ""
    built = f" DKMS reports: {'; '.join(host.dkms)}." if host.dkms else ""
    headers = "" if host.headers else f"install linux-headers-{host.kernel}, "
    return (
        f"There is no NVIDIA module for the running kernel {host.kernel}{others}.{built} To build it with DKMS, "
        f"{headers}run `dkms autoinstall`, and read its make.log where that fails."
    )


def reboot_helps(host: Host, request: Request) -> bool:
    """Return whether a driver that is installed may work after a reboot."""
    if not request.kernel or host.module:
        return True
    newer = any(numbers(kernel) > numbers(host.kernel) for kernel in host.built)
    return newer or (host.kernel in host.built and not rejected(host))


def packages_of(host: Host, version: str) -> list[Package]:
    """Return the packages of a driver: those of its version, and the signed modules of its kernels."""
    found = [package for package in host.packages if package.driver_version == version]
    # Other packages have its version as well, such as nvidia-fabricmanager with a driver of NVIDIA's installer.
    if not any(NVML.match(package.name) or package.name.startswith(LEADING) for package in found):
        return []
    return [*found, *(package for package in host.packages if MODULES.match(package.name))]


def leading(packages: list[Package]) -> Package:
    """Return the package that messages name."""
    ranked = (package for start in LEADING for package in packages if package.name.startswith(start))
    return next(ranked, packages[0])


def of_distribution(packages: list[Package]) -> bool:
    """Return whether packages are Debian's or Ubuntu's own."""
    return bool(packages) and not any(
        package.maintainer and not OF_DISTRIBUTION.search(package.maintainer) for package in packages
    )


def has_x(packages: list[Package]) -> bool:
    """Return whether packages include a driver for X."""
    return installed_flavour(package.name for package in packages) == "desktop"


def is_own(host: Host, packages: list[Package]) -> bool:
    """Return whether the role has installed a driver. An interrupted run may have pinned the next one."""
    pinned = any(f"src:{package.source}" in host.pinned for package in packages)
    return bool(host.pinned) and of_distribution(packages) and (pinned or not has_x(packages))


def misfits(version: str, packages: list[Package], request: Request) -> list[str]:
    """Return the variables that a driver does not satisfy, each with its value."""
    if not version:
        return []
    own = Driver("", version)
    # A variable may name a package's whole version.
    names = [own, *(Driver("", package.version) for package in packages if package.driver_version == version)]
    lines = []
    for name in ("branch", "version", "minimum", "below"):
        value = getattr(request, name)
        wanted = Request(request.distribution, **{name: value})
        if not (in_range(own, wanted) and any(meets(driver, wanted) for driver in names)):
            needed = f" ({request.minimum_for} needs it)" if name == "minimum" and request.minimum_for else ""
            lines.append(f"nvidia_driver_{name}={value}{needed}")
    return lines


def origin(host: Host, request: Request, packages: list[Package]) -> str:
    """Return the origin of a driver for messages."""
    if packages:
        lead = leading(packages)
        vendor = lead.maintainer.split("<")[0].strip(' "') or "another vendor"
        owner = request.distribution if of_distribution(packages) else vendor
        return f"of {owner} (package {lead.name} {lead.version}{', flavour desktop with X' if has_x(packages) else ''})"
    if host.wsl:
        return "of Windows (WSL)"
    if host.root:
        return f"of a driver container ({host.root})"
    if host.installer:
        return f"of NVIDIA's installer ({host.installer[0]})"
    return "of no package, perhaps a part of the image"


def missing_graphics(host: Host) -> list[str]:
    """Return what a driver lacks for graphics."""
    needed = {
        "a Vulkan ICD (nvidia_icd.json)": host.icd,
        "an EGL vendor file (10_nvidia.json)": host.egl,
        "libGLX_nvidia.so.0": host.libraries.get("libGLX_nvidia.so.0"),
    }
    return [name for name, found in needed.items() if not found]


def kept_warnings(host: Host, request: Request, version: str, packages: list[Package]) -> Iterator[str]:
    """Yield warnings about a driver that is kept, one sentence each."""
    if has_x(packages) and request.flavour == "server":
        yield "It is not of nvidia_driver_flavour=server; nvidia_driver_replace=true replaces it."
    if "libcuda.so.1" not in host.libraries and not host.root and not host.wsl:
        yield "It has no libcuda.so.1, so programs cannot compute with it."
    if len(answers(host)) < len(request.gpus):
        yield f"nvidia-smi lists {len(answers(host))} of the {len(request.gpus)} GPUs on the PCI bus."
    missing = missing_graphics(host)
    if missing and "graphics" in request.capabilities and not host.root and not host.wsl:
        yield f"It lacks {', '.join(missing)}, so Isaac Sim cannot draw with it: install its graphics libraries."
    others = [other for other in user_lands(host) if other != version]
    if others:
        yield f"Libraries of driver {', '.join(others)} are installed as well."
    warnings = [line for line in host.smi if not NUMBER.fullmatch(line)]
    if warnings:
        yield f"nvidia-smi warns: {' '.join(warnings)}"


def remedies(host: Host, packages: list[Package], wrong: list[str]) -> Iterator[str]:
    """Yield what a user can do about a driver that the role neither accepts nor replaces, each one sentence."""
    if wrong:
        yield f"To accept it, change or empty {', '.join(line.split('=')[0] for line in wrong)}."
    if host.wsl:
        yield "Otherwise update the driver of Windows."
    elif host.root:
        yield "Otherwise change the driver container."
    elif host.installer:
        yield "To have a packaged driver instead, run `nvidia-uninstall`, reboot the host, and run the playbook again."
    elif of_distribution(packages):
        flavour = "desktop" if has_x(packages) else "server"
        warning = " (server removes X)" if flavour == "desktop" else ""
        yield f"To have it replaced, set nvidia_driver_replace=true and nvidia_driver_flavour={flavour}{warning}."
    elif packages:
        yield f"Otherwise install another version of it, or remove it: `apt-get purge {leading(packages).name}`."
    else:
        yield "Otherwise use an image with another driver or without one."


def judge(host: Host, request: Request) -> State:
    """Return what to do about the driver of a host."""
    version = find_version(host, request)
    packages = packages_of(host, version)
    tried = bool(request.gpus or host.smi_status == 0)
    problem = find_problem(host, request) if tried else ""
    wrong = misfits(version, packages, request)
    title = f"NVIDIA driver {version or 'of an unknown version'} {origin(host, request, packages)}"
    exchangeable = request.replace and of_distribution(packages) and not host.installer
    # A library and a module of different versions mean that the driver was updated without a reboot.
    reboot = bool(problem) and (host.smi_status == MISMATCH or (request.kernel and host.module not in {"", version}))
    message = ""
    if not version and not (request.kernel and host.module) and not host.wsl:
        verdict = "absent"
    elif is_own(host, packages):
        verdict = "own"
    elif exchangeable and (problem or wrong or request.flavour not in {"", "desktop" if has_x(packages) else "server"}):
        verdict, message = "replaced", f"{title} is replaced, as nvidia_driver_replace=true permits."
    elif problem or wrong:
        verdict = "refused"
        reasons = [f"It does not work: {problem}"] if problem else []
        reasons += [f"It does not fit {' and '.join(wrong)}."] if wrong else []
        message = " ".join(
            [
                f"This host has {title}, which role nvidia_driver did not install and does not touch.",
                *reasons,
                *(["Reboot the host, then run the playbook again."] if reboot else []),
                *remedies(host, packages, wrong),
            ]
        )
    else:
        verdict = "kept"
        sentence = "works, and is left as it is." if tried else "is left as it is, and cannot be tried without a GPU."
        message = " ".join([f"{title} {sentence}", *kept_warnings(host, request, version, packages)])
    return State(
        verdict,
        version,
        len(answers(host)),
        bool(host.module),
        problem,
        reboot_helps(host, request),
        sorted(package.name for package in packages) if verdict == "kept" else [],
        message,
    )
