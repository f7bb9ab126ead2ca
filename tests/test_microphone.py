"""The real way from a microphone to events: a PulseAudio null sink is a real-time microphone that PortAudio opens."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_lupi.bundle.bundle import SHIPPED

pytestmark = pytest.mark.microphone

SPEECH_SECONDS = 20
SINK = "pulseaudio -n --exit-idle-time=-1 --use-pid-file=no -L module-native-protocol-unix -L"
NULL_SINK = "module-null-sink sink_name=virt rate=16000 channels=1"

STALL = """
import resource, sys, time
from edge_lupi import Listener, shipped_bundle
from edge_lupi.runtime.sources import microphone as microphones
microphones.RING_SECONDS = 2.0
listener = Listener(shipped_bundle("speaker"), gate="energy")
with microphones.Microphone() as microphone:
    began, stalled = time.perf_counter(), False
    print("open", flush=True)
    for event in listener.listen(microphone):
        print(event.to_json(), flush=True)
        if not stalled and event.time > 2:
            stalled = True
            time.sleep(5)
        if event.time > 11:
            break
print(listener.statistics.peak_fill_seconds, listener.statistics.dropped, time.perf_counter() - began)
"""

COUNT_SAMPLES = """
from edge_lupi.runtime.sources.microphone import Microphone
with Microphone() as microphone:
    print("open", flush=True)
    heard = loud = 0
    for block in microphone:
        heard += len(block.samples)
        loud += int((abs(block.samples) > 0.1).sum())
        if heard >= 4 * 16_000:
            break
    print(heard, loud, block.dropped, microphone.ring.peak_fill)
