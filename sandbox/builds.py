"""Builds the images of ``sandbox/images`` and the application's own, each once per content."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import docker
import yaml
from docker import DockerClient
from docker.errors import BuildError, DockerException, ImageNotFound
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from sandbox.engine import install_command
from sandbox.errors import SandboxError
from sandbox.locks import alone
from sandbox.settings import LABEL, PROJECT

IMAGES = PROJECT / "sandbox" / "images"
CONTENT_LABEL = f"{LABEL}.content"
BOOTSTRAP_SECONDS = 600
PULL_SECONDS = 120
DOWNLOAD_SECONDS = 600
# Packages of a lock that have no wheel; the image has them from Debian.
WITHOUT_WHEEL = ("empy",)
# How many packages a message names.
MOST_NAMES = 8
# Enough for building all images on a slow machine.
OTHERS_SECONDS = 1800


@dataclass(frozen=True)
class Image:
    """One image, built from a folder with a Dockerfile on a base image.

    :param tag: the local name.
    :param folder: the build context.
    :param base: the local name of the base image.
    :param published: its repository and tag in the sandbox's registry; empty if it is not published.
    :param parts: other images from which it copies, by build argument.
    :param wheels: pinned Python packages, put into ``wheels/<name>/`` of its context.
    :param locks: files with pinned Python packages, put into ``wheels/<name>/`` of its context, for the images' Python.
    :param packages: pinned Python packages, unpacked into ``packages/`` of its context.
    :param sources: files and folders of this project, copied to ``project/`` in its context.
    """

    tag: str
    folder: Path
    base: str
    published: str = ""
    parts: tuple[tuple[str, Image], ...] = ()
    wheels: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


# The Python versions of the hosts' releases: packages with C extensions are built for each.
PYTHONS = ("3.11", "3.13")
# The Python version of the images on Debian 13.
PYTHON = "3.13"
BASES = {"digital-twin/base:debian13": "trixie", "digital-twin/base:debian12": "bookworm"}


def defaults(role: str) -> dict[str, Any]:
    """Return a role's default variables."""
    values: dict[str, Any] = yaml.safe_load((PROJECT / "roles" / role / "defaults" / "main.yml").read_text("utf-8"))
    return values


def binding(variables: Mapping[str, Any]) -> str:
    """Return the requirement line of NVML's binding, as role gpu_tuning installs it."""
    hashes = " ".join(f"--hash={value}" for value in variables["gpu_tuning_binding_hashes"])
    return f"nvidia-ml-py=={variables['gpu_tuning_binding_version']} {hashes}"


# The names of the stack's images are defined by the role.
STACK = defaults("digital_twin_stack")
# More names in the sandbox's registry. Which image of NIM the role pulls depends on the GPU.
PUBLISHED_ALSO = {
    "digital-twin/base:debian13": str(STACK["digital_twin_stack_base_image"]),
    "digital-twin/nim:debian13": str(STACK["digital_twin_stack_nim_model_free_image"]),
}


def host(release: str) -> Image:
    """Return the image of a simulated host of one Debian release, with an optional simulated GPU."""
    base = f"digital-twin/base:{release}"
    gpu = Image(f"digital-twin/nvml:{release}", PROJECT / "sandbox" / "nvml", base)
    return Image(f"digital-twin/host:{release}", IMAGES / "host", base, parts=(("NVML_IMAGE", gpu),))


HOSTS = {release: host(release) for release in ("debian13", "debian12")}
REGISTRY = Image("digital-twin/registry:debian13", IMAGES / "registry", "digital-twin/base:debian13")
ARCHIVE = Image(
    "digital-twin/archive:debian13",
    IMAGES / "archive",
    "digital-twin/base:debian13",
    wheels=tuple(
        sorted(
            {
                binding(defaults("gpu_tuning")),
                *defaults("gpu_metrics")["gpu_metrics_packages"],
                *defaults("instance_guard")["instance_guard_packages"],
                *defaults("ros2_networking")["ros2_networking_dds_packages"],
                *defaults("ros2_networking")["ros2_networking_zenoh_packages"],
            }
        )
    ),
)
SERVICES = (
    Image(
        "digital-twin/redis:debian13",
        IMAGES / "redis",
        "digital-twin/base:debian13",
        STACK["digital_twin_stack_redis_image"],
    ),
    Image(
        "digital-twin/cognitive:local",
        PROJECT / "compose" / "cognitive",
        "digital-twin/base:debian13",
        STACK["digital_twin_stack_cognitive_image"],
    ),
)


