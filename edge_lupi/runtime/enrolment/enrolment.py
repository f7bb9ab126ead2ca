"""Speaker enrolment: sources of a person's speech in, exemplars float32 [n, D] for the gallery out, or an InputError saying why not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.progress import progress
from edge_lupi.runtime.band import NARROW
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.usual import usual_voice
from edge_lupi.runtime.enrolment.voice import Speech, exemplars, voice
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.runtime.sources.source import Source, say
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.speakers.names import checked_name
from edge_lupi.runtime.speakers.recordings import LONGEST_SECONDS, Recordings
from edge_lupi.task import DEFAULT_THRESHOLD, speaker_task
from edge_lupi.words import printable

__all__ = ["Enrolled", "Enrolment", "EnrolmentLimits", "enroll", "likeness_of_halves", "re_embed"]
log = logging.getLogger(__name__)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class EnrolmentLimits:
    """What speech must be like, found on the 20 voices that the LibriSpeech recipe keeps for validation (benchmarks/enrolment.py).

    Clipped so much, 9 of 10 of them still have a cosine of 0.8 with themselves; at this level all have, and in a quiet room the
    microphone's own noise is near. The share is of the
    student's threshold: none of 82 honest recordings fell below it, and 93 % of 200 of two people did.
    """

    speech_seconds: float = 3.0
    level_db: float = -55.0
    clipped_share: float = 0.02
    halves_share: float = 0.8


@dataclass(frozen=True)
class Enrolled:
    """What came of it. `resembles` is another person of the gallery whom the student would take this voice for, if any."""

    name: str
    speech_seconds: float
    exemplars: int
    path: Path
    resembles: tuple[str, float] | None


class Enrolment(Speech):
    """Gathers one person's speech and checks it: level, length, clipping, one voice."""

    def __init__(self, student: CompiledStudent, limits: EnrolmentLimits | None = None) -> None:
        super().__init__(student)
        self.limits = limits or EnrolmentLimits()
        own = student.task.threshold
        self.threshold = DEFAULT_THRESHOLD if own is None else own

    def exemplars(self, earlier: Array | None = None, *, force: bool = False) -> Array:
        """Unit vectors [n, D], one for every few seconds of speech. Raises InputError where the speech will not do.

        `earlier` are the person's exemplars [m, D] so far, which the voice must be like. `force` asks for enough speech only.
        """
        if not force:
            self._check_level()
        self._check_length()
        if not force:
            self._check_clipping()
            self._check_one_voice()
        learnt = exemplars(self._student, self.embeddings)
        if earlier is not None and not force:
            self._check_like(earlier)
        return learnt

    def _check_level(self) -> None:
        if self.level_db < self.limits.level_db:
            raise InputError(
                f"expected speech of at least {self.limits.level_db:.0f} dB of full scale, got {self.level_db:.0f} dB: too quiet; come closer or raise the gain"
            )

    def _check_length(self) -> None:
        if self.speech_seconds < self.limits.speech_seconds or not len(self.embeddings):
            raise InputError(
                f"expected at least {self.limits.speech_seconds:.0f} s of speech, got {self.speech_seconds:.1f} s: too short; speak longer"
            )

    def _check_clipping(self) -> None:
        if self.clipped_share > self.limits.clipped_share:
            raise InputError(
                f"expected at most {self.limits.clipped_share:.0%} of the speech at full scale, got {self.clipped_share:.0%}: clipped; lower the gain or step back, or --force"
            )

    def _check_one_voice(self) -> None:
        likeness, least = likeness_of_halves(self._student, self.embeddings), self.limits.halves_share * self.threshold
        if likeness < least:
            raise InputError(
                f"expected one voice, whose halves have a cosine of at least {least:.2f}, got {likeness:.2f}: two voices; record one person alone, or --force"
            )

    def _check_like(self, earlier: Array) -> None:
        likeness = float((earlier @ voice(self._student, self.embeddings)).max())
        if likeness < self.threshold:
            raise InputError(
                f"expected a voice with a cosine of at least {self.threshold:.2f} to the earlier recordings, got {likeness:.2f}: unlike the earlier recordings; choose another name, or --replace them, or --force"
            )


