"""The same speech, quieter, with a constant added, as telephones give it: for how many people is the name still right?

    python benchmarks/conditions.py --data $EDGE_LUPI_DATA/librispeech_excerpts

Twenty of the 48 held-out voices are enrolled from the first half of their speech as it is, and their second half is listened
to under each condition. Right is a recording most of whose events bear the name. Also told: how much of it events cover.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import soxr

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.splits import split
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.enrolment import Enrolment
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery

Samples = np.ndarray
RATE_HZ = 16_000
CONDITIONS = ("-20 dB", "-30 dB", "-40 dB", "-50 dB", "constant 0.1", "8 kHz", "A-law, 8 kHz", "A-law, 16 kHz")


def write(path: Path, samples: Samples, condition: str) -> None:
    """As 16-bit WAV, or in A-law; at -26 dB where the condition says no level."""
    level_db = float(condition.split()[0]) if condition.endswith("dB") else -26.0
    sound = samples * 10 ** (level_db / 20) / np.sqrt(np.mean(samples**2))
    rate_hz = 8_000 if "8 kHz" in condition else RATE_HZ
    sound = soxr.resample(sound, RATE_HZ, rate_hz) + (0.1 if condition.startswith("constant") else 0.0)
    subtype = "ALAW" if condition.startswith("A-law") else "PCM_16"
    soundfile.write(path, np.clip(sound, -1, 1), rate_hz, subtype=subtype)


def heard(listener: Listener, path: Path) -> tuple[str, float]:
    """The name that most events bear, and the share of the recording that events cover."""
    events = list(listener.listen(SoundFile(path)))
    covered = np.zeros(round(100 * listener.statistics.heard_seconds), bool)
    for event in events:
        covered[round(100 * event.start) : round(100 * event.time)] = True
    names = Counter(event.label for event in events)
    return (names.most_common(1)[0][0] if names else ""), float(covered.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", type=int, default=20)
    asked = parser.parse_args()
    bundle = Bundle.load(asked.bundle or shipped_bundle("speaker"))
    sides = split(read_corpus(asked.data), "held_out", validation_speakers=0.1, seed=0)
    voices: dict[str, list[Path]] = {}
    for utterance in sorted(sides.test, key=lambda utterance: utterance.name):
        voices.setdefault(utterance.label, []).append(utterance.audio)
    names = sorted(voices)[: asked.people]
    student, rows = CompiledStudent(bundle), {}
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery(Path(folder) / "speakers.json", bundle.fingerprint)
        for name in names:
            enrolment = Enrolment(student)
            enrolment.hear(SoundFile(voices[name][0]))
            gallery.add(name, enrolment.exemplars(force=True))
        listener = Listener(bundle, "speaker", gallery)
        for condition in CONDITIONS:
            found = {}
            for name in names:
                path = Path(folder) / "heard.wav"
                write(path, soundfile.read(voices[name][1])[0], condition)
                found[name] = heard(listener, path)
            right = sum(label == name for name, (label, _) in found.items())
            another = sum(label in names and label != name for name, (label, _) in found.items())
            covered = float(np.mean([share for _, share in found.values()]))
            rows[condition] = {"right": right, "another": another, "covered": covered}
            print(
                f"{condition:<14} {right:2d} of {len(names)} right, {another} another's name, {covered:.0%} heard",
                flush=True,
            )
    print(json.dumps({"people": len(names), **rows}))


if __name__ == "__main__":
    main()
