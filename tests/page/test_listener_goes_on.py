"""Whatever browsers do, the listener goes on: floods, garbage, a browser that stops reading. Nothing dropped, nothing missing."""

from __future__ import annotations

import json
import socket
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_lupi import Listener, shipped_bundle
from edge_lupi.page.address import checked_address
from tests.page.flooding import STREAM, comparable, flood, unread
from tests.page.running import TWO_VOICES, running

pytest.importorskip("uvicorn")

from edge_lupi.page.history import MOST
from edge_lupi.page.page import Page


def test_not_one_sample_is_dropped(tmp_path: Path) -> None:
    """Sound that comes at its own pace, as a microphone's does; the same events as without any page."""
    seconds = 20
    samples, _ = soundfile.read(TWO_VOICES, dtype="int16", frames=seconds * 16_000)
    quiet, flooded = tmp_path / "quiet", tmp_path / "flooded"
    heard = []
    for folder in (quiet, flooded):
        folder.mkdir()
        with running(folder, "--rate", "16000", sound="-") as listener:
            stopped, sent = threading.Event(), [0] * 4
            stuck = [unread(listener.port) for _ in range(4)] if folder is flooded else []
            for seed in range(4) if folder is flooded else ():
                threading.Thread(target=flood, args=(listener.port, stopped, seed, sent), daemon=True).start()
            began = time.monotonic()
            for number, block in enumerate(np.array_split(samples, seconds * 10)):
                listener.write(block.astype("<i2").tobytes())
                time.sleep(max(0.0, began + (number + 1) / 10 - time.monotonic()))
            listener.close()
            listener.wait_for_end()
            stopped.set()
            listener.stop()
            for one in stuck:
                one.close()
            heard.append(comparable(listener.events))
            assert "dropped 0 samples" in listener.said
            assert "Traceback" not in listener.said
            print(folder.name, sum(sent), "requests", listener.said.splitlines()[-2])
    assert sum(sent) > 2_000
    assert len(heard[0]) > 15
    assert heard[0] == heard[1]


def test_a_browser_that_stops_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is let go; memory stays bounded; another browser reads all, or is told how much it missed."""
    monkeypatch.setattr("edge_lupi.page.server.UNREAD_SECONDS", 1.0)
    page = Page(checked_address("127.0.0.1:0"), Listener(shipped_bundle("speaker"), gallery=None), None)
    with page.server as server:
        stuck = [unread(server.address.port) for _ in range(8)]
        reader = socket.create_connection(("127.0.0.1", server.address.port), timeout=10)
        reader.sendall(STREAM)
        reading = ThreadPoolExecutor(1).submit(read_kinds, reader, 40 * 250)
        tracemalloc.start()
        slowest = 0.0
        for number in range(40):
            began = time.perf_counter()
            for _ in range(250):  # in a second more than half an hour of events
                page.output.history.add('{"label": "%s"}' % ("x" * 300))
            page.output.passed("", 0.0)
            slowest = max(slowest, (time.perf_counter() - began) / 250)
            time.sleep(0.1)
            if number == 20:
                half = tracemalloc.take_snapshot()
        after = tracemalloc.take_snapshot().compare_to(half, "filename")
        grown = sum(
            line.size_diff for line in after if line.traceback[0].filename != __file__
        )  # less what is read here
        tracemalloc.stop()
        kinds, last = reading.result(30)
        assert last == 40 * 250
        assert kinds["heard"] + kinds["missed_count"] == 40 * 250
        time.sleep(1.5)
        for one in stuck:
            assert was_cut_off(one)
            one.close()
        reader.close()
    assert grown < 2_000_000
    assert slowest < 0.01
    assert len(page.output.history.since(0).messages) == MOST


def read_kinds(reader: socket.socket, last: int) -> tuple[Counter[str], int]:
    """Read a stream up to a message: how many of each kind, and how many were missed."""
    data, kinds = b"", Counter[str]()
    while f"-{last}\n".encode() not in data:
        part = reader.recv(1 << 16)
        if not part:
            break
        data += part
    number = 0
    for event in data.decode().replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
        kinds[lines.get("event", "")] += 1
        if lines.get("event") == "missed":
            kinds["missed_count"] += json.loads(lines["data"])["count"]
        if "id" in lines:
            number = int(lines["id"].rpartition("-")[2])
    return kinds, number


def was_cut_off(connection: socket.socket) -> bool:
    """By the other end."""
    connection.settimeout(5)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True
