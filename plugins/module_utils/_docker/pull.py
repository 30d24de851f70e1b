# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls images side by side, each until it is there, cannot be had, or time is over.

Nothing of Ansible is imported here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .api import AnsweredError, Engine, EngineGoneError, SilenceError
from .credentials import DOCKER_HUB, Credentials
from .errors import OTHER, kind_of, remedy_for
from .progress import DONE, FAILED, Progress, Rates, amount, reported

REPORT_SECONDS = 1.0
# A failed attempt is followed by a pause of up to the first number, up to twice that, and so on, up to the second.
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
# How long an engine may be away.
RETURN_SECONDS, ASK_AGAIN_SECONDS = 120.0, 0.5
LONGEST_REASON = 300

COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"(?P<repository>(?:(?P<host>(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:)|\[[0-9a-fA-F:]+\])"
    rf"(?::\d+)?)/)?{COMPONENT}(?:/{COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)


class PullError(Exception):
    """An image will not come, and why."""


class AttemptError(Exception):
    """An attempt failed, and the next one may not.

    Attributes:
        remedy: what to do when it fails as well, as a sentence.
    """

    def __init__(self, message: str, remedy: str = OTHER.remedy) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Reference:
    """An image's full name.

    Attributes:
        name: as the user wrote it.
        registry: the host that has it, and its port.
        repository: the name without tag and digest.
        version: the digest, or the tag where there is none.
    """

    name: str
    registry: str
    repository: str
    version: str

    @property
    def exact(self) -> str:
        """The name by which the engine has it: by its digest only, where there is one."""
        return f"{self.repository}{'@' if ':' in self.version else ':'}{self.version}"


@dataclass(frozen=True)
class Limits:
    """How much time and how many attempts there are; times in seconds.

    Attributes:
        parallel: how many images are pulled at a time.
        retries: how often a failed pull is tried again.
        timeout: for all images.
        stall_timeout: how long nothing may happen to an image that is pulled.
    """

    parallel: int
    retries: int
    timeout: int
    stall_timeout: int


@dataclass
class Outcome:
    """What came of one image.

    Attributes:
        id: the engine's, once it is there.
        pulled: whether it was not there before.
        downloaded: bytes that came, in the attempt that succeeded.
        problem: why it is not there, in one line.
    """

    name: str
    id: str = ""
    pulled: bool = False
    downloaded: int = 0
    seconds: float = 0.0
    attempts: int = 0
    problem: str = ""


def parse_reference(name: str) -> Reference | None:
    """Return what an image's full name says; None when it is none, or has neither tag nor digest."""
    match = REFERENCE.fullmatch(name)
    version = match and (match["digest"] or match["tag"])
    if not match or not version:
        return None
    return Reference(name, match["host"] or DOCKER_HUB, match["repository"], version)


