"""Impostor and target scores, from which a threshold is calibrated: recordings in, Scores by seconds of speech out.

Two ways: a trial list (one person's voice against one recording), or a folder of people who are not enrolled, each
held against everybody in the gallery, the most alike counting, as when listening.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.readers.folder import SUFFIXES
from edge_lupi.data.trials import Trial, check_recordings, speakers_of
from edge_lupi.disk import kind_of
from edge_lupi.errors import InputError
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.voice import EXEMPLAR_SEGMENTS, Speech, exemplars, pieces
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery

__all__ = ["DURATIONS_SECONDS", "Scores", "people_in", "scores_of_impostors", "scores_of_trials"]

Array = NDArray[np.float32]
DURATIONS_SECONDS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)


@dataclass(frozen=True, eq=False)
class Scores:
    """Cosines [N] of trials with so many seconds of speech: is it who it is held against [N], and who speaks, a number [N]."""

    seconds: float
    values: NDArray[np.float64]
    targets: NDArray[np.bool_]
    speakers: NDArray[np.int64]

    @property
    def impostors(self) -> set[int]:
        """Who speaks where it is somebody else."""
        return set(self.speakers[~self.targets].tolist())


def people_in(folder: Path) -> dict[str, list[Path]]:
    """The recordings in a folder by who speaks: `folder/<person>/*.wav`; a file that lies in the folder itself is a person."""
    if kind_of(folder) != "folder":
        raise InputError(f"expected a folder of recordings at {folder}, got none: check the path")
    people: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and kind_of(path) == "file":
            parts = path.relative_to(folder).parts
            people.setdefault(parts[0], []).append(path)
    if not people:
        raise InputError(f"expected recordings ({', '.join(sorted(SUFFIXES))}) in {folder}, got none: check the path")
    return people


def scores_of_impostors(
    student: CompiledStudent, gallery: Gallery, people: Mapping[str, Iterable[Path]]
) -> list[Scores]:
    """How like the most alike of the gallery each piece of each impostor's speech is.

    Targets are the gallery's own exemplars, each against the others of its person, at the duration next to theirs: few,
    and of the recordings that people were enrolled with, so their misses are a rough guess.
    """
    if not gallery.names:
        raise InputError(
            f"expected people in {gallery.path}, got nobody: enrol those who are to be known, then calibrate"
        )
    enrolled = np.concatenate([gallery.exemplars(name) for name in gallery.names])
    values: dict[float, list[Array]] = {seconds: [] for seconds in DURATIONS_SECONDS}
    speakers: dict[float, list[int]] = {seconds: [] for seconds in DURATIONS_SECONDS}
    for number, files in enumerate(people.values()):
        embeddings = [_embeddings(student, file) for file in files]
        for seconds in DURATIONS_SECONDS:
            for spoken in embeddings:
                voices = pieces(student, spoken, seconds)
                gallery.check_width(voices.shape[1] if len(voices) else enrolled.shape[1])
                values[seconds].append((voices @ enrolled.T).max(1) if len(voices) else np.zeros(0, np.float32))
                speakers[seconds] += [number] * len(voices)
    cut = student.segmentation
    near = min(DURATIONS_SECONDS, key=lambda s: abs(s - cut.seconds - (EXEMPLAR_SEGMENTS - 1) * cut.hop_seconds))
    own = {near: _own_scores(gallery)}
    return [
        _scores(seconds, np.concatenate(values[seconds]), speakers[seconds], own.get(seconds, []))
        for seconds in DURATIONS_SECONDS
    ]


def scores_of_trials(student: CompiledStudent, trials: Sequence[Trial]) -> list[Scores]:
    """Every trial's first recording, enrolled, against the pieces of its second. Who speaks follows from the target trials."""
    check_recordings(trials)
    embeddings = {file: _embeddings(student, file) for file in sorted({f for t in trials for f in (t.enrol, t.test)})}
    enrolled = {t.enrol: exemplars(student, embeddings[t.enrol]) for t in trials if len(embeddings[t.enrol])}
    who = speakers_of(trials)
    scores = []
    for seconds in DURATIONS_SECONDS:
        voices = {file: pieces(student, embeddings[file], seconds) for file in {trial.test for trial in trials}}
        usable = [t for t in trials if t.enrol in enrolled and len(voices[t.test])]
        values = [(voices[t.test] @ enrolled[t.enrol].T).max(1) for t in usable]
        counts = [len(value) for value in values]
        scores.append(
            Scores(
                seconds,
                np.concatenate([*values, np.zeros(0)]).astype(np.float64),
                np.repeat(np.array([t.target for t in usable], bool), counts),
                np.repeat(np.array([who[t.test] for t in usable], np.int64), counts),
            )
        )
    return scores


def _own_scores(gallery: Gallery) -> list[float]:
    scores: list[float] = []
    for name in gallery.names:
        likeness = gallery.exemplars(name) @ gallery.exemplars(name).T
        np.fill_diagonal(likeness, -1)
        scores += likeness.max(1).tolist() if len(likeness) > 1 else []
    return scores


def _scores(seconds: float, impostors: Array, speakers: Sequence[int], own: Sequence[float]) -> Scores:
    """`own` are target trials of nobody that counts as an impostor: speaker -1."""
    return Scores(
        seconds,
        np.concatenate([impostors, own]).astype(np.float64),
        np.arange(len(impostors) + len(own)) >= len(impostors),
        np.array([*speakers, *[-1] * len(own)], np.int64),
    )


def _embeddings(student: CompiledStudent, file: Path) -> Array:
    speech = Speech(student)
    speech.hear(SoundFile(file))
    return speech.embeddings
