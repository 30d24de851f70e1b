"""``python3 -m sandbox.images.nim``: the simulator of a NIM language model.

It implements OpenAI's interface with deterministic answers. It reads the places in the question, one per line after a
dash with the words for each, and recognises a few verbs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sandbox.nim_api import Api, serve

MODEL = "meta/llama-3.1-8b-instruct"
PORT = 8000
LONGEST = 256 * 1024
PLACE = re.compile(r"^- ([^:\n]+): (.+)$", re.MULTILINE)
WORD = re.compile(r"[a-z0-9]+")
ACTIONS = {
    "stop": {"stop", "halt", "freeze", "wait"},
    "inspect": {"inspect", "check", "look", "examine"},
    "pick": {"pick", "grab", "fetch", "collect"},
    "place": {"place", "put", "drop", "deliver"},
    "status": {"status", "battery", "report"},
    "navigate": {"go", "move", "drive", "navigate", "head", "come", "bring", "return"},
}
SPEEDS = {"slow": {"slow", "slowly", "careful", "carefully"}, "fast": {"fast", "quick", "quickly", "hurry"}}


def words(text: str) -> list[str]:
    """Return a text's words."""
    return WORD.findall(text.lower())


def chosen(said: set[str], choices: Mapping[str, set[str]], otherwise: str) -> str:
    """Return the first choice with a word in the text."""
    return next((name for name, known in choices.items() if said & known), otherwise)


def understand(system: str, text: str) -> dict[str, object]:
    """Return the command of a text in the form that the question requires."""
    said = words(text)
    spoken = f" {' '.join(said)} "
    action = chosen(set(said), ACTIONS, "unknown")
    found: dict[str, int] = {}
    for name, aliases in PLACE.findall(system):
        known = [" ".join(words(alias)) for alias in aliases.split(",")]
        found[name] = max((len(alias) for alias in known if alias and f" {alias} " in spoken), default=0)
    # The longest word for a place is the most exact one.
    best = max(found, key=lambda name: found[name], default=None)
    target = best if best is not None and found[best] else None
    return {
        "action": action,
        "target": target if action not in ("stop", "status", "unknown") else None,
        "speed": chosen(set(said), SPEEDS, "normal"),
        "confidence": 0.9 if target or action in ("stop", "status") else 0.6,
    }


def completion(asked: Mapping[str, Any]) -> dict[str, object]:
    """Return the answer to a question.

    :raises LookupError: there is no such model.
    :raises ValueError: the question is not valid; the message has the reason.
    """
    if asked.get("model") != MODEL:
        raise LookupError(f"The model {asked.get('model')!r:.80} does not exist; there is {MODEL}.")
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise ValueError("messages must be a list of objects with role and content")
    by_role = {str(message.get("role")): str(message.get("content")) for message in messages}
    if asked.get("stream"):
        raise ValueError("stream is not supported")
    text = json.dumps(understand(by_role.get("system", ""), by_role.get("user", "")))
    taken, given = sum(len(words(content)) for content in by_role.values()), len(words(text))
    return {
        "id": "chatcmpl-" + hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:24],
        "object": "chat.completion",
        # No clock: the same question has the same answer.
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given},
    }


class Model(Api):
    """The interface."""

    def do_GET(self) -> None:
        """Answer the health and model routes."""
        if self.path == "/v1/models":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sandbox"}
            self.answer(HTTPStatus.OK, {"object": "list", "data": [model]})
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """Answer a question."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LONGEST:
            # An unread body would be parsed as the next request.
            self.close_connection = True
            self.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A question needs a Content-Length, of {LONGEST} bytes at most."
            )
            return
        body = self.rfile.read(int(length))
        if self.path != "/v1/chat/completions":
            self.refuse(HTTPStatus.NOT_FOUND, f"There is no {self.path:.80}.")
            return
        try:
            asked = json.loads(body)
            if not isinstance(asked, dict):
                raise ValueError("the question is not a JSON object")
            answer = completion(asked)
        except LookupError as error:
            self.refuse(HTTPStatus.NOT_FOUND, str(error.args[0]))
        except (ValueError, RecursionError) as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self.answer(HTTPStatus.OK, answer)


if __name__ == "__main__":
    serve(int(os.environ.get("NIM_SERVER_PORT") or PORT), Model)
