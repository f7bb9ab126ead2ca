"""Emotion by corpus: bundles on people they have not heard, with and without what the voice was so far.

python benchmarks/emotion_corpora.py BUNDLE_OR_PT [...] [--name shipped] [--trusted 2] [--out benchmarks/results/emotion_corpora.md]

Several models are one in several folds: each tells the RAVDESS actors that it has not heard, all together and fold by fold;
elsewhere the mean over them counts. A student.pt is compiled first, in int8 where it has ranges. The voice's own average is carried from clip to clip as
`listen` carries it, in two orders: all moods as often as RAVDESS has them, and a life that is mostly neutral, of which 85 % of
twenty clips before each are neutral or calm. 96 readers: the 48 held-out LibriSpeech voices and 48 others that
train/emotion_voice.toml leaves out (benchmarks/readers.txt), event by event as `listen` tells them: at once, and either half of a
recording after two minutes of the other. On another corpus the
labels that both have count; a calibration error (ECE) is of all that the model may say. Intervals: 95 % bootstrap over
speakers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sounds import data_root

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.device.processor import environment
from edge_lupi.evaluate.unheard import unheard
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.metrics.bootstrap import Interval, bootstrap
from edge_lupi.metrics.classification import uar
from edge_lupi.metrics.confidence import calibration_error, probabilities_of
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.speakers import averages
from edge_lupi.runtime.trackers.label import UNSURE, LabelTracker
from edge_lupi.runtime.trackers.voice import Voices

Array = NDArray[np.float32]
USUAL = ("neutral", "calm")
USUAL_SHARE = 0.85
BEFORE = 20  # clips of a life that is mostly neutral
DRAWS = 3
TRIM_DB = 30.0
KNOWN_SECONDS = 120.0  # of reading, where a reader is somebody heard before
READERS = Path(__file__).with_name("readers.txt")
ORDERS = ("alone", "all moods alike", "mostly neutral")


@dataclass(frozen=True, eq=False)
class Clip:
    """An utterance heard but for its last step: what `tell` needs to answer beside any voice."""

    utterance: Utterance
    state: Array
    last: Array
    embedding: Array
    seconds: float


@dataclass(frozen=True, eq=False)
class Told:
    """Answers of one corpus in one order: scores [N, C], the truth [N] among the labels, and whose they are [N]."""

    scores: Array
    truth: NDArray[np.int64]
    speakers: list[str]


class Model:
    """A bundle, and what it heard."""

    def __init__(self, path: Path, folder: Path) -> None:
        bundle = Bundle.load(compiled(path, folder))
        self.student = CompiledStudent(bundle, "emotion")
        self.labels = self.student.task.labels
        self.origin = bundle.provenance
        self.fold = str(self.origin.section("data").get("test"))
        self._heard: dict[str, list[Clip]] = {}

    def clips(self, folder: str) -> list[Clip]:
        """The utterances of a corpus's people whom training has not heard, with a label that the model knows."""
        if folder not in self._heard:
            kept, _ = unheard(read_corpus(data_root() / folder, task="emotion"), self.origin)
            self._heard[folder] = [self._hear(u) for u in kept if u.label in self.labels]
        return self._heard[folder]

    def _hear(self, utterance: Utterance) -> Clip:
        samples, _ = read_speech(utterance, TRIM_DB)
        state = self.student.initial_state()
        for segment in self.student.segments(samples):
            before, last = state, self.student.encode(segment[None])
            step = self.student.step(last, before)
            state = step.state
        return Clip(utterance, before, last, step.embedding[0], len(samples) / SAMPLE_RATE_HZ)

    def tell(self, clip: Clip, voices: Voices) -> Array:
        """Scores [C] of a clip beside what its voice was so far."""
        state = clip.state.copy()
        if self.student.task.voice and voices.now is not None:
            voices.now.put_into(state)
        scores = self.student.step(clip.last, state).scores
        assert scores is not None
        return scores[0]

    def told(self, clips: Sequence[Clip], order: str) -> Told:
        """Every clip, after those that came before it in this order."""
        found: list[tuple[Array, Clip]] = []
        for speaker in sorted({str(clip.utterance.speaker) for clip in clips}):
            own = [clip for clip in clips if clip.utterance.speaker == speaker]
            for draw in range(1 if order == "alone" else DRAWS):
                found += self._in_order(own, order, np.random.default_rng([draw, len(own)]))
        truth = np.array([self.labels.index(clip.utterance.label) for _, clip in found])
        return Told(np.stack([scores for scores, _ in found]), truth, [str(c.utterance.speaker) for _, c in found])

    def _in_order(self, clips: Sequence[Clip], order: str, draw: np.random.Generator) -> Iterator[tuple[Array, Clip]]:
        voices = Voices()
        for place in draw.permutation(len(clips)):
            clip = clips[place]
            if order != "all moods alike":
                voices = Voices()
            if order == "mostly neutral":
                for other in life(clip, clips, draw):
                    voices.hear(other.embedding, other.seconds)
            yield self.tell(clip, voices), clip
            voices.hear(clip.embedding, clip.seconds)