def pinned(lock: Path) -> list[str]:
    """Return the packages of a lock, each with its version and hashes in one line."""
    lines = lock.read_text("utf-8").replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if "==" in line]


def locked(*packages: str) -> tuple[str, ...]:
    """Return packages with the versions and hashes of the project's lock."""
    lines = pinned(PROJECT / "requirements.txt")
    pins = {line.split("==")[0]: re.sub(" ;.*?(?= --hash)", "", line) for line in lines}
    return tuple(pins[package] for package in packages)


def simulator(
    name: str, *, locks: tuple[str, ...] = (), packages: tuple[str, ...] = (), sources: tuple[str, ...] = ()
) -> Image:
    """Return the image of the simulator of one of the stack's services.

    :param locks: files with pinned Python packages, in its own folder.
    :param packages: names of Python packages, pinned by the project's lock.
    :param sources: files that it needs in addition to its own folder.
    """
    own = f"sandbox/images/{name}"
    return Image(
        f"digital-twin/{name}:debian13",
        IMAGES / name,
        "digital-twin/base:debian13",
        STACK[f"digital_twin_stack_{name}_image"],
        parts=(("PYTHON_IMAGE", PYTHON_IMAGE),),
        locks=locks,
        packages=locked(*packages),
        sources=(own, *sources),
    )


# Services that need a GPU, a vendor's registry or ROS; the slowest to build come first.
PYTHON_IMAGE = Image("digital-twin/python:debian13", IMAGES / "python", "digital-twin/base:debian13")
SIMULATORS = (
    Image(
        "digital-twin/foxglove:debian13",
        IMAGES / "foxglove",
        "digital-twin/base:debian13",
        STACK["digital_twin_stack_foxglove_image"],
    ),
    simulator(
        "ros2",
        locks=("interfaces/build.txt",),
        packages=("foxglove-sdk", "redis"),
        sources=("compose/ros2/bridge", "compose/world"),
    ),
    simulator(
        "riva",
        packages=("grpcio", "grpcio-health-checking", "nvidia-riva-client", "protobuf"),
        sources=("sandbox/nim_api.py",),
    ),
    simulator("isaac_sim", packages=("cyclonedds",), sources=("sandbox/ros_topics.py", "compose/world")),
    simulator("nim", sources=("sandbox/nim_api.py",)),
)


def content_of(image: Image, sources: list[str]) -> str:
    """Return a digest of an image's inputs: its context, and the ids of its base and its parts."""
    digest = hashlib.sha256(f"{' '.join([*sources, *image.wheels, *image.packages])} ".encode())
    for folder in (image.folder, *(PROJECT / source for source in image.sources)):
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(folder)} {path.stat().st_mode:o} ".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def ensure_base(client: DockerClient, tag: str) -> None:
    """Create a Debian base image unless it exists: pulled if a registry answers, otherwise bootstrapped.

    :raises SandboxError: neither way works on this machine.
    """
    suite = BASES[tag]
    recipe = hashlib.sha256((IMAGES / "base" / "apt.conf").read_bytes()).hexdigest()
    try:
        if client.images.get(tag).labels.get(CONTENT_LABEL) == recipe:
            return
    except ImageNotFound:
        pass
    source = f"debian:{suite}-slim"
    if not pulled(client, source):
        source = bootstrap(client, suite)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copy(IMAGES / "base" / "apt.conf", folder / "apt.conf")
        (folder / "Dockerfile").write_text(f"FROM {source}\nCOPY apt.conf /etc/apt/apt.conf.d/99sandbox\n", "utf-8")
        run_build(client, folder, tag, recipe, {})


def pulled(client: DockerClient, name: str) -> bool:
    """Return whether the image could be pulled."""
    puller = docker.from_env(timeout=PULL_SECONDS)
    try:
        repository, tag = name.split(":")
        puller.images.pull(repository, tag)
    except (DockerException, RequestException, HTTPError):
        return False
    finally:
        puller.close()
    return bool(client.images.list(name))