def likeness_of_halves(student: CompiledStudent, embeddings: Array) -> float:
    """The cosine of the two voices that segment embeddings [S, D] best fall into: near 1 where one person spoke.

    Every segment is heard alone; the two groups lie on either side of the mean along the first principal component.
    """
    alone = np.stack([voice(student, embedding[None]) for embedding in embeddings])
    centred = alone - alone.mean(0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    one = centred @ axis > 0
    if one.all() or not one.any():
        return 1.0
    return float(voice(student, embeddings[one]) @ voice(student, embeddings[~one]))


def enroll(
    name: str,
    bundle: Bundle,
    gallery: str | Path,
    sources: Iterable[Source],
    enough_seconds: float | None = None,
    *,
    replace: bool = False,
    force: bool = False,
    keep_audio: bool = False,
    emotion: Bundle | None = None,
    progress: Callable[[float], None] | None = None,
) -> Enrolled:
    """Add a person's voice to the gallery file. `replace` forgets their earlier ones; `keep_audio` keeps the recordings too.

    For `emotion`, a bundle that decides beside the running average of a voice, that average is kept. With `enough_seconds` (a microphone) the progress, in per cent, is
    given to `progress`, or else logged.
    """
    name = checked_name(name)
    student = CompiledStudent(bundle, speaker_task(bundle).name)
    Gallery.load(gallery, bundle.fingerprint)  # refused before anybody has spoken
    enrolment, recordings = Enrolment(student), list[Array]()
    for source in sources:
        parts = list[Array]()
        with source:
            blocks = _recorded(source, parts) if keep_audio or emotion else source
            if enough_seconds is None:
                enrolment.hear(blocks)
            else:
                enrolment.hear(blocks, enough_seconds=enough_seconds, progress=progress or _Progress())
        recordings += [np.concatenate(parts)] if parts else []
    if enrolment.narrow_band:
        say(f"{name}: {NARROW}")
    with Gallery.changed(gallery, bundle.fingerprint) as known:
        if len(enrolment.embeddings):
            known.check_width(voice(student, enrolment.embeddings).shape[-1])
        known_before = name in known.names
        earlier = known.exemplars(name) if known_before and not replace else None
        learnt = enrolment.exemplars(earlier, force=force)
        if replace and known_before:
            known.remove(name)
        resembles = known.match(voice(student, enrolment.embeddings), leave_out=name)
        known.add(name, learnt, narrow_band=enrolment.narrow_band)
        for samples in recordings if keep_audio else ():
            known.keep(name, samples)
        if emotion and (sounds := usual_voice(emotion, recordings)) is not None:
            known.sounds(name, emotion.fingerprint, sounds)
    close = resembles if resembles and resembles[1] >= enrolment.threshold else None
    return Enrolled(name, enrolment.speech_seconds, len(known.exemplars(name)), known.path, close)


def re_embed(bundle: Bundle, gallery: str | Path) -> Gallery:
    """The gallery file made anew for another student, from the recordings that were kept. All of it or nothing."""
    student = CompiledStudent(bundle, speaker_task(bundle).name)
    recordings = Recordings(gallery)
    with Gallery.changed(gallery) as known:
        without = [name for name in known.names if not recordings.of(name)]
        if without or not known.names:
            raise InputError(
                f"expected recordings of everybody in {printable(str(gallery))}, got none of {', '.join(without) or 'anybody'}: enrol them anew, with --keep-audio for another time"
            )
        known.learn_again(bundle.fingerprint, {name: _learnt(student, recordings.of(name)) for name in known.names})
    return known


def _learnt(student: CompiledStudent, recordings: Iterable[Path]) -> Array:
    """Exemplars [n, D] of somebody's recordings, each for itself, oldest first."""
    exemplars_of = list[Array]()
    for path in recordings:
        enrolment = Enrolment(student)
        enrolment.hear(SoundFile(path))
        exemplars_of.append(enrolment.exemplars(force=True))
    return np.concatenate(exemplars_of)


def _recorded(source: Iterable[Block], parts: list[Array]) -> Iterator[Block]:
    """The same blocks; the first minute of them is put into `parts`."""
    room = round(LONGEST_SECONDS * 16_000)
    for block in source:
        if room > 0:
            parts.append(block.samples[:room])
            room -= len(block.samples)
        yield block


class _Progress:
    """Per cent, logged as progress: each one often, and the first of every ten."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, percent: float) -> None:
        step = int(percent)
        if step != self._told:
            often = step // 10 == self._told // 10
            progress(log, f"{step:3} % of the speech needed", last=step >= 100, often=often)
            self._told = step
