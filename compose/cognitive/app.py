# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP side: routes, answers, and what happens between a request and the channel."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from . import __version__, access, bus, intent, nim, words
from .config import Settings
from .intent import Intent, Refused
from .places import Places

LOG = logging.getLogger("cognitive")
# How long a command that is being worked out may still take when the service is told to end.
GRACE_SECONDS = 2.0
MAX_BODY = 16 * 1024
# A body that is too large, or does not come to its end, is searched for a stop as far as this; a larger one is one.
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
    """A request that gets an error as its answer.

    :ivar status: HTTP status.
    :ivar code: one word for programs.
    """

    def __init__(self, status: int, code: str, message: str, **details: object) -> None:
        """Remember what the answer consists of."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details


@dataclass(frozen=True)
class Understood:
    """A command and where it comes from.

    :param source: ``nim`` or ``keywords``.
    :param fallback: why the keywords had to do although NIM is configured; empty otherwise.
    :param problem: what is wrong with a request that was obeyed because it stops the robot; empty otherwise.
    """

    intent: Intent
    source: str
    fallback: str = ""
    problem: str = ""

    def answer(self) -> dict[str, object]:
        """Return what every answer about this command carries."""
        fields: dict[str, object] = {"command": self.intent.message(), "source": self.source}
        details = {"fallback": self.fallback, "problem": self.problem}
        return {**fields, **{name: value for name, value in details.items() if value}}


class Service:
    """What the routes share."""

    def __init__(self, settings: Settings, places: Places) -> None:
        """Prepare; connections are opened by :meth:`run`."""
        self.settings = settings
        self.places = places
        self.bus = bus.CommandBus(bus.connect(settings), settings.channel, settings.stream, settings.redis_timeout)
        self._nim: nim.NimClient | None = None
        self._nim_state: dict[str, str] = {"state": "not asked yet" if settings.nim else "not configured"}

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Hold the connections open while the application runs."""
        async with aiohttp.ClientSession() as session:
            if self.settings.nim:
                self._nim = nim.NimClient(session, self.settings.nim)
            yield
        await self.bus.close()

    async def hurry(self, _app: web.Application) -> None:
        """Have the commands that are being worked out come to their end."""
        if self._nim:
            self._nim.hurry(GRACE_SECONDS)

    async def read(self, request: web.Request) -> Understood:
        """Return the command that a request asks for.

        Nothing that stops the robot is refused, however it is written or sent.

        :raises RequestError: there is no text that can be used.
        :raises Refused: there is no command that may be sent.
        :raises nim.BusyError: too many are being worked out already.
        """
        raw, problem = await _body(request)
        try:
            if problem:
                raise problem
            text = _text(request, raw, self.settings.max_text)
        except RequestError as refusal:
            said = _said(request, raw)
            if len(raw) <= MAX_SEARCHED and not intent.forbids(said, self.places):
                raise
            return Understood(intent.stop(_shown(said, self.settings.max_text)), "keywords", problem=str(refusal))
        return await self.understand(text)

    async def understand(self, text: str) -> Understood:
        """Return the command that a text asks for.

        :raises Refused: there is none that may be sent.
        :raises nim.BusyError: too many are being worked out already.
        """
        plain = intent.immediate(text, self.places)
        if plain or self._nim is None:
            return Understood(plain or intent.parse(text, self.places), "keywords")
        try:
            understood = Understood(await self._nim.ask(text, self.places), "nim")
        except nim.NimError as error:
            self._nim_state = {"state": "failing", "reason": str(error)}
            LOG.warning("nim_fallback", extra={"fields": {"reason": str(error)}})
            return Understood(intent.parse(text, self.places), "keywords", fallback=str(error))
        except Refused:
            self._nim_state = {"state": "ok"}
            raise
        self._nim_state = {"state": "ok"}
        return understood

    async def health(self) -> tuple[int, dict[str, object]]:
        """Return status and body of the health answer; takes at most the time that Redis is given."""
        redis, token = {"state": "ok"}, {"state": "ok"}
        try:
            await self.bus.check()
        except bus.BusError as error:
            redis = {"state": "unavailable", "reason": str(error)}
        if not self.settings.token:
            token = {"state": "unavailable", "reason": f"no command is taken: {self.settings.closed_because}"}
        reasons = [part["reason"] for part in (redis, token) if "reason" in part]
        healthy = not reasons
        body: dict[str, object] = {
            "status": "ok" if healthy else "unavailable",
            "version": __version__,
            # NIM is no reason to be unhealthy: keywords do its work meanwhile.
            "dependencies": {"redis": redis, "token": token, "nim": self._nim_state},
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
            message = "A stop came before this command could be sent; it was dropped."
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
            body["warning"] = f"Nobody listens on {settings.channel}: only a robot that is back soon will take this."
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
    app.on_shutdown.append(service.hurry)
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
    """Return the body, or as much of it as came, and what is wrong with it."""
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

    :raises RequestError: there is none that can be used.
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
        raise RequestError(413, "text_too_long", f"The text has {len(text)} characters; allowed are {longest}.")
    if not text.isprintable():
        raise RequestError(400, "not_printable", "The text has control characters; send one line of plain text.")
    return text


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON, in which no name may occur twice: one text would hide the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _said(request: web.Request, raw: bytes) -> str:
    """Return all text of a request that cannot be used, in every encoding that it may be in."""
    encodings = ("utf-8", "utf-16-le", "utf-16-be") if b"\0" in raw else ("utf-8",)
    texts = [raw.decode(encoding, "replace") for encoding in encodings]
    return words.legible("\n".join([*texts, request.query_string]))


def _shown(text: str, longest: int) -> str:
    """Return the beginning of a text on one line, as listeners may print it."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(line.split())[:longest]


def _guard(settings: Settings) -> Middleware:
    """Return the middleware that lets no request further that may not be answered."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        access.check_source(request.raw_path, request.headers, settings.allowed_hosts)
        if request.method not in access.OPEN_METHODS:
            access.check_token(request.headers, settings.token, settings.closed_because)
        return await handler(request)

    return middleware


def _errors(places: Places) -> Middleware:
    """Return the middleware that answers in JSON whatever happens, and writes one line for each request."""

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
        except nim.BusyError as busy:
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
            response = _failure(500, error, "The service failed; its log says why.")
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