def bootstrap(client: DockerClient, suite: str) -> str:
    """Create a minimal Debian from the package archive, and return the image's local name."""
    install_command("mmdebstrap", ["mmdebstrap"])
    name = f"digital-twin/bootstrap:{suite}"
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "root.tar"
        command = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", suite, str(archive)]
        mirror = os.environ.get("SANDBOX_DEBIAN_MIRROR")
        done = subprocess.run(
            [*command, *([mirror] if mirror else [])],
            capture_output=True,
            text=True,
            timeout=BOOTSTRAP_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise SandboxError(f"mmdebstrap could not create Debian {suite}: {done.stderr.strip()[-800:]}")
        client.api.import_image_from_file(str(archive), *name.split(":"))
    return name


def run_build(client: DockerClient, folder: Path, tag: str, content: str, arguments: dict[str, str]) -> None:
    """Build one folder.

    :raises SandboxError: the build failed; the message has its last lines.
    """
    try:
        client.images.build(
            path=str(folder), tag=tag, buildargs=arguments, labels={CONTENT_LABEL: content}, rm=True, forcerm=True
        )
    except BuildError as error:
        lines = "".join(str(entry.get("stream", "")) for entry in error.build_log)
        raise SandboxError(f"The image {tag} could not be built: {error}\n{lines[-1500:]}") from error


@cache
def turn(tag: str) -> threading.Lock:
    """Return the lock of an image: two images with a common part would build it at the same time."""
    return threading.Lock()


def ensure(client: DockerClient, image: Image) -> None:
    """Build one image and its parts, unless they exist with the current content."""
    for _argument, part in image.parts:
        with turn(part.tag):
            ensure(client, part)
    arguments = {"BASE_IMAGE": image.base} | {argument: part.tag for argument, part in image.parts}
    content = content_of(image, [str(client.images.get(name).id) for name in arguments.values()])
    try:
        if client.images.get(image.tag).labels.get(CONTENT_LABEL) == content:
            return
    except ImageNotFound:
        pass
    if not (image.wheels or image.locks or image.packages or image.sources):
        run_build(client, image.folder, image.tag, content, arguments)
        return
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(image.folder, context)
        for source in image.sources:
            copy(PROJECT / source, context / "project" / source)
        for wheel in image.wheels:
            for python in PYTHONS:
                pip("download", python, [wheel], "--dest", context / "wheels" / wheel.split("==")[0])
        for lock in image.locks:
            # The image's own Python installs them: some of their files belong outside of Python's folders.
            wheels = [line for line in pinned(image.folder / lock) if line.split("==")[0] not in WITHOUT_WHEEL]
            pip("download", PYTHON, wheels, "--dest", context / "wheels" / Path(lock).stem)
        if image.packages:
            pip("install", PYTHON, image.packages, "--no-compile", "--target", context / "packages")
        run_build(client, context, image.tag, content, arguments)


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, without Python's caches."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, target)
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def pip(verb: str, python: str, packages: Sequence[str], *arguments: str | Path) -> None:
    """Download or unpack Python packages for one Python version, from this machine's package index.

    :param packages: each with its version and hashes.
    :raises SandboxError: pip failed.
    """
    words = [
        sys.executable,
        "-m",
        "pip",
        verb,
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--python-version",
        python,
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(packages) + "\n")
        requirements.flush()
        done = subprocess.run(
            [*words, *map(str, arguments), "-r", requirements.name],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        names = [package.split()[0] for package in packages if "==" in package]
        what = " ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else "")
        raise SandboxError(f"pip {verb} of {what} failed: {done.stderr.strip()[-800:]}")


def ensure_all(client: DockerClient, images: Iterable[Image]) -> None:
    """Build several images and their bases; two at a time, because apt and the archive mostly wait."""
    wanted = list(images)

    def family(base: str) -> Iterator[Image]:
        return (image for image in wanted if image.base == base)

    bases = sorted({image.base for image in wanted}, reverse=True)
    with (
        alone("images", what="another process to build the images", seconds=OTHERS_SECONDS),
        ThreadPoolExecutor(max_workers=2) as pool,
    ):
        list(pool.map(lambda base: ensure_base(client, base), bases))
        list(pool.map(lambda image: ensure(client, image), (image for base in bases for image in family(base))))
