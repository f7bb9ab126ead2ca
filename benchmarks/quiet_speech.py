"""Is quiet speech heard? The voice gate at -26 to -55 dB, in rooms and noise, near and far in turn: misses and false alarms.

python benchmarks/quiet_speech.py [--gains none,-15:3:30,-20:3:30] [--out results/quiet_speech.md]

Training readers of LibriSpeech, two seconds of pause after each; the truth is the level of the clean speech (see
voice_activity.py). A gain is `wanted level : fall in dB a second : most`; the first is what lies in the package, `none` is
none. So its figures were chosen here, and not on the meetings that diarisation.py measures. Last, noise and music alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
from sounds import SPEECH_RMS_DB, Samples, clips, music, room, white
from voice_activity import held, log_mel, truth

from edge_lupi.device.processor import environment
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.runtime.gates import gain as package
from edge_lupi.runtime.gates.silero import VoiceGate

PAUSE_SECONDS = 2.0
LEVELS_DB = (-26, -35, -45, -50, -55)
FAR_DB = -22.0  # below the near one
OWN = f"{package.WANTED_DB:g}:3:{package.MOST_DB:g}"


@contextmanager
def gain(name: str) -> Iterator[None]:
    """The voice gate with another gain."""
    kept = package.WANTED_DB, package.FALL_DB, package.MOST_DB
    wanted, fall, most = (0.0, 0.0, 0.0) if name == "none" else map(float, name.split(":"))
    package.WANTED_DB, package.FALL_DB, package.MOST_DB = wanted, fall * 512 / SAMPLE_RATE_HZ, most
    try:
        yield
    finally:
        package.WANTED_DB, package.FALL_DB, package.MOST_DB = kept


def speech(readers: list[Samples], levels_db: list[float]) -> Samples:
    """The readers at these levels in turn, a pause after each."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE_HZ), np.float32)
    parts = [
        np.float32(10 ** ((levels_db[number % len(levels_db)] - SPEECH_RMS_DB) / 20)) * reader
        for number, reader in enumerate(readers)
    ]
    return np.concatenate([part for reader in parts for part in (reader, pause)])


def rumble(noise: Samples) -> Samples:
    """White noise [T] with more below than above, as rooms have it; RMS 1."""
    bins = np.arange(len(noise) // 2 + 1)
    shaped = np.fft.irfft(np.fft.rfft(noise) / np.sqrt(np.maximum(bins, 100)), len(noise))
    return (shaped / np.sqrt(np.square(shaped).mean())).astype(np.float32)


def conditions(readers: list[Samples]) -> tuple[dict[str, Samples], dict[str, Samples]]:
    """Sounds with speech and without, by name."""
    draw = np.random.default_rng(0)
    in_room = [room(reader, draw) for reader in readers]
    length = len(speech(readers, [SPEECH_RMS_DB]))
    noise = white(1, length / SAMPLE_RATE_HZ, 0.0)
    rooms, played = rumble(noise), music(0, length / SAMPLE_RATE_HZ, SPEECH_RMS_DB)
    played /= np.sqrt(np.square(played).mean())

    def at(sound: Samples, level_db: float) -> Samples:
        return sound * np.float32(10 ** (level_db / 20))

    spoken: dict[str, Samples] = {}
    for level in LEVELS_DB:
        spoken[f"close, {level} dB"] = speech(readers, [level]) + at(noise, -75)
        spoken[f"room, {level} dB, noise 20 dB below"] = speech(in_room, [level]) + at(rooms, level - 20)
    spoken["room, -40 dB, noise 10 dB below"] = speech(in_room, [-40]) + at(rooms, -50)
    spoken["room, -26 and -48 dB in turn"] = speech(in_room, [-26, -26 + FAR_DB]) + at(rooms, -66)
    spoken["music 10 dB below, -26 dB"] = speech(readers, [-26]) + at(played, -36)
    spoken["music 10 dB below, -46 dB"] = speech(readers, [-46]) + at(played, -56)
    kinds = {"white": noise, "room": rooms, "music": played}
    empty = {
        f"{kind} alone, {level} dB": at(sound, level) for kind, sound in kinds.items() for level in (-30, -45, -60)
    }
    return spoken, empty


def said(sound: Samples, features: Samples) -> np.ndarray:
    return VoiceGate().push(features, sound[: features.shape[1] * HOP_SAMPLES])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gains", default=f"{OWN},none")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    gains = asked.gains.split(",")
    readers = [clip[: len(clip) // HOP_SAMPLES * HOP_SAMPLES] for clip in clips(asked.clips)]
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE_HZ), np.float32)
    is_speech = held(np.concatenate([truth(part) for reader in readers for part in (reader, pause)])) > 0
    spoken, empty = conditions(readers)
    lines = ["| sound | " + " | ".join(gains) + " |", "|---|" + "---|" * len(gains)]
    for name, sound in {**spoken, **empty}.items():
        features, cells = log_mel(sound), []
        for one in gains:
            with gain(one):
                told = said(sound, features)
            alarms = float(told[~is_speech].mean()) if name in spoken else float(told.mean())
            misses = float((~told[is_speech]).mean()) if name in spoken else None
            cells.append(f"{100 * alarms:.2f}" if misses is None else f"{100 * misses:.1f}, {100 * alarms:.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if asked.out:
        seconds = len(is_speech) * HOP_SAMPLES / SAMPLE_RATE_HZ
        made = f"python {' '.join(sys.argv)}; {environment()['cpu']}, {date.today()}"
        what = (
            f"{len(readers)} readers, {seconds:.0f} s a condition; misses, false alarms (of frames without speech), %"
        )
        asked.out.write_text("\n".join(["# Quiet speech and the voice gate", "", made, "", what, "", *lines, ""]))


if __name__ == "__main__":
    main()