def life(clip: Clip, clips: Sequence[Clip], draw: np.random.Generator) -> Iterator[Clip]:
    """What somebody said before a clip: other clips of theirs, most of them neutral or calm."""
    others = [other for other in clips if other is not clip]
    usual = [other for other in others if other.utterance.label in USUAL] or others
    for _ in range(BEFORE):
        pool = usual if draw.random() < USUAL_SHARE else others
        yield pool[draw.integers(len(pool))]


def compiled(path: Path, folder: Path) -> Path:
    """A bundle of a student.pt."""
    if path.suffix != ".pt":
        return path
    from edge_lupi.compile.student import compile_student

    out = folder / f"{path.parent.name}-{path.stem}-{len(list(folder.iterdir()))}.lupi"
    compile_student(path, out)
    return out


def recall(told: Sequence[Told], shared: Sequence[int] | None = None) -> Interval:
    """UAR of all answers together, the best among the labels that count."""
    columns = np.arange(told[0].scores.shape[1]) if shared is None else np.array(shared)
    said = np.concatenate([columns[one.scores[:, columns].argmax(1)] for one in told])
    truth = np.concatenate([one.truth for one in told])
    speakers = [speaker for one in told for speaker in one.speakers]
    return bootstrap(lambda i: uar(truth[i], said[i]), groups=speakers)


def ece(told: Sequence[Told], temperatures: Sequence[float]) -> Interval:
    """Of all that the models may say, each at its own temperature."""
    probabilities = np.concatenate(
        [probabilities_of(t.scores, heat) for t, heat in zip(told, temperatures, strict=True)]
    )
    truth = np.concatenate([one.truth for one in told])
    speakers = [speaker for one in told for speaker in one.speakers]
    return bootstrap(lambda i: calibration_error(probabilities[i], truth[i]), groups=speakers)


