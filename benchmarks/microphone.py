"""The microphone in real time: two minutes of listening, a consumer that stalls for 5 s, a server that is killed.

python benchmarks/microphone.py --seconds 120

A PulseAudio null sink is the microphone (tests/install_system_packages.sh installs what it needs); readers of LibriSpeech
speak into it. Delays are from the last sample of a segment, handed over by PortAudio, to its event.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from endurance import resident_mb
from sounds import Samples, clips

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.events import Event
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.sound.audio import to_pcm

SERVER = "pulseaudio -n --exit-idle-time=-1 --use-pid-file=no -L module-native-protocol-unix -L"
SINK = "module-null-sink sink_name=virt rate=16000 channels=1"
SPEAK = "paplay --raw --rate=16000 --channels=1 --format=s16le /dev/stdin"
STALL_SECONDS = 5.0
AWAY_SECONDS = 4.0


def start_server() -> subprocess.Popen[bytes]:
    server = subprocess.Popen([*SERVER.split(), SINK, "-L", "module-always-sink"], stderr=subprocess.DEVNULL)
    while subprocess.run(["pactl", "set-default-source", "virt.monitor"], capture_output=True).returncode:
        time.sleep(0.05)
    return server


def use_virtual_devices(home: Path) -> None:
    """This process and its children: the default microphone is the server's."""
    (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        os.environ[name] = str(home)


@contextmanager
def spoken(speech: Samples) -> Iterator[None]:
    """While this lasts, the speech is played into the microphone."""
    raw = to_pcm(speech).tobytes()
    player = subprocess.Popen(SPEAK.split(), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert player.stdin is not None
    feeding = threading.Thread(target=_feed, args=(player, raw), daemon=True)
    feeding.start()
    try:
        yield
    finally:
        player.kill()
        player.wait()
        feeding.join()


def _feed(player: subprocess.Popen[bytes], raw: bytes) -> None:
    assert player.stdin is not None
    try:
        player.stdin.write(raw)
        player.stdin.close()
    except OSError:  # the player has gone
        return


def percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{percent}": float(np.percentile(values, percent)) for percent in (50, 99)} if values else {}


def listen_for(listener: Listener, seconds: float, stall_at: float | None = None) -> tuple[list[Event], dict[str, Any]]:
    from edge_lupi.runtime.sources.microphone import Microphone

    events = []
    with Microphone() as microphone:
        threading.Timer(seconds, microphone.stop).start()
        for event in listener.listen(microphone):
            events.append(event)
            if stall_at is not None and event.time > stall_at:
                stall_at = None
                time.sleep(STALL_SECONDS)
    figures = listener.statistics
    return events, {
        "heard_seconds": figures.heard_seconds,
        "events": len(events),
        "dropped": figures.dropped,
        "peak_fill_seconds": figures.peak_fill_seconds,
        "reconnections": figures.reconnections,
        "compute_ms": percentiles(list(figures.compute_ms)),
        "delay_ms": percentiles([event.latency_ms for event in events]),
        "gaps": [event.gap_seconds for event in events if event.gap_seconds],
        "resident_mb": resident_mb(),
    }


def in_real_time(listener: Listener, speech: Samples, seconds: float) -> dict[str, Any]:
    with spoken(speech):
        return listen_for(listener, seconds)[1]


def stalled(listener: Listener, speech: Samples) -> dict[str, Any]:
    """With a ring of 2 s, so that 5 s are too long for it."""
    from edge_lupi.runtime.sources import microphone as microphones

    before, microphones.RING_SECONDS = microphones.RING_SECONDS, 2.0
    try:
        with spoken(speech):
            return listen_for(listener, 25.0, stall_at=5.0)[1]
    finally:
        microphones.RING_SECONDS = before


def killed(listener: Listener, speech: Samples, server: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Kill the server after 5 s, start it 4 s later. `back_after_seconds`: what was lost beyond the time it was away."""
    times: dict[str, float] = {}

    def break_and_mend() -> None:
        server.kill()
        times["killed"] = time.perf_counter()
        server.wait()
        time.sleep(AWAY_SECONDS)
        again = start_server()
        times["back"] = time.perf_counter()
        with spoken(speech):
            time.sleep(12)
        again.terminate()

    breaking = threading.Timer(5.0, break_and_mend)
    breaking.start()
    with spoken(speech):
        events, found = listen_for(listener, 18.0)
    breaking.join()
    away_seconds = times["back"] - times["killed"]
    back_after = found["dropped"] / SAMPLE_RATE_HZ - away_seconds
    return {**found, "back_after_seconds": back_after, "events_after": sum(event.dropped > 0 for event in events)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--gate", default="voice")
    arguments = parser.parse_args()
    speech = np.concatenate(clips(40))
    listener = Listener(shipped_bundle("speaker"), gallery=None, gate=arguments.gate)
    with tempfile.TemporaryDirectory() as home:
        use_virtual_devices(Path(home))
        server = start_server()
        try:
            found = {"real_time": in_real_time(listener, speech, arguments.seconds), "stall": stalled(listener, speech)}
            found["killed"] = killed(listener, speech, server)
        finally:
            server.kill()
            server.wait()
    for name, figures in found.items():
        print(f"{name:<10}", figures)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
