# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns a sentence into a robot command: a stop at once, else by the language model, or by keywords without one."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from . import keywords
from .intent import Intent, Refused
from .language_model import NimClient
from .places import Places
from .prompt import NimError

LOG = logging.getLogger("cognitive")


@dataclass(frozen=True)
class Understood:
    """A command and its source.

    :param source: ``nim`` or ``keywords``.
    :param fallback: why keywords were used although NIM is configured; empty otherwise.
    :param problem: what is wrong with a request that was obeyed because it stops the robot; empty otherwise.
    """

    intent: Intent
    source: str
    fallback: str = ""
    problem: str = ""

    def answer(self) -> dict[str, object]:
        """Return the common fields of an answer about this command."""
        fields: dict[str, object] = {"command": self.intent.message(), "source": self.source}
        details = {"fallback": self.fallback, "problem": self.problem}
        return {**fields, **{name: value for name, value in details.items() if value}}


class Interpreter:
    """Uses the language model if there is one.

    :ivar nim: the client of the language model; None without one.
    :ivar nim_state: the state of the language model for the health answer.
    """

    def __init__(self, places: Places, *, uses_nim: bool) -> None:
        """Start without a client, because it needs a running event loop."""
        self._places = places
        self.nim: NimClient | None = None
        self.nim_state: dict[str, str] = {"state": "not used yet" if uses_nim else "not configured"}

    async def understand(self, text: str) -> Understood:
        """Return the command that a text asks for.

        :raises Refused: the text is not a command that may be sent.
        :raises BusyError: too many questions are pending.
        """
        plain = keywords.immediate(text, self._places) or keywords.certain(text, self._places)
        if plain or self.nim is None:
            return Understood(plain or keywords.parse(text, self._places), "keywords")
        try:
            understood = Understood(await self.nim.ask(text, self._places), "nim")
        except NimError as error:
            self.nim_state = {"state": "failing", "reason": str(error)}
            LOG.warning("nim_fallback", extra={"fields": {"reason": str(error)}})
            return Understood(keywords.parse(text, self._places), "keywords", fallback=str(error))
        except Refused:
            self.nim_state = {"state": "ok"}
            raise
        self.nim_state = {"state": "ok"}
        return understood
