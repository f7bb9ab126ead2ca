"""HTTP for programs: who is known, enrolment from a sound file, names; the service's state. Requests in, JSON out.

openapi.json says the same for machines.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl

from edge_lupi.errors import EdgeLupiError, InputError
from edge_lupi.page.app import MOST_BODY_BYTES, body_of, fields_of
from edge_lupi.page.guard import SAFE_HEADERS, Receive, Scope, Send, reply
from edge_lupi.runtime.enrolment.enrolment import enroll
from edge_lupi.runtime.enrolment.usual import voice_task
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import Source, blocks_of
from edge_lupi.serve.counts import CONTENT_TYPE
from edge_lupi.serve.openapi import document
from edge_lupi.serve.service import Service
from edge_lupi.sound.audio import stream_audio

__all__ = ["Api"]

MOST_SOUND_BYTES = 16 << 20  # a minute of two channels at 48 kHz and 16 bits is 11 MiB
BODY_SECONDS = 5.0
SOUND_SECONDS = 60.0  # for a sound file to come
FLAGS = {"": False, "true": True, "false": False}


class Api:
    """The answers below /people and /streams, and /health, /metrics, /openapi.json."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._enrolling = Lock()

    def knows(self, path: str) -> bool:
        """Whether this is one of its paths."""
        whole = ("/health", "/metrics", "/openapi.json", "/people", "/streams")
        return path in whole or path.startswith(("/people/", "/streams/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method, path = scope["method"], scope["path"]
        kind, _, name = path[1:].partition("/")
        answers: dict[tuple[str, str, bool], Callable[[], Any]] = {
            ("GET", "health", False): lambda: self._health(send),
            ("GET", "metrics", False): lambda: self._metrics(send),
            ("GET", "openapi.json", False): lambda: reply(send, 200, document()),
            ("GET", "streams", False): lambda: reply(send, 200, {"streams": self._streams()}),
            ("GET", "people", False): lambda: reply(send, 200, {"people": self._people()}),
            ("POST", "people", True): lambda: self._enroll(name, scope, receive, send),
            ("PATCH", "people", True): lambda: self._change(receive, send, lambda to: self._rename(name, to)),
            ("DELETE", "people", True): lambda: self._do(send, lambda: self._service.people.forget(name)),
            ("POST", "streams", True): lambda: self._change(receive, send, lambda to: self._name(name, to)),
        }
        answer = answers.get((method, kind, bool(name)))
        if answer is None:
            allowed = sorted(verb for verb, noun, named in answers if (noun, named) == (kind, bool(name)))
            said = {
                "error": f"expected {' or '.join(allowed)}, got {method}" if allowed else "expected a name behind it"
            }
            await reply(send, 405, said, [(b"allow", ", ".join(allowed).encode())])
        else:
            await answer()

    async def _health(self, send: Send) -> None:
        service = self._service
        state = {"status": "ok" if service.is_well else "stuck", "streams": len(service.streams)}
        await reply(send, 200 if service.is_well else 503, state)

    async def _metrics(self, send: Send) -> None:
        text = self._service.counts.text(self._service.streams, self._service.totals()).encode()
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, *SAFE_HEADERS]})
        await send({"type": "http.response.body", "body": text})

    def _streams(self) -> list[dict[str, Any]]:
        return [
            {
                "name": stream.name,
                "seconds": round(stream.seconds, 3),
                "waiting_seconds": round(stream.fill_seconds, 3),
                **stream.counts,
            }
            for stream in self._service.streams
        ]

    def _people(self) -> list[dict[str, Any]]:
        gallery, found = self._service.people.gallery, list[dict[str, Any]]()
        for name in self._service.people.names:
            with suppress(InputError):  # forgotten at this moment, by the listener's thread
                assert gallery
                narrow = gallery.narrow_band(name)
                found.append({"name": name, "exemplars": len(gallery.exemplars(name)), "narrow_band": narrow})
        return found

    def _rename(self, name: str, fields: dict[str, str]) -> str:
        return self._service.people.rename(name, _needed(fields, "name"))

    def _name(self, stream: str, fields: dict[str, str]) -> str:
        return self._service.people.name(_needed(fields, "label"), _needed(fields, "name"), stream)

    async def _change(self, receive: Receive, send: Send, change: Callable[[dict[str, str]], str]) -> None:
        """What a body of JSON asks for."""
        try:
            fields = fields_of(await asyncio.wait_for(body_of(receive), BODY_SECONDS))
        except (ValueError, asyncio.TimeoutError):
            await reply(send, 400, {"error": f"expected an object of JSON in at most {MOST_BODY_BYTES} bytes"})
            return
        await self._do(send, lambda: change(fields))

    async def _do(self, send: Send, change: Callable[[], Any], status: int = 200) -> None:
        """In a thread of its own, until the listener knows it; what cannot be done comes back as its sentence."""

        def changed() -> Any:
            said = change()
            with suppress(InputError):  # it is done, whether the listener looks soon or not
                self._service.output.between.ask(lambda: None)  # it does one thing after another
            return said

        try:
            said = await asyncio.to_thread(changed)
        except EdgeLupiError as error:
            await reply(send, 409, {"error": str(error)})
        else:
            await reply(send, status, {"said": said} if isinstance(said, str) else said)

    async def _enroll(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One at a time, so that sounds do not fill the memory."""
        if not self._enrolling.acquire(blocking=False):
            await reply(send, 503, {"error": "expected one enrolment at a time, got another: wait until it is over"})
            return
        try:
            asked = _flags(scope["query_string"].decode("latin-1"), "replace", "force")
            sound = await asyncio.wait_for(body_of(receive, MOST_SOUND_BYTES), SOUND_SECONDS)
        except (ValueError, asyncio.TimeoutError):
            words = (
                f"expected replace and force alone, true or false, and a sound file of at most {MOST_SOUND_BYTES} bytes"
            )
            await reply(send, 400, {"error": words})
        except InputError as error:
            await reply(send, 400, {"error": str(error)})
        else:
            await self._do(send, lambda: self._enrolled(name, sound, **asked), 201)
        finally:
            self._enrolling.release()

    def _enrolled(self, name: str, sound: bytes, *, replace: bool, force: bool) -> dict[str, Any]:
        people = self._service.people
        gallery = people.gallery
        if gallery is None:
            raise InputError("expected a task that tells speakers, got none: serve the task speaker", options=("task",))
        ears = self._service.listener.ears
        bundle = next(ear.bundle for ear in ears if any(task.verifies for task in ear.tasks))
        moods = next((ear.bundle for ear in ears if voice_task(ear.bundle)), None)
        learnt = enroll(name, bundle, gallery.path, [_Sent(sound)], replace=replace, force=force, emotion=moods)
        people.read_anew()
        return {
            "name": learnt.name,
            "speech_seconds": round(learnt.speech_seconds, 2),
            "exemplars": learnt.exemplars,
            "resembles": learnt.resembles and {"name": learnt.resembles[0], "cosine": round(learnt.resembles[1], 4)},
        }


class _Sent(Source):
    """The bytes of a sound file."""

    def __init__(self, sound: bytes) -> None:
        super().__init__()
        self._sound = sound

    def __iter__(self) -> Iterator[Block]:
        with tempfile.TemporaryFile() as file:  # without a name, as sound is decoded from files alone
            file.write(self._sound)
            for samples in stream_audio(file, name="the sound that was sent"):
                yield from blocks_of(samples)


def _needed(fields: dict[str, str], key: str) -> str:
    if key not in fields:
        raise InputError(f'expected "{key}" in the object of JSON, got {", ".join(sorted(fields))[:80] or "nothing"}')
    return fields[key]


def _flags(query: str, *names: str) -> dict[str, bool]:
    """Raises ValueError where there is anything else."""
    given = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=10))
    if set(given) - set(names) or set(given.values()) - set(FLAGS):
        raise ValueError("another one")
    return {name: FLAGS[given.get(name, "")] for name in names}
