"""Where too much comes, or too little is read: counted, told, bounded; and the clock of a stream goes on."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from edge_lupi.serve.stream import MOST_LINES, QUEUE_SECONDS, Served
from tests.page.flooding import flood
from tests.serve.serving import TWO_VOICES, Serving, closed, ended, events, serving

SECOND = np.zeros(16_000, np.float32)
SOUND = np.zeros(8_000, "<i2").tobytes()  # half a second


def speech(seconds: int) -> bytes:
    return soundfile.read(TWO_VOICES, dtype="int16", frames=seconds * 16_000)[0].astype("<i2").tobytes()


def until(holds: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_oldest_is_dropped_counted_and_leaves_a_gap() -> None:
    stream = Served("hall", drops=True)
    for number in range(14):
        stream.put(np.full(16_000, number / 100, np.float32))
    assert (stream.fill_seconds, stream.dropped_here) == (QUEUE_SECONDS, 4 * 16_000)
    blocks = stream.take() + stream.take()
    assert [round(float(block.samples[0]), 2) for block in blocks] == [0.04, 0.05]
    assert [(block.gap, block.dropped) for block in blocks] == [(True, 64_000), (False, 64_000)]
    stream.lose(100)
    while stream.take():
        pass
    stream.put(SECOND)
    assert [(block.gap, block.dropped) for block in stream.take()] == [(True, 64_100)]
    assert stream.seconds == (15 * 16_000 + 100) / 16_000


def test_lines_that_nobody_reads_are_bounded_and_counted() -> None:
    stream = Served("hall")
    for number in range(MOST_LINES + 7):
        stream.tell(str(number))
    lines, missed = stream.news()
    assert (len(lines), lines[0], missed, stream.missed) == (MOST_LINES, "7", 7, 7)
    assert stream.news() == ([], 0)


def test_a_client_that_can_wait_is_made_to(tmp_path: Path) -> None:
    """Nobody listens, so only so much is taken; once somebody does nothing is missing."""
    with serving(tmp_path, runs=False) as served, served.open("full=wait") as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        client.socket.settimeout(1.0)
        sent = 0
        data = speech(36)
        try:
            while sent < 600:
                client.send(data[(sent % 72) * 16_000 :][:16_000], text=False)
                sent += 1
        except (TimeoutError, ConnectionClosed):
            pass
        assert sent < 600  # 5 minutes
        stream = served.service.streams[0]
        assert stream.fill_seconds <= QUEUE_SECONDS
        assert stream.dropped_here == 0


def test_a_client_that_cannot_wait_is_told_what_was_dropped(tmp_path: Path) -> None:
    with serving(tmp_path, runs=False) as served, served.open("full=drop&name=hall") as client:
        assert json.loads(client.recv())["full"] == "drop"
        for _ in range(50):
            client.send(SOUND)
        until(lambda: served.service.streams[0].dropped_here == 30 * 8_000)
        time.sleep(1.1)  # told once a second at most
        client.send(SOUND)
        said = [json.loads(client.recv()), json.loads(client.recv())]
        assert [line["type"] for line in said] == ["pressure", "pressure"]
        assert said[1]["dropped_here"] == 31 * 8_000
        assert said[1]["waiting"] == QUEUE_SECONDS
        client.send('{"type": "end"}')
        until(lambda: served.service.streams[0].has_ended)
        while served.service.streams:
            served.service.tick()
        last = ended(client)[-1]
        assert last == {
            "type": "end",
            "seconds": 25.5,
            "dropped": 31 * 8_000,
            "dropped_here": 31 * 8_000,
            "waited_seconds": 0.0,
            "missed": 0,
        }
        text = served.asked("GET", "/metrics")[1]
        assert f"edge_lupi_queue_dropped_samples_total {31 * 8_000}\n" in text


def test_what_a_client_has_lost_moves_its_clock_alone(served: Serving) -> None:
    """At the client's own rate; the events after it carry the count."""
    with served.open() as first, served.open("rate=48000&full=wait") as second:
        data = speech(8)
        for client in (first, second):
            client.send(data[: 2 * 16_000 * 4])
        second.send(json.dumps({"type": "lost", "samples": 48_000 * 100}))
        for client in (first, second):
            client.send(data[2 * 16_000 * 4 :])
            client.send('{"type": "end"}')
        one, other = ended(first), ended(second)
    assert (one[-1]["seconds"], one[-1]["dropped"]) == (8.0, 0)
    assert other[-1]["dropped"] == 1_600_000
    assert other[-1]["seconds"] == pytest.approx(100 + 8 / 3, abs=0.01)
    assert max(event["time"] for event in events(one)) <= 8.0


