"""Three enrolled people and a stranger talk: how much of what is said is given the right name, live, and how soon?

python benchmarks/live.py old.lupi new.lupi [--out benchmarks/results/live.md] [--voices validation]

Conversations of four of the 48 held-out LibriSpeech voices, disjoint, so 12 a round; in the second round the halves change
places and others meet. Each is enrolled, by the path of `edge-lupi enroll`, from one half of their recording and speaks the
other half, cut at a quiet moment into turns of 2 to 4 s; the stranger speaks both. Nothing is said twice. Between turns lie
pauses of 0.2 to 1.2 s. Whoever has less than 4 s a half is always a stranger. What the wire or the room does is done to the
whole conversation or, "enrolled over", to the enrolment alone.

Of the time that speech is loud (10 ms frames within 30 dB of a turn's loudest): the share named right, given another
enrolled name, not named; of the stranger's: given an enrolled name. Where events overlap, each counts up to the middle.
Delay: from a turn's first sample until the first event with the right name is told, in the stream's own time; of the turns
that are named at all. Intervals: 95 % bootstrap over conversations.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import soundfile
from sounds import CONDITIONS, SPEECH_RMS_DB, Condition, Samples, at_level, data_root, white

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.readers.librispeech import read_librispeech
from edge_lupi.data.splits import split
from edge_lupi.device.processor import environment
from edge_lupi.errors import InputError
from edge_lupi.frames import FRAMES_PER_SECOND, HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.rttm import Stretch
from edge_lupi.runtime.enrolment.enrolment import enroll
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.sound.audio import read_audio

PEOPLE = 4  # in a conversation, of whom the last is a stranger
TURN_SECONDS = (2.0, 4.0)
PAUSE_SECONDS = (0.2, 1.2)
ENROLLED_SECONDS = 4.0  # of a voice at least, to be enrolled
ROOM_DB = -75.0
BLOCK_SAMPLES = SAMPLE_RATE_HZ // 10
SIDES = {  # what is done to the enrolment, and to what is listened to
    "as recorded": ("as recorded", "as recorded"),
    "babble 10 dB": ("as recorded", "babble 10 dB"),
    "RT60 0.5 s": ("as recorded", "RT60 0.5 s"),
    "8 kHz A-law": ("as recorded", "8 kHz A-law"),
    "enrolled over 8 kHz A-law": ("8 kHz A-law", "as recorded"),
}
FIGURES = ("right", "another", "unnamed", "stranger named", "delay", "turns named")

Halves = tuple[Samples, Samples]


@dataclass(frozen=True)
class Conversation:
    """`learnt`: what the three are enrolled with; `spoken`: who speaks when; `loud` says where there is speech, per frame."""

    name: str
    learnt: dict[str, Samples]
    samples: Samples
    spoken: list[Stretch]
    loud: np.ndarray


@dataclass
class Counts:
    """Frames of one conversation, of the three and of the stranger; delays in seconds of the turns that were named."""

    right: int = 0
    another: int = 0
    spoken: int = 0
    stranger_named: int = 0
    stranger_spoken: int = 0
    turns: int = 0
    delays: list[float] = field(default_factory=list)


def halves_of(which: str) -> dict[str, Halves]:
    """Both halves of each voice's recording: held out, or of those that the speaker recipe keeps for validation."""
    parts = split(read_librispeech(data_root() / "librispeech_excerpts"), "held_out", validation_speakers=0.1, seed=0)
    voices: dict[str, list[Samples]] = {}
    for utterance in sorted(parts.test if which == "held_out" else parts.validation, key=lambda u: u.name):
        voices.setdefault(utterance.label, []).append(read_audio(utterance.audio))
    joined = {name: np.concatenate(pieces) for name, pieces in voices.items()}
    return {
        name: (samples[: len(samples) // 2], samples[len(samples) // 2 :])
        for name, samples in joined.items()
        if len(samples) >= 2 * TURN_SECONDS[0] * SAMPLE_RATE_HZ
    }


def turns_of(half: Samples) -> list[Samples]:
    """One or two turns, none shorter than 2 s or longer than 4; what is left over at the end is left out."""
    least, most = (round(seconds * SAMPLE_RATE_HZ) for seconds in TURN_SECONDS)
    half = half[: 2 * most]
    if len(half) < 2 * least:
        return [half[:most]]
    cut = _quietest(half, max(least, len(half) - most), min(most, len(half) - least))
    return [half[:cut], half[cut:]]


def _quietest(samples: Samples, begin: int, end: int) -> int:
    """The sample in [begin, end] around which 50 ms have the least power."""
    width = SAMPLE_RATE_HZ // 20
    power = np.convolve(np.square(samples, dtype=np.float64), np.ones(width), "same")
    return begin + int(power[begin : end + 1].argmin())


def conversations(voices: dict[str, Halves], rounds: int) -> Iterator[Conversation]:
    """Every voice once a round."""
    for number in range(rounds):
        draw = np.random.default_rng(number)
        order = sorted(draw.permutation(sorted(voices)), key=lambda name: _length(voices[name]) >= ENROLLED_SECONDS)
        count = len(order) // PEOPLE
        strangers, known = order[:count], order[count:]
        for index in range(count):
            people = [*known[3 * index : 3 * index + 3], strangers[index]]
            halves = {name: voices[name] if number % 2 == 0 else voices[name][::-1] for name in people}
            yield conversation(f"{number + 1}.{index + 1}", halves, draw)


def _length(halves: Halves) -> float:
    return min(len(half) for half in halves) / SAMPLE_RATE_HZ


def conversation(name: str, halves: dict[str, Halves], draw: np.random.Generator) -> Conversation:
    """Turns in an order in which nobody follows themselves; the ends of turns are faded: a click would tell of them."""
    *known, stranger = halves
    turns = [(person, turn) for person in known for turn in turns_of(halves[person][1])]
    turns += [(stranger, turn) for half in halves[stranger] for turn in turns_of(half)]
    order = draw.permutation(len(turns))
    while any(turns[a][0] == turns[b][0] for a, b in itertools.pairwise(order)):
        order = draw.permutation(len(turns))
    sound = [_silence(draw)]
    spoken, loud = list[Stretch](), [np.zeros(len(sound[0]) // HOP_SAMPLES, bool)]
    for index in order:
        person, turn = turns[index][0], _faded(turns[index][1])
        start = sum(map(len, sound)) / SAMPLE_RATE_HZ
        spoken.append(Stretch(start, start + len(turn) / SAMPLE_RATE_HZ, person))
        pause = _silence(draw)
        loud += [_loud(turn), np.zeros(len(pause) // HOP_SAMPLES, bool)]
        sound += [turn, pause]
    samples = np.concatenate(sound)
    samples += white(0, len(samples) / SAMPLE_RATE_HZ, ROOM_DB)
    return Conversation(name, {person: halves[person][0] for person in known}, samples, spoken, np.concatenate(loud))


def _silence(draw: np.random.Generator) -> Samples:
    frames = round(draw.uniform(*PAUSE_SECONDS) * FRAMES_PER_SECOND)
    return np.zeros(frames * HOP_SAMPLES, np.float32)


def _faded(turn: Samples) -> Samples:
    """At one level, in whole frames."""
    fade = np.linspace(0, 1, HOP_SAMPLES, dtype=np.float32)
    found = at_level(turn[: len(turn) // HOP_SAMPLES * HOP_SAMPLES], SPEECH_RMS_DB)
    found[:HOP_SAMPLES] *= fade
    found[-HOP_SAMPLES:] *= fade[::-1]
    return found


def _loud(turn: Samples) -> np.ndarray:
    power = np.square(turn, dtype=np.float64).reshape(-1, HOP_SAMPLES).mean(1)
    return power > np.percentile(power, 95) * 1e-3


class Hearing:
    """One bundle listening to one conversation after another."""

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self._bundle = bundle
        self._folder = folder
        self.refused = 0  # enrolments, which were then forced

    def counts(self, talk: Conversation, enrolled_over: Condition, heard_over: Condition) -> Counts:
        """Enrol the three, then listen."""
        file = self._folder / "speakers.json"
        for name, learnt in talk.learnt.items():
            self._enroll(name, enrolled_over(learnt, np.random.default_rng(0)), file)
        listener = Listener(self._bundle, "speaker", Gallery.load(file, self._bundle.fingerprint))
        samples = heard_over(talk.samples, np.random.default_rng(0)).astype(np.float32)
        claims = list(_claims(listener, samples))
        file.unlink(missing_ok=True)
        return _counted(talk, claims)

    def _enroll(self, name: str, samples: Samples, file: Path) -> None:
        recording = self._folder / "enrolment.wav"
        soundfile.write(recording, at_level(samples, SPEECH_RMS_DB), SAMPLE_RATE_HZ)
        try:
            enroll(name, self._bundle, file, [SoundFile(recording)])
        except InputError:
            self.refused += 1
            with suppress(InputError):  # too short is not forced: they stay unknown
                enroll(name, self._bundle, file, [SoundFile(recording)], force=True)


def _claims(listener: Listener, samples: Samples) -> Iterator[tuple[Stretch, float]]:
    """What each event says of which stretch, and how far the stream had come when it was told."""
    fed, before = 0.0, 0.0

    def blocks() -> Iterator[Block]:
        nonlocal fed
        for start in range(0, len(samples), BLOCK_SAMPLES):
            block = samples[start : start + BLOCK_SAMPLES]
            fed += len(block) / SAMPLE_RATE_HZ
            yield Block(block, 0.0)

    for event in listener.listen(blocks()):
        start = (event.start + before) / 2 if event.start < before else event.start
        before = event.time
        yield Stretch(start, event.time, event.label), fed


def _counted(talk: Conversation, claims: list[tuple[Stretch, float]]) -> Counts:
    frames = np.full(len(talk.loud), "", dtype=object)
    for stretch, _ in claims:
        frames[_slice(stretch)] = stretch.label
    counts = Counts()
    for turn in talk.spoken:
        told = frames[_slice(turn)][talk.loud[_slice(turn)]]
        named = np.isin(told, list(talk.learnt))
        if turn.label not in talk.learnt:
            counts.stranger_named += int(named.sum())
            counts.stranger_spoken += len(told)
            continue
        right = told == turn.label
        counts.right += int(right.sum())
        counts.another += int((named & ~right).sum())
        counts.spoken += len(told)
        counts.turns += 1
        when = [at for s, at in claims if s.label == turn.label and _overlap(s, turn) > 0 and at > turn.start_seconds]
        counts.delays += [when[0] - turn.start_seconds] if when else []
    return counts


def _slice(stretch: Stretch) -> slice:
    return slice(round(stretch.start_seconds * FRAMES_PER_SECOND), round(stretch.end_seconds * FRAMES_PER_SECOND))


def _overlap(one: Stretch, other: Stretch) -> float:
    return min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)


def figures(found: list[Counts]) -> dict[str, Interval]:
    """Over conversations."""

    def share(part: str, whole: str) -> Interval:
        over, under = (np.array([getattr(counts, name) for counts in found]) for name in (part, whole))
        return bootstrap(lambda chosen: float(over[chosen].sum() / under[chosen].sum()), n=len(found))

    unnamed = np.array([(counts.spoken - counts.right - counts.another, counts.spoken) for counts in found])
    named = np.array([(len(counts.delays), counts.turns) for counts in found])
    return {
        "right": share("right", "spoken"),
        "another": share("another", "spoken"),
        "unnamed": bootstrap(lambda i: float(np.divide(*unnamed[i].sum(0))), n=len(found)),
        "stranger named": share("stranger_named", "stranger_spoken"),
        "delay": bootstrap(
            lambda i: float(np.median([d for c in i for d in found[c].delays] or [np.nan])), n=len(found)
        ),
        "turns named": bootstrap(lambda i: float(np.divide(*named[i].sum(0))), n=len(found)),
    }


def cell(figure: str, row: dict[str, Interval]) -> str:
    """Per cent, or seconds, with the interval."""
    found, times = row[figure], 1 if figure == "delay" else 100
    return f"{times * found.value:.1f} ({times * found.low:.1f} to {times * found.high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--voices", choices=("held_out", "validation"), default="held_out")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    talks = list(conversations(halves_of(asked.voices), asked.rounds))
    lines = [
        f"{len(talks)} conversations, {sum(len(t.samples) for t in talks) / SAMPLE_RATE_HZ / 60:.0f} minutes, "
        f"{sum(len(t.spoken) for t in talks)} turns. Shares in % of the time spoken, delay in s.\n",
        "| condition | bundle | right | another's name | unnamed | stranger given a name | delay | turns named | enrolments refused |",
        "|---|---|" + "---|" * (len(FIGURES) + 1),
    ]
    print("\n".join(lines), flush=True)
    rows = []
    for condition, (enrolled_over, heard_over) in SIDES.items():
        for path in asked.bundles:
            with tempfile.TemporaryDirectory() as folder:
                hearing = Hearing(Bundle.load(path), Path(folder))
                over = CONDITIONS[enrolled_over], CONDITIONS[heard_over]
                found = figures([hearing.counts(talk, *over) for talk in talks])
            cells = " | ".join(cell(figure, found) for figure in FIGURES)
            lines.append(f"| {condition} | {path} | {cells} | {hearing.refused} of {3 * len(talks)} |")
            print(lines[-1], flush=True)
            plain = {name: [round(x, 4) for x in (f.value, f.low, f.high)] for name, f in found.items()}
            rows.append({"condition": condition, "bundle": str(path), "refused": hearing.refused, **plain})
    print(json.dumps({"voices": asked.voices, "conversations": len(talks), "rows": rows}))
    if asked.out:
        here = environment()
        made = f"python {' '.join(sys.argv)}; {here['cpu']}, onnxruntime {here['onnxruntime']}, {date.today()}"
        title = "# Three enrolled people and a stranger, live"
        asked.out.write_text("\n".join([title, "", f"{made}. {lines[0]}", *lines[1:], ""]))


if __name__ == "__main__":
    main()
