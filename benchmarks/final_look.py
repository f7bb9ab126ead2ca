"""How wrong is who-spoke-when, and how many are found, live and after a second look (`listen --final`)? And is overlap heard?

python benchmarks/final_look.py BUNDLE --voices validation --people 2,3,5,8,13
python benchmarks/final_look.py BUNDLE --meetings ami_excerpts

Conversations are those of benchmarks/diarisation.py, nothing said twice, of people drawn by the seed. Meetings are files beside
their RTTM; there the overlapped speech is also told, if it can be: the AUC of what one segment's embedding says of two voices
at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from diarisation import conversation, voices_of
from sounds import Samples

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.place import found_data
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.metrics.diarisation import DiarisationError, diarisation_error
from edge_lupi.rttm import Stretch, read_rttm
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.outputs.turns import Teller, Turn
from edge_lupi.runtime.second_look.look import look_again
from edge_lupi.runtime.second_look.memory import Memory, Remembered
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.trackers.tracker import UNKNOWN
from edge_lupi.sound.audio import read_audio


@dataclass(frozen=True)
class Row:
    name: str
    people: int
    live: DiarisationError
    live_speakers: int
    final: DiarisationError
    final_speakers: int

    def text(self) -> str:
        shares = [f"{error.rate:7.1%} ({confused(error):5.1%})" for error in (self.live, self.final)]
        return f"{self.name:<12}{self.people:4d}   {shares[0]}{self.live_speakers:4d}   {shares[1]}{self.final_speakers:4d}"


def confused(error: DiarisationError) -> float:
    return error.confused_seconds / error.spoken_seconds


def heard_twice(bundle: Bundle, samples: np.ndarray) -> tuple[Remembered, list[Turn]]:
    """What was told live and is remembered, and the turns of the second look."""
    listener = Listener(bundle, gallery=None)
    memory = Memory(listener)
    with Teller(listener.segmentations, [memory]) as teller:
        for event in listener.begin().listen(_blocks(samples), encoded=memory.encoded):
            teller.event(event)
    remembered = memory.streams.get("", Remembered())
    return remembered, look_again(memory)


def row_of(name: str, spoken: Sequence[Stretch], live: Sequence[Turn], final: Sequence[Turn]) -> Row:
    def told(turns: Sequence[Turn]) -> tuple[DiarisationError, int]:
        stretches = [Stretch(turn.start_seconds, turn.end_seconds, turn.label) for turn in turns]
        return diarisation_error(spoken, stretches), len({turn.label for turn in turns} - {UNKNOWN})

    return Row(name, len({stretch.label for stretch in spoken}), *told(live), *told(final))


def conversations(
    bundle: Bundle, voices: dict[str, list[Samples]], people: int, count: int, seed: int
) -> Iterator[Row]:
    if people > len(voices):
        raise InputError(f"expected at most {len(voices)} people, got {people}: choose fewer")
    for number in range(count):
        draw = np.random.default_rng((seed, people, number))
        chosen = draw.choice(sorted(voices), people, replace=False).tolist()
        made = conversation({name: voices[name] for name in chosen}, draw, far=False)
        remembered, final = heard_twice(bundle, made.samples)
        yield row_of(f"{people} voices", made.spoken, remembered.turns, final)


def overlapped(remembered: Remembered, spoken: Sequence[Stretch], final: Sequence[Turn]) -> list[tuple[float, ...]]:
    """Of each segment with speech: the share of it in which two speak, and what its embedding says of that."""
    voices = np.stack(remembered.voices)
    middles = (np.array(remembered.starts) + np.array(remembered.ends)) / 2
    labels = sorted({turn.label for turn in final})
    inside = [[t.label for t in final if t.start_seconds <= middle < t.end_seconds] for middle in middles]
    owner = np.array([labels.index(own[0]) if own else -1 for own in inside])
    centres = np.stack([voices[owner == row].sum(0) for row in range(len(labels)) if (owner == row).any()])
    cosines = np.sort(voices @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T, axis=1)[:, ::-1]
    second = cosines[:, 1] if cosines.shape[1] > 1 else np.zeros(len(cosines))
    rows = list[tuple[float, ...]]()
    for place, (start, end) in enumerate(zip(remembered.starts, remembered.ends, strict=True)):
        grid = np.arange(start + 0.005, end, 0.01)
        speaking = sum(((grid >= s.start_seconds) & (grid < s.end_seconds)).astype(int) for s in spoken)
        two, anybody = (float((np.asarray(speaking) > least).mean()) for least in (1, 0))
        rows.append((two, anybody, -cosines[place, 0], second[place], second[place] - cosines[place, 0]))
    return rows


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The chance that an overlapped segment has the higher score of two."""
    ranks = scores.argsort().argsort() + 1.0
    positives = truth.sum()
    if not positives or positives == len(truth):
        return float("nan")
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def meetings(bundle: Bundle, folder: Path) -> tuple[list[Row], dict[str, object]]:
    rows, segments, excerpt = list[Row](), list[tuple[float, ...]](), list[int]()
    for number, reference in enumerate(sorted(folder.glob("*.rttm"))):
        (spoken,) = read_rttm(reference).values()
        remembered, final = heard_twice(bundle, read_audio(folder / "audio" / f"{reference.stem}.flac"))
        rows.append(row_of(reference.stem, spoken, remembered.turns, final))
        found = overlapped(remembered, spoken, final) if remembered.voices else []
        segments += found
        excerpt += [number] * len(found)
    table, groups = np.array(segments), np.array(excerpt)
    clear = (table[:, 0] >= 0.5) | ((table[:, 0] == 0) & (table[:, 1] >= 0.5))
    table, groups = table[clear], groups[clear]
    truth = table[:, 0] >= 0.5
    names = ("far from the nearest voice", "near to the second voice", "the two are as near")
    told = {
        name: asdict(bootstrap(lambda i, c=column: auc(table[i, c], truth[i]), groups=groups))
        for column, name in enumerate(names, 2)
    }
    return rows, {"overlapped_segments": int(truth.sum()), "others": int((~truth).sum()), "auc": told}