def test_who_leaves_leaves_the_others_alone(served: Serving) -> None:
    data = speech(12)
    with served.open("name=stays") as stays:
        stays.send(data[: len(data) // 4 // 2 * 2])
        with served.open("name=leaves") as gone:
            gone.send(data[:32_000])
            gone.socket.close()  # without a word
        for begin in range(len(data) // 4 // 2 * 2, len(data), 3_200):
            stays.send(data[begin : begin + 3_200])
        with served.open("name=leaves") as again:  # a new stream, from second 0
            assert json.loads(again.recv())["stream"].startswith("leaves")
            again.send(data[: 3 * 32_000])
            again.send('{"type": "end"}')
            assert ended(again)[-1]["seconds"] == 3.0
        stays.send('{"type": "end"}')
        lines = ended(stays)
    assert lines[-1]["seconds"] == 12.0
    assert len(events(lines)) > 30
    until(lambda: not served.service.streams)
    assert served.service.listening.statistics.by_stream == {}


def test_who_does_not_read_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines are bounded, its slot is free again, and another client hears nothing of it."""
    monkeypatch.setattr("edge_lupi.page.server.UNREAD_SECONDS", 1.0)
    with serving(tmp_path) as served:
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        stuck.connect(("127.0.0.1", served.address.port))
        hand = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng=="
        stuck.sendall(f"GET /listen?name=stuck HTTP/1.1\r\nHost: 127.0.0.1\r\n{hand}\r\n\r\n".encode())
        until(lambda: len(served.service.streams) == 1)
        stream = served.service.streams[0]
        for _ in range(20_000):
            stream.tell("x" * 300)
        assert stream.missed > 10_000
        with served.open() as other:
            other.send(speech(4))
            other.send('{"type": "end"}')
            assert len(events(ended(other))) > 3
        until(lambda: not served.service.streams)
        stuck.close()


def test_a_flood_takes_nothing_from_a_stream(served: Serving) -> None:
    """Garbage all the while; sound that cannot wait comes at its pace, and all of it is heard."""
    stopped, sent = Event(), [0, 0]
    floods = [Thread(target=flood, args=(served.address.port, stopped, seed, sent, 150.0)) for seed in range(2)]
    for one in floods:
        one.start()
    data, lines = speech(6), list[dict[str, Any]]()
    for _ in range(50):  # a new one may be turned away for a moment, as all connections have one rate
        try:
            with served.open("full=drop") as client:
                for begin in range(0, len(data), 3_200):
                    client.send(data[begin : begin + 3_200])
                    time.sleep(0.1)
                client.send('{"type": "end"}')
                lines = ended(client)
            break
        except (InvalidHandshake, OSError, EOFError):
            time.sleep(0.1)
    stopped.set()
    for one in floods:
        one.join()
    assert (lines[-1]["seconds"], lines[-1]["dropped"]) == (6.0, 0)
    assert len(events(lines)) > 8
    assert sum(sent) > 100


def test_more_streams_than_there_may_be(tmp_path: Path) -> None:
    from websockets.exceptions import InvalidStatus

    with serving(tmp_path, streams=2) as served, served.open("name=hall") as one, served.open("name=hall") as two:
        assert [json.loads(client.recv())["stream"] for client in (one, two)] == ["hall", "hall (2)"]
        with pytest.raises(InvalidStatus) as refused, served.open():
            pass
        assert refused.value.response.status_code == 503
        assert "2 streams are open already" in refused.value.response.body.decode()
        assert "edge_lupi_refused_total 1\n" in served.asked("GET", "/metrics")[1]
        one.close()
        until(lambda: len(served.service.streams) == 1)
        with served.open() as three:
            assert json.loads(three.recv())["type"] == "begin"


def test_a_service_that_stops_says_so(tmp_path: Path) -> None:
    with ExitStack() as left:
        with serving(tmp_path) as served:
            client = left.enter_context(served.open())
            client.send(speech(4))
        lines, code, _ = closed(client)
    assert code == 1001
    assert lines[-1]["type"] == "end"
    assert lines[-1]["error"] == "the service has stopped"
    assert lines[-1]["seconds"] == 4.0
    assert len(events(lines)) > 3
