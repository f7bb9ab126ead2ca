"""A client of `edge-lupi serve`: a sound file, or raw sound on standard input, over a WebSocket; events as lines of JSON out.

    edge-lupi serve &
    python examples/from_a_socket.py examples/two_voices.flac
    arecord -f S16_LE -r 16000 | python examples/from_a_socket.py - --full drop
    python examples/from_a_socket.py call.wav --at ws://hall.local:8765 --token token.txt

Needs soundfile and websockets, and nothing of edge-lupi.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

BLOCK_SECONDS = 0.1


def blocks(path: str, rate: int) -> Iterator[bytes]:
    """16-bit mono, a tenth of a second at a time; of a file its first channel."""
    if path == "-":
        while data := sys.stdin.buffer.read(round(rate * BLOCK_SECONDS) * 2):
            yield data
        return
    with soundfile.SoundFile(path) as file:
        for block in file.blocks(round(rate * BLOCK_SECONDS), dtype="int16", always_2d=True):
            yield block[:, 0].astype("<i2").tobytes()


def send(socket: ClientConnection, path: str, rate: int, paced: bool) -> None:
    """All of it, and that it has ended. Where the service is full it reads no further, so this waits, too."""
    began = time.monotonic()
    try:
        for number, data in enumerate(blocks(path, rate), start=1):
            socket.send(data)
            if paced:
                time.sleep(max(0.0, began + number * BLOCK_SECONDS - time.monotonic()))
        socket.send(json.dumps({"type": "end"}))
    except ConnectionClosed:
        pass  # who reads is told why


def show(socket: ClientConnection) -> None:
    """Events on standard output; what else the service says on standard error."""
    for line in socket:
        said = json.loads(line)
        if "task" in said:  # an event; everything else has a type
            print(line, flush=True)
        elif said["type"] != "begin":
            print(line, file=sys.stderr)


def main() -> None:
    """Connect, send, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sound", help="a sound file, or - for raw 16-bit mono")
    parser.add_argument("--at", default="ws://127.0.0.1:8765")
    parser.add_argument("--rate", type=int, default=16_000, help="of raw sound")
    parser.add_argument("--full", choices=("wait", "drop"), default="wait", help="where too much waits in the service")
    parser.add_argument("--paced", action="store_true", help="as slowly as a microphone")
    parser.add_argument("--token", type=Path, help="a file with the service's token")
    asked = parser.parse_args()
    rate = asked.rate if asked.sound == "-" else soundfile.info(asked.sound).samplerate
    headers = {"Authorization": f"Bearer {asked.token.read_text().strip()}"} if asked.token else {}
    where = f"{asked.at}/listen?rate={rate}&full={asked.full}"
    try:
        # no pings of ours: while the service makes us wait they lie behind our own sound
        with connect(where, additional_headers=headers, compression=None, proxy=None, ping_interval=None) as socket:
            threading.Thread(target=send, args=(socket, asked.sound, rate, asked.paced), daemon=True).start()
            show(socket)
    except InvalidStatus as refusal:
        sys.exit(f"refused: {refusal.response.body.decode()}")
    except ConnectionClosed as closed:
        sys.exit(f"the service has closed: {closed}")


if __name__ == "__main__":
    main()