"""


@dataclass
class VirtualMicrophone:
    """`environment` in which the default microphone is the null sink's monitor; `speak` plays into it in real time."""

    environment: dict[str, str]
    server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The server, with its microphone."""
        command = [*SINK.split(), NULL_SINK, "-L", "module-always-sink"]
        self.server = subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL)
        _wait_for(lambda: _pactl(self.environment, "set-default-source", "virt.monitor"), self.server)

    def kill(self) -> None:
        """The cable comes loose."""
        assert self.server is not None
        self.server.kill()
        self.server.wait(10)

    def wait_until_heard(self, patience_seconds: float = 30.0) -> None:
        """Until somebody records from the microphone."""
        until = time.monotonic() + patience_seconds
        command = ["pactl", "list", "short", "source-outputs"]
        while not subprocess.run(command, env=self.environment, capture_output=True).stdout:
            assert time.monotonic() < until, f"nobody listens after {patience_seconds} s"
            time.sleep(0.05)

    def speak(self, samples: np.ndarray) -> None:
        raw = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        command = ["paplay", "--raw", "--rate=16000", "--channels=1", "--format=s16le", "/dev/stdin"]
        subprocess.run(command, input=raw, env=self.environment, check=True, timeout=120)


def _virtual_microphone(home: Path) -> VirtualMicrophone:
    missing = [tool for tool in ("pulseaudio", "pactl", "paplay") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: sh tests/install_system_packages.sh")
    home.chmod(0o700)
    (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "ALSA_"))}
    folders = ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    return VirtualMicrophone(environment | dict.fromkeys(folders, str(home)))


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicrophone]:
    virtual = _virtual_microphone(tmp_path_factory.mktemp("pulse"))
    try:
        virtual.start()
        yield virtual
    finally:
        virtual.kill()


def _pactl(environment: dict[str, str], *arguments: str) -> bool:
    return subprocess.run(["pactl", *arguments], env=environment, capture_output=True).returncode == 0


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if ready():
            return
        assert process.poll() is None, "pulseaudio ended"
        time.sleep(0.1)
    raise AssertionError("pulseaudio did not become ready in 10 s")


def _start(microphone: VirtualMicrophone, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=microphone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _held_out_speech(data_root: Path) -> np.ndarray:
    folder = data_root / "librispeech_excerpts"
    with (folder / "utterances.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] == "held_out"]
    parts = [soundfile.read(folder / row["audio"], dtype="float32")[0] for row in rows[:8]]
    return np.concatenate(parts)[: SPEECH_SECONDS * 16_000]


def test_every_sample_arrives(microphone: VirtualMicrophone) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * 16_000) / 16_000)
    process = _start(microphone, "-c", COUNT_SAMPLES)
    assert process.stdout.readline() == "open\n", process.communicate()[1]
    microphone.speak(tone)
    out, err = process.communicate(timeout=60)
    heard, loud, dropped, peak_fill = map(int, out.split())
    assert heard >= 4 * 16_000, err
    assert loud == pytest.approx((abs(tone) > 0.1).sum(), rel=0.01)
    assert dropped == 0
    assert peak_fill < 16_000


@pytest.mark.real_speech
def test_listens_to_real_speech_and_ends_with_ctrl_c(microphone: VirtualMicrophone, data_root: Path) -> None:
    if not (SHIPPED / "speaker.lupi").is_dir():
        pytest.skip("no speaker bundle in the package")
    speech = _held_out_speech(data_root)
    process = _start(microphone, "-m", "edge_lupi.cli", "listen", "--json")
    microphone.wait_until_heard()
    microphone.speak(speech)
    time.sleep(1.5)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    events = [json.loads(line) for line in out.splitlines()]
    assert len(events) >= SPEECH_SECONDS  # two segments a second, less the pauses
    assert all(event["dropped"] == 0 for event in events)
    assert all(event["task"] == "speaker" and event["label"] for event in events)
    times = [event["time"] for event in events]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(SPEECH_SECONDS, abs=3)
    assert float(np.median([event["latency_ms"] for event in events])) < 100


def test_devices_lists_the_virtual_microphone(microphone: VirtualMicrophone) -> None:
    process = _start(microphone, "-m", "edge_lupi.cli", "devices", "--json")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert any(device["default"] for device in found)


def test_an_unknown_device_is_one_sentence(microphone: VirtualMicrophone) -> None:
    if not (SHIPPED / "speaker.lupi").is_dir():
        pytest.skip("no speaker bundle in the package")
    process = _start(microphone, "-m", "edge_lupi.cli", "listen", "--device", "nonesuch")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("edge-lupi: microphone 'nonesuch' cannot be opened")
    assert len(err.splitlines()) == 1


def test_without_a_microphone_it_is_said_what_to_do(tmp_path: Path) -> None:
    virtual = _virtual_microphone(tmp_path)  # whose server is not started
    if _start(virtual, "-m", "edge_lupi.cli", "devices", "--json").communicate(timeout=20)[0]:
        pytest.skip("this machine has a microphone of its own")
    for words in (("listen",), ("enroll", "ann")):
        process = _start(virtual, "-m", "edge_lupi.cli", *words)
        said = "edge-lupi: no microphone was found: plug one in, or hear a file (--input)\n"
        assert (*process.communicate(timeout=20), process.returncode) == ("", said, 1)


@pytest.mark.real_speech
def test_a_consumer_that_stalls_loses_a_marked_gap_and_no_more(microphone: VirtualMicrophone, data_root: Path) -> None:
    """The ring holds 2 s here: of 5 s at least 3 s are lost, the oldest, and the time goes on by the clock."""
    process = _start(microphone, "-c", STALL)
    assert process.stdout.readline() == "open\n", process.communicate()[1]
    microphone.speak(_held_out_speech(data_root)[: 13 * 16_000])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    *lines, last = out.splitlines()
    events = [json.loads(line) for line in lines]
    peak_fill_seconds, dropped, wall_seconds = map(float, last.split())
    assert peak_fill_seconds <= 2.0
    (marked,) = [event for event in events if "gap_seconds" in event]
    assert 3.0 <= marked["gap_seconds"] <= 5.0
    assert marked["gap_seconds"] == pytest.approx(dropped / 16_000, abs=1e-3)
    assert events[-1]["dropped"] == dropped
    before = [event for event in events if event["time"] < marked["time"]]
    assert marked["start"] >= before[-1]["time"] + marked["gap_seconds"] - 1.0  # segments overlap by half
    assert events[-1]["time"] == pytest.approx(
        wall_seconds, abs=2.5
    )  # what was lost is longer, and the end may be silent


@pytest.mark.real_speech
def test_listening_goes_on_when_the_device_comes_back(tmp_path: Path, data_root: Path) -> None:
    speech = _held_out_speech(data_root)
    virtual = _virtual_microphone(tmp_path)
    virtual.start()
    try:
        process = _start(virtual, "-m", "edge_lupi.cli", "listen", "--json", "--gate", "energy")
        virtual.wait_until_heard()
        virtual.speak(speech[: 3 * 16_000])
        virtual.kill()
        time.sleep(3)
        assert process.poll() is None, process.communicate()[1]
        virtual.start()
        virtual.wait_until_heard(3.0)
        virtual.speak(speech[3 * 16_000 : 8 * 16_000])
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        virtual.kill()
    assert process.returncode == 0, err
    said = [line for line in err.splitlines() if line.startswith("edge-lupi:")]
    assert len(said) == 2, err
    assert "trying again" in said[0]
    assert "is back" in said[1]
    assert "1 reconnections" in err
    events = [json.loads(line) for line in out.splitlines()]
    (gap,) = [event["gap_seconds"] for event in events if "gap_seconds" in event]
    assert 3.0 < gap < 10.0  # 3 s, the time the server takes to start, and at most 3 s until it is found
    after = [event for event in events if event["dropped"]]
    assert len(after) >= 5
    assert after[0]["start"] - events[0]["start"] == pytest.approx(3 + gap, abs=2.5)


def test_without_retry_a_lost_device_is_one_sentence(tmp_path: Path) -> None:
    virtual = _virtual_microphone(tmp_path)
    virtual.start()
    process = _start(virtual, "-m", "edge_lupi.cli", "listen", "--no-retry")
    virtual.wait_until_heard()
    time.sleep(0.5)
    virtual.kill()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    listening, *said = err.splitlines()  # and not a line of PortAudio's
    assert re.fullmatch(r"listening to the default microphone \(.+, 16000 Hz\); Ctrl-C ends", listening)
    assert said == ["edge-lupi: the default microphone gives nothing any more: was it unplugged? See edge-lupi devices"]
