"""Enrolled voices and strangers: is a false accept rate of 1 % what comes when 1 % was asked for, and who is told right?

    python benchmarks/open_set.py edge_lupi/bundles/speaker.lupi --data $EDGE_LUPI_DATA/librispeech_excerpts

Half of the 48 held-out voices are enrolled from half of their speech, the other voices are strangers; then the other way
round. The threshold is calibrated on strangers of neither: the 200 voices that training or its validation has heard
(`--calibrate-on validation`: the 20 of them that it has not learnt from). Every figure has a 95 % interval over speakers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.splits import split
from edge_lupi.data.utterance import Utterance
from edge_lupi.evaluate.calibrate import calibrate_with_impostors, keep
from edge_lupi.evaluate.impostors import DURATIONS_SECONDS
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.metrics.verification import open_set
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.enrolment import Enrolment, EnrolmentLimits
from edge_lupi.runtime.enrolment.voice import Speech, pieces
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery

Trial = tuple[
    str, np.ndarray, int, float
]  # who speaks, cosine with each of the enrolled, which of them it is, threshold


def enrolled(student: CompiledStudent, people: dict[str, list[Utterance]], path: Path) -> Gallery:
    """Everybody, from the first half of their speech, also where enrolment would ask for more of it."""
    gallery = Gallery(path, student.bundle.fingerprint)
    for name, halves in people.items():
        enrolment = Enrolment(student, EnrolmentLimits(speech_seconds=0))
        enrolment.hear(SoundFile(halves[0].audio))
        gallery.add(name, enrolment.exemplars(force=True))
    return gallery


def decisions(
    student: CompiledStudent, gallery: Gallery, tests: list[tuple[str, Path]], threshold: Callable[[float], float]
) -> dict[float, list[Trial]]:
    """By seconds of speech: every piece of the tests against everybody enrolled."""
    found: dict[float, list[Trial]] = {}
    for name, path in tests:
        speech = Speech(student)
        speech.hear(SoundFile(path))
        owner = gallery.names.index(name) if name in gallery.names else -1
        for seconds in DURATIONS_SECONDS:
            voices = pieces(student, speech.embeddings, seconds)
            cosines = [(voices @ gallery.exemplars(known).T).max(1) for known in gallery.names]
            rows = np.stack(cosines, 1) if len(voices) else []
            found.setdefault(seconds, []).extend((name, row, owner, threshold(seconds)) for row in rows)
    return found


def heard_live(bundle: Bundle, gallery: Gallery, tests: list[tuple[str, Path]]) -> list[tuple[str, bool, float, float]]:
    """Of each test recording through the Listener: whose, is it enrolled, share of events named so, share of other names."""
    listener, found = Listener(bundle, "speaker", gallery), []
    for name, path in tests:
        labels = [event.label for event in listener.listen(SoundFile(path))]
        if labels:
            right = np.mean([label == name for label in labels])
            wrong = np.mean([label in gallery.names and label != name for label in labels])
            found.append((name, name in gallery.names, float(right), float(wrong)))
    return found


def over_speakers(names: list[str], statistic: Callable[[np.ndarray], float]) -> Interval:
    """With an interval over speakers; none wrong among n of them: up to 3 / n (Hanley and Lippman-Hand 1983)."""
    found = bootstrap(statistic, groups=names)
    return (
        Interval(found.value, found.low, min(1.0, max(found.high, 3 / len(set(names))))) if found.value == 0 else found
    )


def summary(trials: list[Trial]) -> dict[str, object]:
    rows: dict[str, object] = {"threshold": float(np.mean([trial[3] for trial in trials])), "trials": len(trials)}
    for figure, enrolled_ones in (("false_accepts", False), ("misses", True), ("accuracy", True)):
        chosen = [trial for trial in trials if (trial[2] >= 0) == enrolled_ones]
        if not chosen:
            continue
        scores, owners, limits = (np.array([trial[field] for trial in chosen]) for field in (1, 2, 3))
        interval = over_speakers(
            [trial[0] for trial in chosen],
            lambda i, s=scores, o=owners, t=limits, f=figure: getattr(open_set(s[i], o[i], t[i]), f),
        )
        rows[figure] = [interval.value, interval.low, interval.high]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--far", type=float, default=0.01)
    parser.add_argument("--calibrate-on", choices=("all", "validation"), default="all")
    parser.add_argument("--most", type=int, help="only so many voices on each side, for a try")
    asked = parser.parse_args()
    bundle = Bundle.load(asked.bundle)
    student = CompiledStudent(bundle)
    sides = split(read_corpus(asked.data), "held_out", validation_speakers=0.1, seed=0)
    others = sides.validation if asked.calibrate_on == "validation" else (*sides.train, *sides.validation)
    impostors = {u.label: [u.audio] for u in others[: asked.most and 5 * asked.most]}
    voices: dict[str, list[Utterance]] = {}
    for utterance in sorted(sides.test, key=lambda u: u.name):
        voices.setdefault(utterance.label, []).append(utterance)
    names = sorted(voices)[: asked.most and 2 * asked.most]
    trials: dict[float, list[Trial]] = {}
    live: list[tuple[str, bool, float, float]] = []
    for known, strangers in ((names[::2], names[1::2]), (names[1::2], names[::2])):
        with tempfile.TemporaryDirectory() as folder:
            gallery = enrolled(student, {name: voices[name] for name in known}, Path(folder) / "speakers.json")
            calibration, curve = calibrate_with_impostors(bundle, gallery, impostors, asked.far)
            keep(calibration, curve, bundle, Path(folder) / "calibrated.lupi")
            print(calibration.text(), flush=True)
            tests = [(name, voices[name][1].audio) for name in known]
            tests += [(name, half.audio) for name in strangers for half in voices[name]]
            for seconds, found in decisions(student, gallery, tests, calibration.threshold.at).items():
                trials.setdefault(seconds, []).extend(found)
            live += heard_live(Bundle.load(Path(folder) / "calibrated.lupi"), gallery, tests)
    rows = {f"{seconds:g}": summary(found) for seconds, found in sorted(trials.items()) if found}
    whole = summary([trial for found in trials.values() for trial in found])
    print(f"\n{'speech':<8}{'trials':>7}  threshold  false accepts           misses                  identified")
    for seconds, row in [*rows.items(), ("all", whole)]:
        figures = [row.get(name) for name in ("false_accepts", "misses", "accuracy")]
        words = [f"{100 * f[0]:5.1f} % ({100 * f[1]:4.1f} to {100 * f[2]:5.1f})" if f else "–" for f in figures]
        print(
            f"{seconds + ' s':<8}{row['trials']:7d}  {row['threshold']:9.3f}  " + "  ".join(f"{w:<22}" for w in words)
        )
    streamed = {}
    for what, of_enrolled, field in (
        ("right name", True, 2),
        ("another's name", True, 3),
        ("a stranger given a name", False, 3),
    ):
        chosen = [(row[0], row[field]) for row in live if row[1] == of_enrolled]
        shares = np.array([share for _, share in chosen])
        found = over_speakers([name for name, _ in chosen], lambda i, shares=shares: float(shares[i].mean()))
        streamed[what] = [found.value, found.low, found.high]
        print(f"listening, events: {what:<24} {found.value:6.1%} ({found.low:.1%} to {found.high:.1%})")
    print(
        json.dumps(
            {
                "asked": asked.far,
                "calibrate_on": asked.calibrate_on,
                "impostors": len(impostors),
                "voices": len(names),
                "by_seconds": rows,
                "all": whole,
                "events": streamed,
            }
        )
    )


if __name__ == "__main__":
    main()
