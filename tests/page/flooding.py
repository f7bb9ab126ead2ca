"""What a page's server has to bear: requests that are none, and browsers that do not read."""

from __future__ import annotations

import math
import random
import socket
import threading
import time
from contextlib import suppress
from typing import Any

STREAM = b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
GARBAGE = [
    b"\x00\xff\x16\x03\x01" * 40,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /stream HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"POST /name HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Length: 4\r\n\r\n[[[[",
    b"POST /forget HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Length: 999999999\r\n\r\n"
    + b"x" * 9000,
    b"POST /name HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: " + b"a=b; " * 900 + b"\r\n\r\n",
    b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: \xe2\x88\x9e-99999999999999999999\r\n\r\n",
    b"DELETE / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
]


def flood(port: int, until: threading.Event, seed: int, sent: list[int], per_second: float = math.inf) -> None:
    """Requests that are none, so many a second, or as fast as one thread can."""
    chosen, began_seconds = random.Random(seed), time.monotonic()
    while not until.is_set():
        time.sleep(max(0.0, began_seconds + sent[seed] / per_second - time.monotonic()))
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(chosen.choice(GARBAGE))
            sent[seed] += 1
            if chosen.random() < 0.5:
                connection.settimeout(0.05)  # some wait for more of the request
                connection.recv(100)


def unread(port: int) -> socket.socket:
    """A browser that asks for the stream and never reads it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    connection.connect(("127.0.0.1", port))
    connection.sendall(STREAM)
    return connection


def comparable(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All but what the clock says."""
    return [{key: value for key, value in event.items() if key != "latency_ms"} for event in events]
