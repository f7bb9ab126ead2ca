"""The real way from a microphone to events: a PulseAudio null sink is a real-time microphone that PortAudio opens."""

from __future__ import annotations

import csv
import json
import os
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

from edge_lupi.bundle import SHIPPED

pytestmark = pytest.mark.microphone

SPEECH_SECONDS = 20
SINK = "pulseaudio -n --exit-idle-time=-1 --use-pid-file=no -L module-native-protocol-unix -L"
NULL_SINK = "module-null-sink sink_name=virt rate=16000 channels=1"

COUNT_SAMPLES = """
from edge_lupi.runtime.sources import Microphone
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


@dataclass(frozen=True)
class VirtualMicrophone:
    """`environment` in which the default microphone is the null sink's monitor; `speak` plays into it in real time."""

    environment: dict[str, str]

    def speak(self, samples: np.ndarray) -> None:
        raw = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        command = ["paplay", "--raw", "--rate=16000", "--channels=1", "--format=s16le", "/dev/stdin"]
        subprocess.run(command, input=raw, env=self.environment, check=True, timeout=120)


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicrophone]:
    missing = [tool for tool in ("pulseaudio", "pactl", "paplay") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: sh tests/install_system_packages.sh")
    home = tmp_path_factory.mktemp("pulse")
    home.chmod(0o700)
    (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "ALSA_"))}
    environment |= {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_DATA_HOME": str(home),
    }
    with (home / "pulse.log").open("wb") as log:
        server = subprocess.Popen([*SINK.split(), NULL_SINK, "-L", "module-always-sink"], env=environment, stderr=log)
        try:
            _wait_for(lambda: _pactl(environment, "set-default-source", "virt.monitor"), server)
            yield VirtualMicrophone(environment)
        finally:
            server.terminate()
            server.wait(10)


def _pactl(environment: dict[str, str], *arguments: str) -> bool:
    return subprocess.run(["pactl", *arguments], env=environment, capture_output=True).returncode == 0


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
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
    time.sleep(3)  # start-up; sound before that is silence
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
