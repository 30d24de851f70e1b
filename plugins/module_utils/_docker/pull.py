# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls images in parallel, each until it is present, has finally failed, or the time is over."""

from __future__ import annotations

import concurrent.futures
import json
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._files import replace_file
from .api import AnsweredError, Engine, EngineGoneError, SilenceError
from .credentials import Credentials
from .errors import OTHER, kind_of, remedy_for
from .progress import DONE, FAILED, Progress, Rates, amount, report_of
from .request import PullLimits, Reference

REPORT_SECONDS = 1.0
# A failed attempt is followed by a pause of up to the first number, up to twice that, and so on, up to the second.
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
# How long the engine may be unreachable.
RETURN_SECONDS, PING_INTERVAL_SECONDS = 120.0, 0.5
LONGEST_REASON = 300


class PullError(Exception):
    """The pull of an image has finally failed; the text is the reason."""


class AttemptError(Exception):
    """An attempt failed; the next one may succeed.

    Attributes:
        remedy: what to do if it fails as well, as a sentence.
    """

    def __init__(self, message: str, remedy: str = OTHER.remedy) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass
class PullResult:
    """The result for one image.

    Attributes:
        id: the engine's id of it; empty while it is missing.
        pulled: whether it was missing before.
        bytes: how many were downloaded in the attempt that succeeded.
        problem: why it is missing, in one line.
    """

    name: str
    id: str = ""
    pulled: bool = False
    bytes: int = 0
    seconds: float = 0.0
    attempts: int = 0
    problem: str = ""

    def report(self) -> dict[str, Any]:
        """Return it as the module returns it."""
        return {name: value for name, value in vars(self).items() if name != "problem"}


