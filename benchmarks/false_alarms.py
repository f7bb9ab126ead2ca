"""What is heard where nobody speaks, and what of speech is heard in noise. Silence, white noise and music in turn.

python benchmarks/false_alarms.py --minutes 60 [--gate energy]

A third of the time each. Then the same with a reader of the training part every half minute, 10 dB above the noise.
`found`: the share of their speech that events cover; `elsewhere`: events of which less than a tenth is speech.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sounds import SPEECH_RMS_DB, Samples, clips, music, white

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.source import blocks_of

KINDS = ("silence", "white", "music")
SNR_DB = 10.0
SILENCE_DB = -70.0
PIECE_SECONDS = 30.0
BLOCK_SAMPLES = 320  # a microphone's
LEVEL_SAMPLES = 160
QUIET_DB = 30.0  # below the loudest tenth of a clip: no speech


def noise(kind: str, piece: int) -> Samples:
    level_db = SPEECH_RMS_DB - SNR_DB
    if kind == "music":
        return music(int(piece * PIECE_SECONDS / 2), PIECE_SECONDS, level_db)
    return white(piece, PIECE_SECONDS, SILENCE_DB if kind == "silence" else level_db)


def pieces(kind: str, count: int, speech: list[Samples]) -> Iterator[Samples]:
    """Half a minute at a time; with a clip in its middle where there are clips."""
    for piece in range(count):
        sound = noise(kind, piece)
        if speech:
            clip = clip_of(piece, speech)
            begin = begin_of(clip)
            sound[begin : begin + len(clip)] += clip
        yield np.clip(sound, -1, 1)


def clip_of(piece: int, speech: list[Samples]) -> Samples:
    return speech[piece % len(speech)][: round((PIECE_SECONDS - 4) * SAMPLE_RATE_HZ)]


def begin_of(clip: Samples) -> int:
    return (round(PIECE_SECONDS * SAMPLE_RATE_HZ) - len(clip)) // 2 // LEVEL_SAMPLES * LEVEL_SAMPLES


def blocks(sounds: Iterator[Samples]) -> Iterator[Block]:
    for sound in sounds:
        for start in range(0, len(sound), BLOCK_SAMPLES):
            yield from blocks_of(sound[start : start + BLOCK_SAMPLES])


def truth(count: int, speech: list[Samples]) -> np.ndarray:
    """Whether somebody speaks, bool per 10 ms: within 30 dB of the loud part of the clip, and 0.25 s after."""
    spoken = np.zeros((count, round(PIECE_SECONDS * 100)), bool)
    for piece in range(count if speech else 0):
        clip = clip_of(piece, speech)
        frames = clip[: len(clip) // LEVEL_SAMPLES * LEVEL_SAMPLES].reshape(-1, LEVEL_SAMPLES)
        levels = 10 * np.log10(np.square(frames).mean(1) + 1e-12)
        loud = np.convolve(levels > np.percentile(levels, 90) - QUIET_DB, np.ones(25))[: len(levels)] > 0
        first = begin_of(clip) // LEVEL_SAMPLES
        spoken[piece, first : first + len(loud)] = loud
    return spoken.ravel()


def heard(bundle: Path, gate: str, kind: str, count: int, speech: list[Samples]) -> dict[str, float | None]:
    listener, spoken = Listener(bundle, gallery=None, gate=gate), truth(count, speech)
    began = time.process_time()
    spans = [(round(e.start * 100), round(e.time * 100)) for e in listener.listen(blocks(pieces(kind, count, speech)))]
    cpu = time.process_time() - began
    covered = np.zeros(len(spoken), bool)
    for begin, end in spans:
        covered[begin:end] = True
    seconds = count * PIECE_SECONDS
    elsewhere = sum(spoken[begin:end].mean() < 0.1 for begin, end in spans)
    found = float(covered[spoken].mean()) if spoken.any() else None
    return {
        "seconds": seconds,
        "events": len(spans),
        "elsewhere_per_hour": elsewhere * 3600 / seconds,
        "found": found,
        "encoded": listener.statistics.encoded,
        "cpu_share": cpu / seconds,
    }


def making(kind: str, count: int) -> float:
    """Share of a core that making and cutting the sound takes, which is not the listener's."""
    began = time.process_time()
    for _ in blocks(pieces(kind, count, [])):
        pass
    return (time.process_time() - began) / (count * PIECE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--gate", default="voice")
    arguments = parser.parse_args()
    bundle = arguments.bundle or shipped_bundle("speaker")
    count = max(1, round(arguments.minutes * 60 / PIECE_SECONDS / len(KINDS)))
    speech, rows = clips(40), {}
    for kind in KINDS:
        empty, mixed = (
            heard(bundle, arguments.gate, kind, count, []),
            heard(bundle, arguments.gate, kind, count, speech),
        )
        own = empty["cpu_share"] - making(kind, count)
        print(
            f"{kind:<8} nobody: {empty['elsewhere_per_hour']:7.1f} false events an hour, {100 * own:.2f} % of a core; "
            f"speech at {SNR_DB:.0f} dB: {100 * mixed['found']:.1f} % found, {mixed['elsewhere_per_hour']:.1f} events an hour elsewhere"
        )
        rows[kind] = {"nobody": {**empty, "cpu_share": own}, "speech": mixed}
    print(json.dumps({"gate": arguments.gate, "minutes": arguments.minutes, **rows}))


if __name__ == "__main__":
    main()
