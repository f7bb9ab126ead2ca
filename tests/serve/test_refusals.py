"""Who is let in, and what is taken: token, Host and Origin for every path and socket; queries, messages and bytes that are none."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from tests.serve.serving import Serving, closed, ended, events, serving

TOKEN = "a-token-of-more-than-16-letters"
PATHS = [
    "/",
    "/stream",
    "/people",
    "/people/Ann",
    "/streams",
    "/health",
    "/metrics",
    "/openapi.json",
    "/microphone.js",
    "/x",
]


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("open"), address="0.0.0.0:0", token=TOKEN) as running:
        yield running


def refusal(served: Serving, query: str = "", **headers: str) -> tuple[int, str]:
    """Of a socket."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(InvalidStatus) as refused, served.open(query, additional_headers=named):
        pass
    response = refused.value.response
    return response.status_code, json.loads(response.body)["error"]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_without_the_token(open_to_all: Serving, path: str) -> None:
    for method in ("GET", "POST"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"edge_lupi_page={TOKEN}x"}):
            status, said = open_to_all.asked(method, path, **headers)
            assert (status, "token" in said["error"]) == (401, True)


def test_no_socket_without_the_token(open_to_all: Serving) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"edge_lupi_page={TOKEN}x"}):
        assert refusal(open_to_all, **headers)[0] == 401
    assert refusal(open_to_all, f"token={TOKEN}")[0] == 401  # addresses are written into logs
    for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"Cookie": f"edge_lupi_page={TOKEN}"}):
        with open_to_all.open(additional_headers=headers) as client:
            assert json.loads(client.recv())["type"] == "begin"
    assert open_to_all.asked("GET", "/health", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_no_socket_for_other_pages(served: Serving) -> None:
    here = f"127.0.0.1:{served.address.port}"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://evil.example#{here}"):
        assert refusal(served, Origin=origin)[0] == 403
    assert refusal(served, Sec_Fetch_Site="cross-site")[0] == 403
    for origin in (f"http://{here}", None):
        headers = {"Origin": origin} if origin else {}
        with served.open(additional_headers=headers) as client:
            assert json.loads(client.recv())["type"] == "begin"


def test_changes_by_programs_and_this_page_alone(served: Serving) -> None:
    """A browser always says where a change comes from."""
    for origin in ("http://evil.example", "null"):
        assert served.asked("DELETE", "/people/Ann", Origin=origin)[0] == 403
    assert served.asked("DELETE", "/people/Ann", Host="evil.example")[0] == 403
    assert served.asked("DELETE", "/people/Ann")[0] == 409
    assert served.asked("DELETE", "/people/Ann", Origin=f"http://127.0.0.1:{served.address.port}")[0] == 409


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("rate=0", "expected rate of 4000 to 192000, got '0'"),
        ("rate=1e9", "expected rate of"),
        ("rate=²", "expected rate of"),
        ("rate=" + "9" * 400, "expected rate of"),
        ("format=mp3", "expected format s16le or f32le, got 'mp3'"),
        ("channels=99", "expected channels of 1 to 8"),
        ("full=maybe", "expected full wait or drop"),
        ("rat=16000", "expected channels, format, full, name, rate in the address"),
        ("rate=16000&rate=8000", "expected channels, format, full, name, rate in the address, each once"),
        ("name=speaker%201", "expected a name of 1 to 60"),
        ("name=%0A%1b[2J", "expected a name of 1 to 60"),
        ("&".join(f"a{number}=1" for number in range(100)), ""),
    ],
)
def test_queries_that_are_none(served: Serving, query: str, sentence: str) -> None:
    from urllib.parse import quote

    status, said = refusal(served, quote(query, safe="=&%[]"))
    assert status == 400
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    ("query", "message", "sentence"),
    [
        ("", b"abc", "expected whole samples of 2 bytes"),
        ("format=f32le&channels=2", b"x" * 12, "expected whole samples of 8 bytes"),
        ("", bytes(2 * 16_000 * 6), "expected at most 5 s of sound in a message, got 6.0 s"),
        ("format=f32le", np.full(100, np.nan, "<f4").tobytes(), "expected finite samples"),
        ("format=f32le", np.full(100, 1e9, "<f4").tobytes(), "expected samples in [-1, 1]"),
        ("", "hello", "expected an object of JSON"),
        ("", "[1]", "expected an object of JSON"),
        ("", '{"type": "stop"}', "expected sound as bytes"),
        ("", '{"type": "lost", "samples": -1}', "expected 1 to"),
        ("", '{"type": "lost", "samples": true}', "expected 1 to"),
        ("", '{"type": "lost", "samples": 1e99}', "expected 1 to"),
        ("", "[" * 990, "expected an object of JSON"),
        ("", "x" * 5_000, "expected an object of JSON"),
    ],
)
def test_messages_that_are_none(served: Serving, query: str, message: bytes | str, sentence: str) -> None:
    """What came before is still heard; the sentence comes last, in a line and in the close."""
    good = np.zeros(16_000 * (2 if "channels" in query else 1), "<f4" if "f32" in query else "<i2").tobytes()
    with served.open(query) as client:
        client.send(good)
        client.send(message)
        lines, code, reason = closed(client)
    assert code == 1007
    assert lines[-1]["error"].startswith(sentence)
    assert lines[-1]["error"].startswith(reason)
    assert lines[-1]["seconds"] == 1.0


def test_a_message_that_is_a_giant(served: Serving) -> None:
    with served.open("rate=192000&format=f32le&channels=8") as client:
        client.send(bytes((1 << 20) + 32))
        _, code, _ = closed(client)
    assert code == 1009


def test_bytes_that_are_no_frames_disturb_nobody(served: Serving, capfd: pytest.CaptureFixture[str]) -> None:
    """Behind a handshake that is one: garbage, fragments, giants, text that is no text."""
    hand = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng=="
    head = f"GET /listen HTTP/1.1\r\nHost: 127.0.0.1\r\n{hand}\r\n\r\n".encode()
    draw = random.Random(0)
    garbage = [
        b"\x81\x02hi",  # not masked
        b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"mask",
        b"\x81\x84\0\0\0\0\xff\xff\xff\xff",
        b"\x01\x81\0\0\0\0a" * 50,
        b"\x89\xfe\xff\xff\0\0\0\0",
        *(draw.randbytes(200) for _ in range(15)),
        *(head[:cut] for cut in (10, 60, 120)),
    ]
    with served.open() as client:
        for part in garbage:
            with socket.create_connection(("127.0.0.1", served.address.port)) as other:
                other.settimeout(1)
                if not part.startswith(b"GET"):
                    other.sendall(head)
                    assert other.recv(12) == b"HTTP/1.1 101"
                other.sendall(part)
        client.send(bytes(32_000))
        client.send('{"type": "end"}')
        lines = ended(client)
    assert (lines[-1]["seconds"], lines[-1]["dropped"], events(lines)) == (1.0, 0, [])
    assert "Traceback" not in capfd.readouterr().err


def test_the_page_comes_with_its_microphone_alone(served: Serving) -> None:
    """Scripts of its own address, and no others."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.address.port, timeout=10)
    connection.request("GET", "/")
    policy = connection.getresponse().headers["Content-Security-Policy"]
    assert "script-src 'sha256-" in policy
    assert "'self'; connect-src 'self'" in policy
    assert "unsafe" not in policy
    status, script = served.asked("GET", "/microphone.js")
    assert (status, "registerProcessor" in script) == (200, True)