class Pull:
    """The pull of one image, over all its attempts.

    Args:
        image: the image.
        credentials: for its registry.
        config: the file with the credentials, for messages.
        ends: when the time for all images is over, on the monotonic clock.
    """

    def __init__(
        self,
        engine: Engine,
        image: Reference,
        credentials: Credentials,
        *,
        config: str,
        limits: PullLimits,
        ends: float,
    ) -> None:
        self._engine = engine
        self._image = image
        self._credentials = credentials
        self._config = config
        self._limits = limits
        self._ends = ends
        self.progress = Progress(image.name)
        self.outcome = PullResult(image.name)

    def run(self) -> None:
        """Pull the image, and set the outcome."""
        begin = time.monotonic()
        try:
            self._run()
        except PullError as error:
            self.outcome.problem = str(error)
            self.progress.end(FAILED, str(error))
        else:
            self.outcome.pulled = True
            self.outcome.bytes = self.progress.snapshot(begin).loaded
            self.progress.end(DONE)
        self.outcome.seconds = round(time.monotonic() - begin, 1)

    def _run(self) -> None:
        """Try until the image is present.

        Raises:
            PullError: the pull has finally failed.
        """
        if time.monotonic() >= self._ends:
            raise PullError(f"not started within {self._limits.timeout} s. Increase timeout, or run it again.")
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
                    self.progress.set_note(f"{reason}; waiting until it answers again")
                    self._wait_for_engine(reason)
                self.progress.set_note(f"{reason}; attempt {attempt + 1} of {attempts} follows")
                self._pause(attempt, reason)
            else:
                return

    def _attempt(self) -> None:
        """Try once.

        Raises:
            AttemptError: another attempt may succeed.
            EngineGoneError: the engine is unreachable.
            PullError: no further attempt can succeed.
        """
        self.progress.begin(time.monotonic())
        try:
            for message in self._engine.pull(
                self._image.repository, self._image.version, self._credentials.authorization, self._next_timeout
            ):
                self.progress.update(message, time.monotonic())
        except AnsweredError as error:
            raise self._classified(error) from None
        except SilenceError:
            raise self._stalled() from None
        try:
            self.outcome.id = self._engine.image_id(self._image.exact)
        except (AnsweredError, SilenceError) as error:
            raise AttemptError(str(error)) from None
        if not self.outcome.id:
            raise AttemptError("the engine ended the pull without the image")

    def _message_deadline(self) -> float:
        """Return until when to wait for the next message."""
        if self.progress.may_be_silent:
            return self._ends
        return min(self._ends, self.progress.moved + self._limits.stall_timeout)

    def _next_timeout(self) -> float:
        """Return how many seconds to wait for the next message.

        Raises:
            AttemptError: there was no progress for too long.
            PullError: the time for all images is over.
        """
        seconds = self._message_deadline() - time.monotonic()
        if seconds <= 0:
            raise self._stalled()
        return seconds

    def _stalled(self) -> Exception:
        """Return the exception to raise when the wait is over."""
        if self._message_deadline() >= self._ends:
            return self._late("")
        return AttemptError(f"no progress for {self._limits.stall_timeout} s{self._amount()}")

    def _late(self, reason: str) -> PullError:
        """Return the exception to raise when the time for all images is over.

        Args:
            reason: why the last attempt failed; empty if it did not.
        """
        after = f", after: {reason}" if reason else self._amount()
        return PullError(f"not complete within {self._limits.timeout} s{after}. Increase timeout, or run it again.")

    def _amount(self) -> str:
        """Return how much is downloaded, as the end of a sentence."""
        snapshot = self.progress.snapshot(time.monotonic())
        return f", {amount(snapshot)} downloaded" if snapshot.total else ""

    def _classified(self, error: AnsweredError) -> Exception:
        """Return an engine's error as retryable or final, with its remedy."""
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
        return AttemptError(reason, remedy) if kind.retryable else PullError(f"{ended(reason)} {remedy}")

    def _wait_for_engine(self, reason: str) -> None:
        """Wait until the engine answers.

        Raises:
            PullError: the engine does not answer in time.
        """
        ends = time.monotonic() + RETURN_SECONDS
        while not self._engine.answers():
            if time.monotonic() >= self._ends:
                raise self._late(reason)
            if time.monotonic() >= ends:
                raise PullError(
                    f"{reason}, and did not answer again within {RETURN_SECONDS:.0f} s. See `journalctl -u docker`."
                )
            time.sleep(PING_INTERVAL_SECONDS)

    def _pause(self, attempt: int, reason: str) -> None:
        """Wait before the next attempt.

        Raises:
            PullError: the time for all images is over.
        """
        bound = min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2 ** (attempt - 1))
        # Hosts that failed together must not retry together.
        pause = random.SystemRandom().uniform(bound / 2, bound)
        if time.monotonic() + pause >= self._ends:
            raise self._late(reason)
        time.sleep(pause)


def ended(text: str) -> str:
    """Return a text as a sentence."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def cleaned(text: str, secrets: Sequence[str]) -> str:
    """Return an engine's message on one line, without secrets."""
    for secret in secrets:
        text = text.replace(secret, "********")
    # The query of a registry's URL may hold a signature.
    text = re.sub(r"\?[^\s\"'<>]+", "?...", " ".join(text.split()))
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."


class ProgressFile:
    """The file with the progress of all images.

    Attributes:
        path: its path; empty for no file.
        problem: why the last write failed; empty if it did not.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._rates = Rates()
        self.problem = ""

    def write(self, images: Sequence[Progress]) -> None:
        """Replace the file atomically; a failure does not stop the pull."""
        if not self.path:
            return
        now = time.monotonic()
        snapshots = [image.snapshot(now) for image in images]
        report = report_of([(snapshot, self._rates.rate(snapshot, now)) for snapshot in snapshots])
        try:
            replace_file(Path(self.path), json.dumps(report, indent=1) + "\n")
        except OSError as error:
            self.problem = f"progress_file: {self.path} cannot be written: {error.strerror}"
        else:
            self.problem = ""


def pull_all(
    engine: Engine,
    missing: Sequence[Reference],
    present: Sequence[Progress],
    *,
    credentials: Mapping[str, Credentials],
    config: str,
    limits: PullLimits,
    file: ProgressFile,
) -> list[PullResult]:
    """Pull the missing images.

    Args:
        present: the progress of the images that are present, for the file.
        credentials: by registry.
        config: the file with the credentials.
        file: the progress file.
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
