"""The page's answers: GET / the page, GET /stream what is heard (server-sent events), POST /name, /forget and /enroll changes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from edge_lupi.errors import EdgeLupiError
from edge_lupi.page.guard import SAFE_HEADERS, Receive, Scope, Send, header, reply
from edge_lupi.page.output import PageOutput, figures
from edge_lupi.page.people import People
from edge_lupi.words import json_text, json_value

__all__ = ["MOST_BODY_BYTES", "PageApp", "body_of", "fields_of"]

MOST_BODY_BYTES = 4096
BODY_SECONDS = 5.0
MOST_WATCHING = 16
LOOKS_PER_SECOND = 5
MOST_AT_ONCE = 500  # messages in one piece
SERVICE_ADDRESSES = "/, /people, /streams, /listen, /metrics, /health or /openapi.json, which tells of all"


class PageApp:
    """An ASGI app for one run. With `microphone` the page offers the browser's own, which the app then has to take."""

    def __init__(
        self, output: PageOutput, people: People, tasks: list[dict[str, Any]], *, microphone: bool = False
    ) -> None:
        self._output = output
        self._people = people
        self._tasks = tasks
        self._page = files("edge_lupi.page").joinpath("page.html").read_bytes()
        self._policy = _policy(self._page.decode(), "'self'" if microphone else "")
        self._microphone = microphone
        self._addresses = SERVICE_ADDRESSES if microphone else "/, /stream, /name, /forget or /enroll"
        self._run = secrets.token_hex(4)  # a browser that comes back after another run begins anew
        self._watching = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        changes: dict[str, Callable[[dict[str, str]], str]] = {
            "/name": self._name,
            "/forget": self._forget,
            "/enroll": self._enroll,
        }
        method, path = scope["method"], scope["path"]
        if method == "GET" and path == "/":
            await self._send_page(send)
        elif method == "GET" and path == "/stream":
            await self._stream(scope, receive, send)
        elif method == "POST" and path in changes:
            await self._change(scope, receive, send, changes[path])
        else:
            await reply(send, 404, {"error": f"expected {self._addresses}"})

    async def _send_page(self, send: Send) -> None:
        kind = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", self._policy)]
        await send({"type": "http.response.start", "status": 200, "headers": [*kind, *SAFE_HEADERS]})
        await send({"type": "http.response.body", "body": self._page})

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is heard, until the browser goes. One that does not read is waited for here, and by nobody else."""
        if self._watching >= MOST_WATCHING:
            await reply(send, 503, {"error": f"{MOST_WATCHING} browsers are looking already: close one"})
            return
        self._watching += 1
        gone = asyncio.ensure_future(_gone(receive))
        try:
            kind = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": [*kind, *SAFE_HEADERS]})
            number, people = self._seen(header(scope, b"last-event-id")), None
            begin, edition = self._begin(number), self._output.history.edition
            while not gone.done():
                if edition != self._output.history.edition:
                    number, begin, edition = 0, self._begin(0), self._output.history.edition
                number, news = self._news(number)
                now = self._people.names
                if now != people:
                    people = now
                    news += _event("people", {"names": people, "can_change": self._people.gallery is not None})
                now_figures = figures(self._output, self._people.listening.statistics)
                enrolling = self._people.enrolling
                news += _event("state", {**now_figures, "enrolling": enrolling.percent if enrolling else None})
                await send({"type": "http.response.body", "body": (begin + news).encode(), "more_body": True})
                begin = ""
                await asyncio.wait([gone], timeout=1 / LOOKS_PER_SECOND)
        finally:
            self._watching -= 1
            gone.cancel()

    def _begin(self, number: int) -> str:
        return _event("begin", {"tasks": self._tasks, "from": number, "microphone": self._microphone})

    @property
    def _edition(self) -> str:
        """Of what is told: another one where what was told before is no longer what it was."""
        return f"{self._run}.{self._output.history.edition}"

    def _seen(self, last_event_id: str) -> int:
        """How far a browser that comes back has read; 0 where it is new, or the run is, or somebody was forgotten."""
        edition, _, number = last_event_id.partition("-")
        return (
            int(number)
            if edition == self._edition and number.isascii() and number.isdigit() and len(number) < 16
            else 0
        )

    def _news(self, number: int) -> tuple[int, str]:
        news = self._output.history.since(number)
        text = _event("missed", {"count": news.missed}) if news.missed and number else ""
        messages = news.messages[:MOST_AT_ONCE]
        for message in messages:
            text += f"id: {self._edition}-{message.number}\nevent: {message.kind}\ndata: {message.text}\n\n"
        return messages[-1].number if messages else number, text

    async def _change(
        self, scope: Scope, receive: Receive, send: Send, change: Callable[[dict[str, str]], str]
    ) -> None:
        """Do what a page asks; what cannot be done comes back as its sentence."""
        try:
            fields = fields_of(await asyncio.wait_for(body_of(receive), BODY_SECONDS))
        except (ValueError, asyncio.TimeoutError):
            await reply(send, 400, {"error": f"expected an object of JSON in at most {MOST_BODY_BYTES} bytes"})
            return
        try:
            said = await asyncio.to_thread(change, fields)
        except EdgeLupiError as error:
            await reply(send, 409, {"error": str(error)})
        else:
            await reply(send, 200, {"said": said})

    def _name(self, fields: dict[str, str]) -> str:
        return self._people.name(fields.get("label", ""), fields.get("name", ""), fields.get("stream", ""))

    def _enroll(self, fields: dict[str, str]) -> str:
        return self._people.enroll(fields.get("name", ""), fields.get("stream", ""))

    def _forget(self, fields: dict[str, str]) -> str:
        return self._people.forget(fields.get("name", ""))


def _event(kind: str, fields: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json_text(fields)}\n\n"


def _policy(page: str, more_scripts: str) -> bytes:
    """Nothing from anywhere, but the page's own style and script, by their hashes, and `more_scripts`."""
    styles, scripts = (re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("style", "script"))
    hashes = [" ".join(f"'sha256-{_hash(text)}'" for text in texts) for texts in (styles, scripts)]
    return (
        f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]} {more_scripts}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ).encode()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def body_of(receive: Receive, most_bytes: int = MOST_BODY_BYTES) -> bytes:
    """A request's body. Raises ValueError where it is too long, or whoever sent it went away in its midst."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ValueError("broken off")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most_bytes:
            raise ValueError("too long")
    return bytes(body)


def fields_of(body: bytes) -> dict[str, str]:
    """An object of texts. Raises ValueError."""
    fields = json_value(body)
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise ValueError("no object of texts")
    return fields