def read_aloud(model: Model) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(reader, label told) of every event of the 96 readers; and of either half once the other was heard for two minutes."""
    listed = set(READERS.read_text().split())
    at_once, later = list[tuple[str, str]](), list[tuple[str, str]]()
    for utterance in read_corpus(data_root() / "librispeech_excerpts").utterances:
        if utterance.speaker in listed or utterance.split == "held_out":
            samples, reader = read_speech(utterance, TRIM_DB)[0], str(utterance.speaker)
            at_once += [(reader, label) for label in labels_told(model, samples, Voices())]
            middle = len(samples) // 2
            for before, after in ((samples[:middle], samples[middle:]), (samples[middle:], samples[:middle])):
                voices = Voices()
                labels_told(model, before, voices)
                if voices.now is not None:  # their average stays, and counts as one of so much more
                    voices.hear(voices.now.mean, KNOWN_SECONDS)
                later += [(reader, label) for label in labels_told(model, after, voices)]
    return at_once, later


def labels_told(model: Model, samples: Array, voices: Voices) -> list[str]:
    """Of every event of a stretch of speech, which then joins what its voice was."""
    tracker = LabelTracker(model.student.branches["emotion"], model.student.task, voices=voices)
    cut, told = model.student.segmentation, list[str]()
    for place, frames in enumerate(model.student.segments(samples)):
        begin = place * cut.hop_seconds
        segment = Segment(frames, begin, begin + cut.seconds, 1.0, -20.0)
        told += [finding.label for finding in tracker.speech(segment, model.student.encode(frames[None]))]
    tracker.finish()
    return told


def share(events: Sequence[tuple[str, str]], labels: Sequence[str]) -> Interval:
    """Of the events that bear one of these labels, over readers."""
    hits = np.array([label in labels for _, label in events], float)
    return bootstrap(lambda i: float(hits[i].mean()), groups=[reader for reader, _ in events])


def figures(models: Sequence[Model]) -> dict[str, Interval]:
    """All that is measured, by its name."""
    found: dict[str, Interval] = {}
    heat = [model.student.task.temperature for model in models]
    orders = ORDERS if models[0].student.task.voice else ORDERS[:1]
    for folder, name in (("ravdess_av", "RAVDESS"), ("emodb", "EmoDB")):
        known = [model for model in models if model.clips(folder)]
        trained_on = any(folder.split("_")[0] in said_of(model) for model in models)
        shared = None
        if not trained_on and known:
            theirs = {clip.utterance.label for clip in known[0].clips(folder)}
            shared = [place for place, label in enumerate(known[0].labels) if label in theirs]
        for order in orders if known else ():
            told = [model.told(model.clips(folder), order) for model in known]
            what = f"{len(shared)} shared labels" if shared else "people not heard"
            found[f"UAR {name}, {what}, {order}"] = recall(told, shared)
            if trained_on and len(told) > 1:
                folds = [(model.fold, recall([one])) for model, one in zip(known, told, strict=True)]
                found |= {f"UAR {name}, {what}, {order}, {fold}": value for fold, value in folds}
            found[f"ECE {name}, {order}"] = ece(told, heat[: len(told)])
    aloud = [read_aloud(model) for model in models]
    for place, when in enumerate(("readers", "readers after two minutes")):
        events = [event for each in aloud for event in each[place]]
        found[f"{when}: neutral or unsure"] = share(events, ("neutral", UNSURE))
        found[f"{when}: neutral"] = share(events, ("neutral",))
        found[f"{when}: wrong emotion"] = share(events, [x for x in models[0].labels if x != "neutral"])
    return found


def said_of(model: Model) -> Sequence[str]:
    """The corpora that a model was trained on."""
    return [model.origin.corpus or "", *(model.origin.corpora or ())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--name", default="")
    parser.add_argument("--out", type=Path, help="a page of results, to which a column's worth of lines is added")
    parser.add_argument("--trusted", type=float, default=averages.TRUSTED_CLIPS, help="clips that an average counts as")
    arguments = parser.parse_args()
    averages.TRUSTED_CLIPS = arguments.trusted
    with tempfile.TemporaryDirectory() as folder:
        models = [Model(path, Path(folder)) for path in arguments.models]
    name = arguments.name or arguments.models[0].name
    found = figures(models)
    told = {key: f"{100 * v.value:.1f} ({100 * v.low:.1f} to {100 * v.high:.1f})" for key, v in found.items()}
    print("\n".join(f"{key:<55}{words}" for key, words in told.items()))
    if arguments.out:
        write_page(arguments.out, name, told)
    print(json.dumps({"model": name, **{key: asdict(interval) for key, interval in found.items()}}))


def write_page(path: Path, name: str, told: dict[str, str]) -> None:
    """Add a model to the page, or take the place of an earlier one of its name."""
    cells = [cell for cell in (line.split(" | ") for line in _lines(path)) if len(cell) == 3]
    rows = [[cell.strip("| ") for cell in row] for row in cells if row[0].startswith("| ")]
    kept = [row for row in rows if row[0] not in (name, "model", "---")]
    kept += [[name, key, words] for key, words in told.items()]
    head = f"# Emotion by corpus, %\n\npython benchmarks/emotion_corpora.py MODEL ... --out {path.name}; {environment()['cpu']}, {date.today()}\n"
    table = ["| model | figure | % (95 %) |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in kept)]
    path.write_text(f"{head}\n" + "\n".join(table) + "\n")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