class Pull:
    """The pull of one image, over all its attempts.

    Args:
        image: which.
        credentials: for its registry.
        config: where they come from, for who has to correct them.
        ends: when time is over for all images, on the monotonic clock.
    """

    def __init__(
        self, engine: Engine, image: Reference, credentials: Credentials, *, config: str, limits: Limits, ends: float
    ) -> None:
        self._engine = engine
        self._image = image
        self._credentials = credentials
        self._config = config
        self._limits = limits
        self._ends = ends
        self.progress = Progress(image.name)
        self.outcome = Outcome(image.name)

    def run(self) -> None:
        """Pull it, and write down what came of it."""
        begin = time.monotonic()
        try:
            self._run()
        except PullError as error:
            self.outcome.problem = str(error)
            self.progress.end(FAILED, str(error))
        else:
            self.outcome.pulled = True
            self.outcome.downloaded = self.progress.snapshot(begin).loaded
            self.progress.end(DONE)
        self.outcome.seconds = round(time.monotonic() - begin, 1)

    def _run(self) -> None:
        """Try until it is there.

        Raises:
            PullError: it will not come.
        """
        if time.monotonic() >= self._ends:
            raise PullError(f"not begun within {self._limits.timeout} s. Raise timeout, or run it again")
        attempts = 1 + self._limits.retries
        for attempt in range(1, attempts + 1):
            self.outcome.attempts = attempt
            try:
                self._attempt()
            except (AttemptError, EngineGoneError) as error:
                reason = str(error)
                if attempt == attempts:
                    remedy = error.remedy if isinstance(error, AttemptError) else OTHER.remedy
                    raise PullError(f"{ended(f'{reason}, at the last of {attempts} attempts')} {remedy}") from None
                if isinstance(error, EngineGoneError):
                    self.progress.say(f"{reason}; waiting until it answers again")
                    self._wait_for_engine(reason)
                self.progress.say(f"{reason}; attempt {attempt + 1} of {attempts} follows")
                self._pause(attempt, reason)
            else:
                return

    def _attempt(self) -> None:
        """Try once.

        Raises:
            AttemptError: another attempt may have it.
            EngineGoneError: the engine is away.
            PullError: none will.
        """
        self.progress.begin(time.monotonic())
        try:
            for message in self._engine.pull(
                self._image.repository, self._image.version, self._credentials.authorization, self._patience
            ):
                self.progress.take(message, time.monotonic())
        except AnsweredError as error:
            raise self._judge(error) from None
        except SilenceError:
            raise self._stalled() from None
        try:
            self.outcome.id = self._engine.image_id(self._image.exact)
        except (AnsweredError, SilenceError) as error:
            raise AttemptError(str(error)) from None
        if not self.outcome.id:
            raise AttemptError("the engine ended the pull, and does not have the image")

    def _waits_until(self) -> float:
        """Return when it is no longer waited for what comes next."""
        if self.progress.may_be_silent:
            return self._ends
        return min(self._ends, self.progress.moved + self._limits.stall_timeout)

    def _patience(self) -> float:
        """Return for how many seconds to wait for what comes next.

        Raises:
            AttemptError: nothing happened for too long.
            PullError: time is over.
        """
        seconds = self._waits_until() - time.monotonic()
        if seconds <= 0:
            raise self._stalled()
        return seconds

    def _stalled(self) -> Exception:
        """Return what went wrong when the wait is over."""
        if self._waits_until() >= self._ends:
            return self._late("")
        return AttemptError(f"no progress for {self._limits.stall_timeout} s{self._far()}")

    def _late(self, reason: str) -> PullError:
        """Return that time is over for all images.

        Args:
            reason: of the last attempt, where that has failed.
        """
        after = f", after: {reason}" if reason else self._far()
        return PullError(f"not there within {self._limits.timeout} s{after}. Raise timeout, or run it again")

    def _far(self) -> str:
        """Return how much has come, as the end of a sentence."""
        snapshot = self.progress.snapshot(time.monotonic())
        return f", {amount(snapshot)} have come" if snapshot.total else ""

    def _judge(self, error: AnsweredError) -> Exception:
        """Return whether an engine's refusal is for good, and what to do then."""
        reason = cleaned(str(error), self._credentials.secrets)
        kind = kind_of(str(error), error.status)
        remedy = remedy_for(
            kind,
            str(error),
            self._image.name,
            self._image.registry,
            self._config,
            with_login=bool(self._credentials.authorization),
        )
        return AttemptError(reason, remedy) if kind.passes else PullError(f"{ended(reason)} {remedy}")

    def _wait_for_engine(self, reason: str) -> None:
        """Wait until the engine answers.

        Raises:
            PullError: it does not in time.
        """
        ends = time.monotonic() + RETURN_SECONDS
        while not self._engine.answers():
            if time.monotonic() >= self._ends:
                raise self._late(reason)
            if time.monotonic() >= ends:
                raise PullError(
                    f"{reason}, and it did not answer again within {RETURN_SECONDS:.0f} s. See journalctl -u docker"
                )
            time.sleep(ASK_AGAIN_SECONDS)

    def _pause(self, attempt: int, reason: str) -> None:
        """Wait before the next attempt.

        Raises:
            PullError: time is over.
        """
        bound = min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2 ** (attempt - 1))
        # Hosts that failed together are not to come back together.
        pause = random.SystemRandom().uniform(bound / 2, bound)
        if time.monotonic() + pause >= self._ends:
            raise self._late(reason)
        time.sleep(pause)


def ended(text: str) -> str:
    """Return a text as a sentence."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def cleaned(text: str, secrets: Sequence[str]) -> str:
    """Return what an engine says on one line, without what nobody is to read."""
    for secret in secrets:
        text = text.replace(secret, "********")
    # Registries hand out addresses that are signed there.
    text = re.sub(r"\?[^\s\"'<>]+", "?...", " ".join(text.split()))
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."


class ProgressFile:
    """The file that tells how far all images are.

    Attributes:
        path: where it is; empty for none.
        problem: why it could not be written the last time; empty when it could.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._rates = Rates()
        self.problem = ""

    def write(self, images: Sequence[Progress]) -> None:
        """Write it anew, whole or not at all; images are worth more than it is."""
        if not self.path:
            return
        now = time.monotonic()
        snapshots = [image.snapshot(now) for image in images]
        report = reported([(snapshot, self._rates.rate(snapshot, now)) for snapshot in snapshots])
        try:
            replace(self.path, json.dumps(report, indent=1) + "\n")
        except OSError as error:
            self.problem = f"progress_file: {self.path} cannot be written: {error.strerror}"
        else:
            self.problem = ""


def replace(path: str, text: str) -> None:
    """Put a file in the place of another, readable by everybody.

    Raises:
        OSError: it cannot be written.
    """
    folder, name = os.path.split(path)
    descriptor, scratch = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        Path(scratch).replace(path)
    except OSError:
        Path(scratch).unlink()
        raise


def pull_all(
    engine: Engine,
    missing: Sequence[Reference],
    present: Sequence[Progress],
    *,
    credentials: Mapping[str, Credentials],
    config: str,
    limits: Limits,
    file: ProgressFile,
) -> list[Outcome]:
    """Pull the images that are missing.

    Args:
        present: the images that are there, for the file.
        credentials: by registry.
        config: where they come from.
        file: is written while images come.
    """
    ends = time.monotonic() + limits.timeout
    pulls = [
        Pull(engine, image, credentials[image.registry], config=config, limits=limits, ends=ends) for image in missing
    ]
    everything = [*present, *(pull.progress for pull in pulls)]
    file.write(everything)
    with concurrent.futures.ThreadPoolExecutor(limits.parallel) as pool:
        running = [pool.submit(pull.run) for pull in pulls]
        unfinished: Any = running
        while unfinished:
            unfinished = concurrent.futures.wait(unfinished, REPORT_SECONDS).not_done
            file.write(everything)
    for future in running:
        future.result()
    return [pull.outcome for pull in pulls]
