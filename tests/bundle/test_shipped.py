"""The shipped students on real voices that none of them was trained with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mode

import numpy as np
import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.sound.audio import read_audio

STUDENTS = Path(__file__).parents[2] / "train" / "students"
NEAR = {"speaker": 0.97, "emotion": 0.99}  # 73 int8 layers one after another, and 19
CORPORA = {"speaker": ("librispeech_excerpts", "held_out"), "emotion": ("ravdess_av", "fold0")}


def held_out(data_root: Path, task: str, count: int) -> list[np.ndarray]:
    folder, split = CORPORA[task]
    found = [u for u in read_corpus(data_root / folder).utterances if u.split == split]
    return [read_audio(u.audio) for u in found[:: max(1, len(found) // count)]][:count]


def blocks(samples: np.ndarray, size: int) -> Iterator[Block]:
    return (Block(samples[start : start + size], 0.0) for start in range(0, len(samples), size))


@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_int8_bundle_says_what_the_float_student_says(data_root: Path, task: str) -> None:
    from edge_lupi.evaluate.trained import student_answerer
    from edge_lupi.models.files import load_student

    trained = load_student(STUDENTS / f"{task}.pt")
    trained = replace(trained, ranges={})  # the same weights in float
    answer, compiled = student_answerer(trained), CompiledStudent(Bundle.load(shipped_bundle(task)))
    agree = []
    for samples in held_out(data_root, task, 40):
        wanted, got = answer(samples, None), compiled.utterance(samples)
        cosine = wanted.embedding @ got.embedding[0]
        assert cosine > NEAR[task] * np.linalg.norm(wanted.embedding) * np.linalg.norm(got.embedding)
        if wanted.scores is not None and got.scores is not None:
            agree.append(wanted.scores.argmax() == got.scores[0].argmax())
    assert np.mean(agree or [True]) >= 0.95


@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_events_do_not_depend_on_the_size_of_blocks(data_root: Path, task: str) -> None:
    samples = np.concatenate(held_out(data_root, task, 4))
    listener = Listener(shipped_bundle(task), task)
    told = {
        size: [(e.start, e.time, e.label) for e in listener.listen(blocks(samples, size))]
        for size in (160, 1_601, 16_000)
    }
    assert told[160]
    assert told[160] == told[1_601] == told[16_000]


def test_two_people_in_turn_are_told_apart(data_root: Path) -> None:
    """Halves of two readings in the order A, B, A, B: the commonest label within each half says who."""
    a, a_again, b, b_again = (
        read_audio(u.audio)
        for u in sorted(read_corpus(data_root / "librispeech_excerpts").utterances, key=lambda u: u.name)
        if u.split == "held_out" and u.speaker in ("1040", "1502")
    )
    order = [a, b, a_again, b_again]
    ends = np.cumsum([len(part) for part in order]) / 16_000
    events = list(Listener(shipped_bundle("speaker")).listen(blocks(np.concatenate(order), 1_600)))
    labels = [
        mode(e.label for e in events if e.start >= end - len(part) / 16_000 and e.time <= end)
        for part, end in zip(order, ends, strict=True)
    ]
    assert labels[0] == labels[2]
    assert labels[1] == labels[3]
    assert labels[0] != labels[1]
