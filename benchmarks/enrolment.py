"""Does enrolment take good speech, and refuse what is too short, too quiet, clipped, of two voices, or of another voice?

    python benchmarks/enrolment.py edge_lupi/bundles/speaker.lupi --data $EDGE_LUPI_DATA/librispeech_excerpts

On the voices that the speaker recipe keeps for validation, which set the limits. `--speakers held_out`: on the others.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import numpy as np

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.splits import split
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.enrolment import Enrolment
from edge_lupi.runtime.sources.block import Block
from edge_lupi.sound.audio import from_pcm, read_audio, to_pcm

REASONS = ("nobody spoke", "too short", "too quiet", "clipped", "two voices", "unlike the earlier recordings")
GOOD_SECONDS = (6.0, 10.0)
USUAL_DB, QUIET_DB, CLIPPING_DB = -20.0, -61.0, 15.0


def at_level(samples: np.ndarray, level_db: float) -> np.ndarray:
    """As a 16-bit recording has it at this RMS level: rounded, and cut off at full scale."""
    gain = 10 ** (level_db / 20) / np.sqrt(np.mean(samples**2))
    return from_pcm(to_pcm((samples * gain).astype(np.float32)))


def kinds(
    student: CompiledStudent, voices: list[np.ndarray], pairs: int
) -> Iterator[tuple[str, int, Enrolment, np.ndarray | None]]:
    """(what it should be refused for, or good; whose; what was heard; the earlier exemplars if any)."""
    whole = [heard(student, voice) for voice in voices]
    for number, voice in enumerate(voices):
        for seconds in GOOD_SECONDS:
            length = round(seconds * SAMPLE_RATE_HZ)
            for start in range(0, len(voice) - length + 1, length):
                yield "good", number, heard(student, voice[start : start + length]), None
        yield "good", number, whole[number], None
        half = len(voice) // 2
        first = heard(student, voice[:half])
        if half >= GOOD_SECONDS[0] * SAMPLE_RATE_HZ and first.speech_seconds >= first.limits.speech_seconds:
            yield "good again", number, heard(student, voice[half:]), first.exemplars(force=True)
        yield "too short", number, heard(student, voice[: round(2.5 * SAMPLE_RATE_HZ)]), None
        yield "too quiet", number, heard(student, at_level(voice, QUIET_DB)), None
        yield "clipped", number, heard(student, at_level(voice, USUAL_DB + CLIPPING_DB)), None
    draw = np.random.default_rng(0)
    several = list(permutations(range(len(voices)), 2))
    for one, other in [several[i] for i in draw.permutation(len(several))[:pairs]]:
        length = min(len(voices[one]), len(voices[other]), 5 * SAMPLE_RATE_HZ)
        both = np.concatenate([voices[one][:length], voices[other][:length]])
        yield "two voices", one, heard(student, both), None
        long = np.concatenate([voices[one][: 8 * SAMPLE_RATE_HZ], voices[other][: 2 * SAMPLE_RATE_HZ]])
        yield "8 s, and 2 s of another", one, heard(student, long), None
        yield "unlike the earlier recordings", one, whole[other], whole[one].exemplars(force=True)


def refusal(enrolment: Enrolment, earlier: np.ndarray | None) -> str | None:
    """Why enrolment refuses what it heard, if it does."""
    try:
        enrolment.exemplars(earlier)
    except InputError as error:
        return next(reason for reason in REASONS if f": {reason};" in str(error))
    return None


def heard(student: CompiledStudent, samples: np.ndarray) -> Enrolment:
    enrolment = Enrolment(student)
    enrolment.hear(Block(samples[start : start + 1600], 0.0) for start in range(0, len(samples), 1600))
    return enrolment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--speakers", choices=("validation", "held_out"), default="validation")
    parser.add_argument("--pairs", type=int, default=200)
    asked = parser.parse_args()
    student = CompiledStudent(Bundle.load(asked.bundle))
    sides = split(read_corpus(asked.data), "held_out", validation_speakers=0.1, seed=0)
    by_voice: dict[str, list[np.ndarray]] = {}
    for utterance in sides.validation if asked.speakers == "validation" else sides.test:
        by_voice.setdefault(utterance.label, []).append(read_audio(utterance.audio))
    voices = [np.concatenate(parts) for parts in by_voice.values()]
    voices = [voice for voice in voices if len(voice) >= GOOD_SECONDS[0] * SAMPLE_RATE_HZ]
    found: dict[str, list[tuple[int, str | None]]] = {}
    for kind, whose, enrolment, earlier in kinds(student, voices, asked.pairs):
        found.setdefault(kind, []).append((whose, refusal(enrolment, earlier)))
    print(f"{len(voices)} voices\n{'speech':<32}{'tried':>6}  refused (95 % over voices)   why")
    summary = {}
    for kind, answers in found.items():
        refused = np.array([reason is not None for _, reason in answers])
        share = bootstrap(lambda i, refused=refused: float(refused[i].mean()), groups=[whose for whose, _ in answers])
        if share.value == 0:  # the rule of three, as in edge_lupi/evaluate/reports.py
            share = Interval(0.0, 0.0, min(1.0, 3 / len({whose for whose, _ in answers})))
        why = Counter(reason for _, reason in answers if reason)
        summary[kind] = {
            "tried": len(answers),
            "refused": share.value,
            "low": share.low,
            "high": share.high,
            "why": why,
        }
        print(f"{kind:<32}{len(answers):6d}  {share.value:7.1%} ({share.low:.1%} to {share.high:.1%})   {dict(why)}")
    print(json.dumps({"speakers": asked.speakers, "voices": len(voices), "kinds": summary}))


if __name__ == "__main__":
    main()
