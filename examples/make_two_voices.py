"""Write two_voices.flac and two_voices.rttm beside this file: two synthetic voices that take turns for 40 seconds.

    python examples/make_two_voices.py        # needs espeak-ng

Where a turn begins and ends is measured in the samples: the first and the last 10 ms louder than 40 dB under the peak.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE_HZ = 16_000
NARROW_HZ = 11_025  # the voices are kept under 5.5 kHz, which FLAC packs better
PEAK = 0.12
NOISE = 5e-5  # no digital silence
FRAME_SAMPLES = RATE_HZ // 100
QUIET = 0.01  # of the peak: 40 dB
VOICES = {  # espeak-ng's arguments
    "low": ["-v", "en-us+m3", "-p", "25", "-s", "150"],
    "high": ["-v", "en-gb-scotland+f2", "-p", "75", "-s", "165"],
}
TURNS = [  # who, seconds of pause before, what
    ("low", 0.5, "Good morning. Did you sleep well after the long journey?"),
    ("high", 0.5, "Not really, the window was open and the dogs were barking until four o'clock."),
    ("low", 0.4, "I am sorry to hear that. Shall we have breakfast in the garden?"),
    ("high", 0.6, "That would be lovely. Is there any coffee left, or should I make some more?"),
    ("low", 0.5, "There is a full pot in the kitchen, next to the blue cups and the fresh bread."),
    ("high", 0.4, "Wonderful. Then let us talk about the plans for the rest of the week."),
    ("low", 0.7, "On Thursday we visit the old library, and on Friday the boat leaves at noon."),
    ("high", 0.5, "How long does it take to reach the island in bad weather?"),
]


def spoken(voice: str, text: str) -> np.ndarray:
    """One sentence, float32 [T] at 16 kHz, cut to where it is heard."""
    wav = subprocess.run(["espeak-ng", "--stdout", *VOICES[voice], text], capture_output=True, check=True).stdout
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    samples = soxr.resample(soxr.resample(samples, rate_hz, NARROW_HZ), NARROW_HZ, RATE_HZ)
    samples *= PEAK / np.abs(samples).max()
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    heard = np.flatnonzero(np.abs(frames).max(axis=1) > QUIET * PEAK)
    return frames[heard[0] : heard[-1] + 1].ravel()


def main() -> None:
    """Synthesise, join, write."""
    parts, lines, at = [], [], 0
    for voice, pause_seconds, text in TURNS:
        pause, speech = np.zeros(round(pause_seconds * RATE_HZ), np.float32), spoken(voice, text)
        start_seconds, seconds = (at + len(pause)) / RATE_HZ, len(speech) / RATE_HZ
        lines.append(f"SPEAKER two_voices 1 {start_seconds:.3f} {seconds:.3f} <NA> <NA> {voice} <NA> <NA>")
        parts += [pause, speech]
        at += len(pause) + len(speech)
    samples = np.concatenate([*parts, np.zeros(RATE_HZ // 2, np.float32)])
    samples += NOISE * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    folder = Path(__file__).parent
    soundfile.write(folder / "two_voices.flac", samples, RATE_HZ, subtype="PCM_16", compression_level=1.0)
    (folder / "two_voices.rttm").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(samples) / RATE_HZ:.1f} s in {len(TURNS)} turns", file=sys.stderr)


if __name__ == "__main__":
    main()
