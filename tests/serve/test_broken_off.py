"""What breaks off, never ends or dies: requests, sockets, the listener, the server. Whoever waits is told, and nothing half is kept."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile

from edge_lupi import Listener, shipped_bundle
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.serve.request import Request
from edge_lupi.serve.service import Service
from tests.serve.serving import ROOT, TWO_VOICES, Serving, closed, serving
from tests.serve.test_verb import ENVIRONMENT

ONE_VOICE = (0, 4 * 16_000)


def sound() -> bytes:
    """Four seconds of one voice, as WAV."""
    samples, rate_hz = soundfile.read(TWO_VOICES, dtype="int16", start=9 * 16_000, frames=ONE_VOICE[1])
    packed = io.BytesIO()
    soundfile.write(packed, samples, rate_hz, format="WAV")
    return packed.getvalue()


def posting(served: Serving, name: str, length: int) -> socket.socket:
    """A request to enrol whose body is yet to come."""
    connection = socket.create_connection(("127.0.0.1", served.address.port), timeout=20)
    head = f"POST /people/{name}?force=true HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def test_a_sound_that_breaks_off_enrols_nobody(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        data = sound()
        connection = posting(served, "Ann", 2 * len(data))
        connection.sendall(data)
        time.sleep(0.3)
        connection.close()
        status = 503
        while status == 503:  # while the first is still at it
            time.sleep(0.1)
            status, _ = served.asked("POST", "/people/Bea?force=true", data)
        assert status == 201
        assert served.service.people.names == ["Bea"]


def test_a_sound_may_come_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is what it has; the limit for a request's head is none for its body."""
    monkeypatch.setattr("edge_lupi.page.server.REQUEST_SECONDS", 0.5)
    with serving(tmp_path) as served:
        data = sound()
        with posting(served, "Ann", len(data)) as connection:
            for part in range(4):
                time.sleep(0.4)
                connection.sendall(data[part * len(data) // 4 : (part + 1) * len(data) // 4])
            assert connection.recv(100).startswith(b"HTTP/1.1 201")


def test_a_socket_whose_request_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lupi.page.server.REQUEST_SECONDS", 0.5)
    hand = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng=="
    with serving(tmp_path) as served, socket.create_connection(("127.0.0.1", served.address.port), timeout=10) as one:
        one.sendall(f"GET /listen HTTP/1.1\r\nHost: 127.0.0.1\r\n{hand}\r\nContent-Length: 9\r\n\r\n".encode())
        with suppress(ConnectionResetError):
            assert one.recv(1) == b""


def test_a_close_says_why_in_as_many_bytes_as_it_has(served: Serving) -> None:
    with served.open() as client:
        client.send(json.dumps({"type": "lost", "samples": "😀" * 40}, ensure_ascii=False))
        lines, code, reason = closed(client)
    assert code == 1007
    assert reason
    assert lines[-1]["error"].startswith(reason)


def test_a_change_that_is_done_is_said_though_the_listener_is_late(tmp_path: Path) -> None:
    with serving(tmp_path, runs=False) as served:
        served.service.output.between._patience_seconds = 0.1
        assert served.asked("POST", "/people/Ann?force=true", sound())[0] == 201
        assert Gallery.load(tmp_path / "people.json").names == ["Ann"]


def test_a_request_that_fails_is_said_without_the_name_in_it(
    served: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(name: str) -> str:
        raise RuntimeError(f"no {name}")

    monkeypatch.setattr(type(served.service.people), "forget", lambda people, name: fails(name))
    assert served.asked("DELETE", "/people/Zoe")[0] == 500
    assert "a request to /people failed (RuntimeError)" in caplog.text
    assert "Zoe" not in " ".join(record.getMessage() for record in caplog.records)


def test_somebody_who_is_forgotten_at_this_moment_is_not_listed(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(served.service.people), "names", ["Zoe"])
    assert served.asked("GET", "/people") == (200, {"people": []})


def test_clients_that_do_not_read_hold_up_no_end() -> None:
    service = Service(Listener(shipped_bundle("speaker"), gallery=None), None, 20)
    for _ in range(20):
        service.join(Request())
    began_seconds = time.monotonic()
    service.run(lambda: True)
    assert time.monotonic() - began_seconds < 4.0  # of the 10 s that the unit gives


def test_no_files_left_are_one_sentence_and_no_end(tmp_path: Path) -> None:
    """Connections that cannot be taken wait; nothing is written a hundred times."""
    few = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (40, 40))"
    process = dying(tmp_path, few)
    try:
        port = port_of(process)
        crowd = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
        time.sleep(1.0)
        for one in crowd:
            one.close()
        answer = b""
        end_seconds = time.monotonic() + 20
        while not answer.startswith(b"HTTP/1.1 200") and time.monotonic() < end_seconds:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as one, suppress(OSError):
                one.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                answer = one.recv(100)
            time.sleep(0.2)
        assert answer.startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=20)[1]
    finally:
        process.kill()
        process.communicate()
    assert said.count("Too many open files") == 1
    assert "Traceback" not in said


def test_as_many_files_as_streams_may_be_opened() -> None:
    """1,024 of them need more than the usual limit of a process."""
    code = (
        "import resource as r; _, most = r.getrlimit(r.RLIMIT_NOFILE); r.setrlimit(r.RLIMIT_NOFILE, (256, most))\n"
        "from edge_lupi.loop_faults import allow_open_files; allow_open_files(600)\n"
        "now, most = r.getrlimit(r.RLIMIT_NOFILE); print(now >= min(600, most) or most)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.strip() == "True", done.stderr


def dying(folder: Path, code: str) -> subprocess.Popen[str]:
    """A service with a fault in it."""
    words = [sys.executable, "-c", f"{code}\nfrom edge_lupi.cli import main\nmain()", "serve", "--at", "127.0.0.1:0"]
    return subprocess.Popen(
        [*words, "--gallery", str(folder / "people.json")],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
    )


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr
    line = next(line for line in process.stderr if "serves at" in line)
    return int(line.rpartition(":")[2].strip("/ \n"))


def test_a_listener_that_dies_is_told_to_all_and_ends_the_service(tmp_path: Path) -> None:
    from websockets.sync.client import connect

    code = (
        "from edge_lupi.runtime.listening.listening import Listening as L\n"
        "def push(self, block): raise RuntimeError('the engine is gone')\n"
        "L.push = push"
    )
    process = dying(tmp_path, code)
    at = f"ws://127.0.0.1:{port_of(process)}/listen"
    try:
        with connect(at, proxy=None) as idle, connect(at, proxy=None) as talks:
            talks.send(b"\0\0" * 1_600)
            for client in (talks, idle):
                lines, code_of_close, _ = closed(client)
                assert (lines[-1]["type"], code_of_close) == ("end", 1001)
                assert "the service has failed" in lines[-1]["error"]
        assert process.wait(20) == 1
        assert process.stderr
        assert "a fault of edge-lupi itself (RuntimeError: the engine is gone)" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_a_server_that_dies_ends_the_service(tmp_path: Path) -> None:
    code = (
        "import uvicorn\n"
        "async def on_tick(self, counter):\n"
        "    if counter > 5: raise RuntimeError('gone')\n"
        "    return False\n"
        "uvicorn.Server.on_tick = on_tick"
    )
    process = dying(tmp_path, code)
    try:
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    assert "the server has ended by itself" in said
    assert "Traceback" not in said


def test_a_service_that_has_ended_takes_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, runs=False) as served:
        served.service.run(lambda: True)
        assert served.asked("GET", "/health")[0] == 503
        from websockets.exceptions import InvalidStatus

        with pytest.raises(InvalidStatus) as refused, served.open():
            pass
        assert refused.value.response.status_code == 503
