"""What every test may use: generated voices and clips, the real recordings, and the rule that CI skips none of them.

- `voice(seed, seconds)`: float32 [T] at 16 kHz, vowels with a pitch; one seed is one voice.
- `sound_file(name, samples)`, `video_file(name, seconds)`: the same as files under `tmp_path`.
- `data_root`: the folder of real recordings ($EDGE_LUPI_DATA, or ../shared/data beside the checkout), or a skip.
  Whatever uses it is marked `real_speech`; with CI=true and the folder there, a skip of such a test is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE_HZ = 16_000
SYLLABLE_SECONDS = 0.2
FORMANTS_HZ = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410]])
NEVER_SKIPPED = ("real_speech", "microphone")


def data_folder() -> Path:
    """Where the real recordings are, or would be."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("EDGE_LUPI_DATA") or beside)


def make_voice(seed: int, seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    """Syllables of five vowels: harmonics of a gliding pitch under three formants (Peterson and Barney 1952)."""
    draw = np.random.default_rng(seed)
    pitch_hz, tract = draw.uniform(90, 240), draw.uniform(0.85, 1.2)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    glide = pitch_hz * (1 + 0.05 * np.sin(2 * np.pi * 2.5 * time))
    phase = 2 * np.pi * np.cumsum(glide) / rate_hz
    syllable = (time / SYLLABLE_SECONDS).astype(int)
    vowels = draw.integers(len(FORMANTS_HZ), size=syllable.max(initial=0) + 1)
    sound = np.zeros(len(time))
    for harmonic in range(1, int(3800 / pitch_hz)):
        distance = (harmonic * pitch_hz - FORMANTS_HZ * tract) / 120
        loudness = (1 / (1 + distance**2)).sum(axis=1) / harmonic**0.5
        sound += loudness[vowels[syllable]] * np.sin(harmonic * phase)
    swell = np.sin(np.pi * (time / SYLLABLE_SECONDS % 1)) ** 0.5
    sound = sound * swell / max(np.abs(sound).max(initial=0), 1e-9) * 0.5
    return (sound + draw.normal(0, 1e-3, len(time))).astype(np.float32)


@pytest.fixture(scope="session")
def voice() -> Callable[..., Samples]:
    return make_voice


@pytest.fixture
def sound_file(tmp_path: Path) -> Callable[..., Path]:
    """Write float32 [T] or [T, channels] under tmp_path; the ending of the name picks the format."""
    import soundfile

    def write(name: str, samples: NDArray[Any], rate_hz: int = RATE_HZ, subtype: str | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate_hz, subtype=subtype)
        return path

    return write


@pytest.fixture
def video_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip at 25 fps whose frame i is all of grey 16 + 8 * i, with a voice as its sound (unless `sound` is False)."""
    av = pytest.importorskip("av")

    def write(name: str, seconds: float = 1.0, width: int = 96, height: int = 96, sound: bool = True) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            pictures = container.add_stream("mpeg1video" if path.suffix == ".mpg" else "mpeg4", rate=25)
            pictures.width, pictures.height, pictures.pix_fmt, pictures.bit_rate = width, height, "yuv420p", 2_000_000
            voices = (
                container.add_stream("mp2" if path.suffix == ".mpg" else "aac", rate=RATE_HZ, layout="mono")
                if sound
                else None
            )
            for index in range(round(seconds * 25)):
                grey = np.full((height, width), min(16 + 8 * index, 235), np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
            if voices is not None:
                spoken = av.AudioFrame.from_ndarray(
                    (make_voice(0, seconds) * 32767).astype(np.int16)[None], format="s16", layout="mono"
                )
                spoken.sample_rate = RATE_HZ
                container.mux(voices.encode(spoken))
                container.mux(voices.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def data_root() -> Path:
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set EDGE_LUPI_DATA")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("real_speech")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    guarded = any(item.get_closest_marker(name) for name in NEVER_SKIPPED)
    if (
        report.skipped
        and guarded
        and not hasattr(report, "wasxfail")
        and os.environ.get("CI") == "true"
        and data_folder().is_dir()
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    ran = sum(report.when == "call" and "real_speech" in report.keywords for report in reports)
    terminalreporter.write_line(f"{ran} tests ran on real speech")
