"""A real service in this process, on a port of its own, and a client for it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from edge_lupi import Listener, shipped_bundle
from edge_lupi.page.address import Address, checked_address
from edge_lupi.page.server import PageServer
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.serve.app import ServiceApp
from edge_lupi.serve.service import Service
from edge_lupi.serve.sockets import Socket

ROOT = Path(__file__).resolve().parents[2]
TWO_VOICES = ROOT / "examples" / "two_voices.flac"
BOTH = [shipped_bundle("speaker"), shipped_bundle("emotion")]


@dataclass(frozen=True)
class Serving:
    service: Service
    address: Address

    def open(self, query: str = "", host: str = "", **options: Any) -> AbstractContextManager[ClientConnection]:
        """A socket of a new stream; `host` is what the address is called, as behind a proxy."""
        where = f"{host or '127.0.0.1'}:{self.address.port}/listen{'?' if query else ''}{query}"
        at = {"address": ("127.0.0.1", self.address.port)} if host else {}
        return connect(f"ws://{where}", compression=None, proxy=None, ping_interval=None, **at, **options)

    def asked(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status, and what was said."""
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=60)
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        return answer.status, json.loads(said) if answer.headers["Content-Type"] == "application/json" else said


@contextmanager
def serving(
    folder: Path,
    *,
    streams: int = 32,
    address: str = "127.0.0.1:0",
    token: str | None = None,
    behind: str | None = None,
    runs: bool = True,
    bundles: list[Path] | None = None,
) -> Iterator[Serving]:
    """With `runs` false nobody listens, as where the computer is too slow: sound stays where it waits."""
    first = Listener(bundles or BOTH, gallery=None)
    gallery = Gallery.load(folder / "people.json", first.ears[0].bundle.fingerprint)
    service = Service(Listener(bundles or BOTH, gallery=gallery), gallery, streams)
    stopped = Event()
    listening = Thread(target=service.run, args=(stopped.is_set,), daemon=True)
    with PageServer(
        ServiceApp(service),
        checked_address(address, token, behind=behind),
        sockets=Socket,
        more_connections=streams,
    ) as server:
        if runs:
            listening.start()
        try:
            yield Serving(service, server.address)
        finally:
            stopped.set()
            if runs:
                listening.join(20)


def ended(socket: ClientConnection) -> list[dict[str, Any]]:
    """All that comes until the service closes."""
    return [json.loads(line) for line in socket]


def closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int, str]:
    """All that comes until the service closes, the code of that and its reason."""
    lines = list[dict[str, Any]]()
    with pytest.raises(ConnectionClosed) as end:
        read_on(socket, lines)
    assert end.value.rcvd is not None
    return lines, end.value.rcvd.code, end.value.rcvd.reason


def read_on(socket: ClientConnection, lines: list[dict[str, Any]]) -> None:
    while True:
        lines.append(json.loads(socket.recv(20)))


def events(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events among them, without what the clock says."""
    return [{key: value for key, value in line.items() if key != "latency_ms"} for line in lines if "task" in line]
