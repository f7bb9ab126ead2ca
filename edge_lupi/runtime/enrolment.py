"""Learning a voice: sources of a person's speech in, exemplars float32 [n, D] for the gallery out, or a reason why not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.runtime.gallery import Gallery
from edge_lupi.runtime.listener import SPEECH_SHARE
from edge_lupi.runtime.ring import Block
from edge_lupi.runtime.segments import Segment, Segmenter
from edge_lupi.runtime.sources import Source
from edge_lupi.runtime.student import CompiledStudent
from edge_lupi.runtime.tracker import unit

__all__ = ["Enrolment", "enroll"]

Array = NDArray[np.float32]
LEAST_SPEECH_SECONDS = 3.0
LEAST_LEVEL_DB = -45.0  # 25 dB under usual speech; noise and rounding then shape the voice
EXEMPLAR_SEGMENTS = 8  # 4.5 s: about what thresholds are set with
PATIENCE = 3.0  # a microphone is given this many times the seconds asked for


class Enrolment:
    """Hears one person, from any number of sources."""

    def __init__(self, student: CompiledStudent) -> None:
        self._student = student
        self._embeddings: list[Array] = []
        self._powers: list[float] = []
        self._loudest_db = -np.inf
        self.speech_seconds = 0.0

    def hear(
        self,
        source: Iterable[Block],
        *,
        enough_seconds: float = np.inf,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Listen until the source ends or enough speech was heard; `progress` is told the share in per cent."""
        segmenter = Segmenter(self._student.log_mel, self._student.segmentation)
        covered = 0.0
        for block in source:
            if block.gap:
                segmenter.reset()
            for segment in segmenter.push(block.samples):
                self._take(segment, covered)
                covered = segment.end_seconds
            if progress:
                progress(min(100.0, 100 * self.speech_seconds / enough_seconds))
            if self.speech_seconds >= enough_seconds or covered >= PATIENCE * enough_seconds + LEAST_SPEECH_SECONDS:
                return
        for segment in segmenter.finish():
            self._take(segment, covered)

    def exemplars(self) -> Array:
        """Unit vectors [n, D], one for every few seconds of speech. Raises InputError where the speech will not do."""
        self._check()
        count = max(1, round(len(self._embeddings) / EXEMPLAR_SEGMENTS))
        return np.stack([self._voice(part) for part in np.array_split(np.stack(self._embeddings), count)])

    def _take(self, segment: Segment, covered_seconds: float) -> None:
        self._loudest_db = max(self._loudest_db, segment.level_db)
        if segment.speech_share < SPEECH_SHARE:
            return
        self.speech_seconds += segment.speech_share * (
            segment.end_seconds - max(segment.start_seconds, covered_seconds)
        )
        self._powers.append(10 ** (segment.level_db / 10))
        self._embeddings.append(self._student.encode(segment.log_mel[None])[0])

    def _voice(self, embeddings: Array) -> Array:
        state = self._student.initial_state()
        for embedding in embeddings:
            step = self._student.step(embedding[None], state)
            state = step.state
        return unit(step.embedding[0])

    def _check(self) -> None:
        level_db = 10 * np.log10(np.mean(self._powers)) if self._powers else self._loudest_db
        if level_db < LEAST_LEVEL_DB:
            raise InputError(
                f"expected speech of at least {LEAST_LEVEL_DB:.0f} dB of full scale, got {level_db:.0f} dB: too quiet; come closer or raise the gain"
            )
        if self.speech_seconds < LEAST_SPEECH_SECONDS:
            raise InputError(
                f"expected at least {LEAST_SPEECH_SECONDS:.0f} s of speech, got {self.speech_seconds:.1f} s: too short; speak longer"
            )


def enroll(
    name: str, bundle: Bundle, gallery: Gallery, sources: Iterable[Source], enough_seconds: float | None
) -> float:
    """Add a person's voice to the gallery and save it; gives the seconds of speech heard.

    With `enough_seconds` (a microphone) the progress is shown on stderr.
    """
    task = next((task.name for task in bundle.tasks.values() if task.kind == "verification"), None)
    if task is None:
        raise InputError(
            f"expected a bundle for speakers, got {bundle.path.name}, which knows {', '.join(bundle.tasks)}"
        )
    enrolment = Enrolment(CompiledStudent(bundle, task))
    for source in sources:
        with source:
            if enough_seconds is None:
                enrolment.hear(source)
            else:
                enrolment.hear(source, enough_seconds=enough_seconds, progress=_Progress())
    gallery.add(name, enrolment.exemplars())
    gallery.save()
    return enrolment.speech_seconds


class _Progress:
    """Per cent on stderr: rewritten in place on a terminal, else a line for every ten."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = -1

    def __call__(self, percent: float) -> None:
        step = int(percent) if self._live else int(percent) // 10 * 10
        if step == self._shown:
            return
        self._shown = step
        end = "" if self._live and step < 100 else "\n"
        print(f"{chr(13) if self._live else ''}{step:3} % of the speech needed", end=end, file=sys.stderr, flush=True)