def _blocks(samples: np.ndarray) -> Iterator[Block]:
    for start in range(0, len(samples), SAMPLE_RATE_HZ // 10):
        yield Block(samples[start : start + SAMPLE_RATE_HZ // 10], 0.0)


def figures(rows: Sequence[Row]) -> dict[str, object]:
    columns = {
        "live_der": [row.live.rate for row in rows],
        "final_der": [row.final.rate for row in rows],
        "live_confused": [confused(row.live) for row in rows],
        "final_confused": [confused(row.final) for row in rows],
        "der_change": [row.final.rate - row.live.rate for row in rows],
        "live_speakers": [float(row.live_speakers) for row in rows],
        "final_speakers": [float(row.final_speakers) for row in rows],
        "live_count_right": [float(row.live_speakers == row.people) for row in rows],
        "final_count_right": [float(row.final_speakers == row.people) for row in rows],
    }
    return {name: asdict(_mean(np.array(values))) for name, values in columns.items()}


def _mean(values: np.ndarray) -> Interval:
    return bootstrap(lambda chosen: float(values[chosen].mean()), n=len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--voices", choices=("held_out", "validation"), default="validation")
    parser.add_argument("--people", help="voices in a conversation; several with commas between")
    parser.add_argument("--conversations", type=int, default=8, help="of each number of voices")
    parser.add_argument("--meetings", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    print("                  live: DER (confused) speakers   after: DER (confused) speakers")
    if arguments.meetings:
        rows, overlap = meetings(bundle, found_data(arguments.meetings))
        _tell(rows, arguments, {"overlap": overlap})
    if arguments.people:
        voices = voices_of(arguments.voices, arguments.seed)
        for people in map(int, arguments.people.split(",")):
            rows = list(conversations(bundle, voices, people, arguments.conversations, arguments.seed))
            _tell(rows, arguments, {"voices": arguments.voices, "people": people})


def _tell(rows: Sequence[Row], arguments: argparse.Namespace, more: dict[str, object]) -> None:
    for row in rows:
        print(row.text())
    print(
        json.dumps(
            {"bundle": arguments.bundle.name, "items": len(rows), "seed": arguments.seed, **more, **figures(rows)}
        )
    )


if __name__ == "__main__":
    main()
