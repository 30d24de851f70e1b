# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP server: routes, answers, and the steps from a request to the channel."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from . import __version__, access, bus, keywords, words
from .config import Settings
from .intent import Refused, stop
from .interpreter import Interpreter, Understood
from .language_model import BusyError, NimClient
from .places import Places

LOG = logging.getLogger("cognitive")
# The time limit for pending questions to the language model when the service is stopped, in seconds.
GRACE_SECONDS = 2.0
MAX_BODY = 16 * 1024
# A body that is too large or incomplete is searched for a stop up to this size; a larger one counts as a stop.
MAX_SEARCHED = 64 * 1024
BODY_SECONDS = 2.0
USAGE = 'Send JSON, as {"text": "move to zone b"}, with the header Content-Type: application/json.'
ROUTES = {
    "POST /command": "understand a text and send the command to the robot",
    "POST /intent": "understand a text and send nothing",
    "GET /places": "the places the robot knows",
    "GET /health": "200 when commands can be sent, else 503 and why",
}


class RequestError(Exception):
    """The request is answered with an error.

    :ivar status: HTTP status.
    :ivar code: one word for programs.
    """

    def __init__(self, status: int, code: str, message: str, **details: object) -> None:
        """Store the parts of the answer."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details


class Service:
    """The state that the routes share."""

    def __init__(self, settings: Settings, places: Places) -> None:
        """Prepare; connections are opened by :meth:`run`."""
        self.settings = settings
        self.places = places
        self.bus = bus.CommandBus(bus.connect(settings), settings.channel, settings.stream, settings.redis_timeout)
        self.interpreter = Interpreter(places, uses_nim=settings.nim is not None)

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Hold the connections open while the application runs."""
        async with aiohttp.ClientSession() as session:
            if self.settings.nim:
                self.interpreter.nim = NimClient(session, self.settings.nim)
            yield
        await self.bus.close()

    async def limit_questions(self, _app: web.Application) -> None:
        """Limit the time of pending questions, because the service ends."""
        if self.interpreter.nim:
            self.interpreter.nim.limit_questions(GRACE_SECONDS)

    async def read(self, request: web.Request) -> Understood:
        """Return the command that a request asks for.

        A request that stops the robot is never refused, whatever is wrong with it.

        :raises RequestError: the request has no valid text.
        :raises Refused: the text is not a command that may be sent.
        :raises BusyError: too many questions are pending.
        """
        raw, problem = await _body(request)
        try:
            if problem:
                raise problem
            text = _text(request, raw, self.settings.max_text)
        except RequestError as error:
            text = _all_text(request, raw)
            if len(raw) <= MAX_SEARCHED and not keywords.forbids(text, self.places):
                raise
            return Understood(stop(_shown(text, self.settings.max_text)), "keywords", problem=str(error))
        return await self.interpreter.understand(text)

    async def health(self) -> tuple[int, dict[str, object]]:
        """Return the status and the body of the health answer, within the time limit for Redis."""
        redis, token = {"state": "ok"}, {"state": "ok"}
        try:
            await self.bus.check()
        except bus.BusError as error:
            redis = {"state": "unavailable", "reason": str(error)}
        if not self.settings.token:
            token = {"state": "unavailable", "reason": f"commands are not accepted: {self.settings.closed_because}"}
        reasons = [part["reason"] for part in (redis, token) if "reason" in part]
        healthy = not reasons
        body: dict[str, object] = {
            "status": "ok" if healthy else "unavailable",
            "version": __version__,
            # A failing NIM does not make the service unhealthy: keywords replace it.
            "dependencies": {"redis": redis, "token": token, "nim": self.interpreter.nim_state},
        }
        return (200, body) if healthy else (503, {**body, "reason": "; ".join(reasons)})


def make_app(settings: Settings, places: Places) -> web.Application:
    """Return the application."""
    service = Service(settings, places)

    async def command(request: web.Request) -> web.Response:
        ticket = service.bus.ticket()
        understood = await service.read(request)
        try:
            sent = await service.bus.publish(understood.intent, ticket)
        except bus.SupersededError:
            message = "A stop arrived before this command could be sent, so the command was dropped."
            raise RequestError(409, "superseded", message, **understood.answer()) from None
        except bus.BusError as error:
            what = "It is not known whether the command was sent" if error.unsure else "The command was NOT sent"
            message = f"{what}: {error}."
            raise RequestError(503, "redis_unavailable", message, **understood.answer()) from None
        body = {
            "published": True,
            "id": sent.id,
            "channel": settings.channel,
            "receivers": sent.receivers,
            **understood.answer(),
        }
        if sent.receivers == 0:
            body["warning"] = (
                f"There is no listener on {settings.channel}: only a robot that returns soon will follow this command."
            )
        fields = {"id": sent.id, "command": understood.intent.message(), "source": understood.source}
        LOG.info("command", extra={"fields": {**fields, "receivers": sent.receivers}})
        return web.json_response(body)

    async def parse(request: web.Request) -> web.Response:
        understood = await service.read(request)
        return web.json_response({"published": False, **understood.answer()})

    async def known_places(_request: web.Request) -> web.Response:
        listed = [
            {"name": place.name, "coordinates": list(place.coordinates), "aliases": list(place.aliases)}
            for place in places
        ]
        return web.json_response({"places": listed})

    async def health(_request: web.Request) -> web.Response:
        status, body = await service.health()
        return web.json_response(body, status=status)

    async def index(_request: web.Request) -> web.Response:
        return web.json_response({"service": "cognitive", "version": __version__, "routes": ROUTES})

    app = web.Application(middlewares=[_errors(places), _guard(settings)])
    app.cleanup_ctx.append(service.run)
    app.on_shutdown.append(service.limit_questions)
    app.add_routes(
        [
            web.get("/", index),
            web.get("/health{_:/?}", health),
            web.get("/places{_:/?}", known_places),
            web.post("/command{_:/?}", command),
            web.post("/intent{_:/?}", parse),
        ]
    )
    return app


