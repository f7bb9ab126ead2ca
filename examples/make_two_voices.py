"""Write two_voices.flac and two_voices.rttm beside this file: two people who take turns for 37 seconds.

    python examples/make_two_voices.py        # needs the LibriSpeech recordings of $EDGE_LUPI_DATA

A man and a woman read (LibriSpeech, Panayotov et al. 2015, readers 2514 and 1069, CC BY 4.0); their recordings are cut where it is
quiet and take turns. Where a turn begins and ends is measured in the samples: the first and the last 10 ms louder than 40 dB under the
peak.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
PEAK = 0.12
NOISE = 5e-5  # no digital silence
FRAME_SAMPLES = RATE_HZ // 100
QUIET = 0.01  # of the peak: 40 dB
SEARCHED_SECONDS = 0.3
VOICES = {"low": "2514", "high": "1069"}
BEGIN_SECONDS = {"low": (0.5, 9.22, 18.36, 28.04), "high": (4.39, 13.76, 23.41, 33.39)}
LONG_SECONDS = {
    "low": (3.2, 3.9, 4.1),
    "high": (4.1, 4.1, 4.1),
}  # about; the last takes what is left, as far as there is room
WHOLE_SECONDS = 36.88


def turns(voice: str) -> list[np.ndarray]:
    """Four pieces of a reader's recording, float32 [T], each cut to where it is heard."""
    folder = Path(os.environ["EDGE_LUPI_DATA"]) / "librispeech_excerpts" / "audio" / VOICES[voice]
    samples, _ = soundfile.read(next(folder.glob("*.flac")), dtype="float32")
    samples *= PEAK / np.abs(samples).max()
    found, start = [], 0
    for seconds in LONG_SECONDS[voice]:
        end = _quietest(samples, start + round(seconds * RATE_HZ))
        found.append(_heard(samples[start:end]))
        start = end
    return [*found, _heard(samples[start:])]


def _quietest(samples: np.ndarray, near: int) -> int:
    """The middle of the quietest 50 ms near a place."""
    reach, width = round(SEARCHED_SECONDS * RATE_HZ), RATE_HZ // 20
    power = np.convolve(samples[near - reach : near + reach] ** 2, np.ones(width), "valid")
    return near - reach + int(power.argmin()) + width // 2


def _heard(samples: np.ndarray) -> np.ndarray:
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    loud = np.flatnonzero(np.abs(frames).max(axis=1) > QUIET * PEAK)
    return frames[loud[0] : loud[-1] + 1].ravel()


def main() -> None:
    """Cut, join, write."""
    samples = NOISE * np.random.default_rng(0).standard_normal(round(WHOLE_SECONDS * RATE_HZ)).astype(np.float32)
    spoken = []
    for voice in VOICES:
        for begin_seconds, piece in zip(BEGIN_SECONDS[voice], turns(voice), strict=True):
            begin = round(begin_seconds * RATE_HZ)
            piece = piece[: len(samples) - RATE_HZ // 2 - begin]
            samples[begin : begin + len(piece)] += piece
            spoken.append((begin_seconds, len(piece) / RATE_HZ, voice))
    lines = [f"SPEAKER two_voices 1 {b:.3f} {s:.3f} <NA> <NA> {v} <NA> <NA>" for b, s, v in sorted(spoken)]
    folder = Path(__file__).parent
    soundfile.write(folder / "two_voices.flac", samples, RATE_HZ, subtype="PCM_16", compression_level=1.0)
    (folder / "two_voices.rttm").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(samples) / RATE_HZ:.1f} s in {len(lines)} turns", file=sys.stderr)


if __name__ == "__main__":
    main()