async def _body(request: web.Request) -> tuple[bytes, RequestError | None]:
    """Return the body, or the part of it that arrived, and what is wrong with it."""
    body = bytearray()
    problem = None
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_SEARCHED:
                    break
    except TimeoutError:
        message = f"The body did not arrive within {BODY_SECONDS:g} s. Check the header Content-Length."
        problem = RequestError(408, "incomplete", message)
    except (web.RequestPayloadError, OSError):
        problem = RequestError(400, "incomplete", f"The body broke off or cannot be unpacked. {USAGE}")
    if len(body) > MAX_BODY:
        problem = RequestError(413, "body_too_large", f"The body is larger than {MAX_BODY} bytes.")
    return bytes(body), problem


def _text(request: web.Request, raw: bytes, longest: int) -> str:
    """Return the text of a request.

    :raises RequestError: the request has no valid text.
    """
    # A page in a browser can post a form without asking first, but not JSON.
    if request.content_type != "application/json":
        raise RequestError(415, "not_json", f"The content type is {request.content_type}. {USAGE}")
    try:
        body = json.loads(raw.decode(request.charset or "utf-8"), object_pairs_hook=_once)
    except (ValueError, LookupError, RecursionError):
        raise RequestError(400, "not_json", f"The body is not JSON. {USAGE}") from None
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str):
        raise RequestError(400, "no_text", f'The body has no "text" of type string. {USAGE}')
    text = text.strip()
    if not text:
        raise RequestError(400, "empty_text", f"The text is empty. {USAGE}")
    if len(text) > longest:
        raise RequestError(413, "text_too_long", f"The text has {len(text)} characters. Allowed: {longest}.")
    if not text.isprintable():
        raise RequestError(400, "not_printable", "The text has control characters; send one line of plain text.")
    return text


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object whose names are unique: otherwise one text would hide the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _all_text(request: web.Request, raw: bytes) -> str:
    """Return all text of an invalid request, in each encoding that it may have."""
    encodings = ("utf-8", "utf-16-le", "utf-16-be") if b"\0" in raw else ("utf-8",)
    texts = [raw.decode(encoding, "replace") for encoding in encodings]
    return words.legible("\n".join([*texts, request.query_string]))


def _shown(text: str, longest: int) -> str:
    """Return the beginning of a text on one line, as listeners may print it."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(line.split())[:longest]


def _guard(settings: Settings) -> Middleware:
    """Return the middleware that enforces access control."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        access.check_source(request.raw_path, request.headers, settings.allowed_hosts)
        if request.method not in access.OPEN_METHODS:
            access.check_token(request.headers, settings.token, settings.closed_because)
        return await handler(request)

    return middleware


def _errors(places: Places) -> Middleware:
    """Return the middleware that turns all errors into JSON, and logs one line for each request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        response: web.StreamResponse
        error = ""
        try:
            response = await handler(request)
        except RequestError as refused:
            error = refused.code
            response = _failure(refused.status, refused.code, str(refused), **refused.details)
        except access.DeniedError as denied:
            error = denied.code
            response = _failure(denied.status, error, str(denied))
            if denied.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
        except Refused as refused:
            error = refused.code
            response = _failure(422, refused.code, str(refused), places=places.names)
        except BusyError as busy:
            error = "busy"
            response = _failure(503, error, f"The command was NOT sent: {busy}.")
            response.headers["Retry-After"] = "1"
        except web.HTTPException as answer:
            if answer.status < 400:
                raise
            error = answer.reason.lower().replace(" ", "_")
            message = f"{request.method} {request.path}: {answer.reason}."
            response = _failure(answer.status, error, message, routes=ROUTES)
        except Exception:
            LOG.exception("internal_error", extra={"fields": {"method": request.method, "path": request.path}})
            error = "internal_error"
            response = _failure(500, error, "The service failed. Its log has the reason.")
        quiet = request.path == "/health" and response.status == 200
        fields = {
            "method": request.method,
            "path": request.path,
            "status": response.status,
            "ms": round((time.monotonic() - started) * 1000, 1),
            **({"error": error} if error else {}),
        }
        LOG.log(logging.DEBUG if quiet else logging.INFO, "request", extra={"fields": fields})
        return response

    return middleware


def _failure(status: int, code: str, message: str, **details: object) -> web.Response:
    return web.json_response({"published": False, "error": code, "message": message, **details}, status=status)
