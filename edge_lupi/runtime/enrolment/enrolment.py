"""Speaker enrolment: sources of a person's speech in, exemplars float32 [n, D] for the gallery out, or an InputError saying why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.runtime.band import NARROW
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.halves import halves
from edge_lupi.runtime.enrolment.meter import Meter
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

__all__ = ["Enrolled", "Enrolment", "EnrolmentLimits", "enroll", "re_embed"]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class EnrolmentLimits:
    """What speech must be like, found on voices that the LibriSpeech recipe trains on or keeps for validation (benchmarks/enrolment.py).

    Clipped so much, 9 of 10 of them still have a cosine of 0.8 with themselves; at this level all have, and in a quiet room the
    microphone's own noise is near. `halves_share` is of the student's threshold. So few segments as `odd_segments` that are
    unlike the others are left out rather than refused: one reader in a hundred has them. More of them would be half of an
    exemplar, by which somebody else is then known as well as its owner.
    """

    speech_seconds: float = 3.0
    level_db: float = -55.0
    clipped_share: float = 0.02
    halves_share: float = 0.9
    odd_segments: int = 3
    odd_share: float = 1 / 3


@dataclass(frozen=True)
class Enrolled:
    """What came of it. `resembles` is another person of the gallery whom the student would take this voice for, if any."""

    name: str
    speech_seconds: float
    exemplars: int
    path: Path
    resembles: tuple[str, float] | None


class Enrolment(Speech):
    """Gathers one person's speech and checks it: level, length, clipping, one voice. `left_out` counts segments that were not."""

    def __init__(self, student: CompiledStudent, limits: EnrolmentLimits | None = None) -> None:
        super().__init__(student)
        self.limits = limits or EnrolmentLimits()
        own = student.task.threshold
        self.threshold = DEFAULT_THRESHOLD if own is None else own
        self.left_out = 0

    def exemplars(self, earlier: Array | None = None, *, force: bool = False) -> Array:
        """Unit vectors [n, D], one for every few seconds of speech. Raises InputError where the speech will not do.

        `earlier` are the person's exemplars [m, D] so far, which the voice must be like. `force` asks for enough speech only.
        """
        if not force:
            self._check_level()
        self._check_length()
        if not force:
            self._check_clipping()
            self._leave_one_voice()
        learnt = exemplars(self._student, self.embeddings)
        if earlier is not None and not force:
            self._check_like(earlier)
        return learnt

    def _check_level(self) -> None:
        if not len(self.embeddings):
            raise InputError(
                f"expected at least {self.limits.speech_seconds:.0f} s of speech, got none, and sound of at most {self.level_db:.0f} dB of full scale: nobody spoke; come closer, raise the gain, or choose another recording"
            )
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
                f"expected at most {self.limits.clipped_share:.0%} of the speech at full scale, got {self.clipped_share:.0%}: clipped; lower the gain or step back, or force it",
                options=("force",),
            )

    def _leave_one_voice(self) -> None:
        """Leave out a few segments that are unlike the others; refuse where they are too many."""
        least, most = self.limits.halves_share * self.threshold, self.limits.odd_segments
        while (parts := halves(self._student, self.embeddings)).likeness < least:
            odd = int(parts.is_odd.sum())
            if self.left_out + odd > most or odd > self.limits.odd_share * len(self._embeddings):
                raise self._two_voices(parts.likeness, least)
            self.left_out += odd
            self._embeddings = list(self.embeddings[~parts.is_odd])

    @staticmethod
    def _two_voices(likeness: float, least: float) -> InputError:
        return InputError(
            f"expected one voice, whose halves have a cosine of at least {least:.2f}, got {likeness:.2f}: two voices; record one person alone, or force it",
            options=("force",),
        )

    def _check_like(self, earlier: Array) -> None:
        likeness = float((earlier @ voice(self._student, self.embeddings)).max())
        if likeness < self.threshold:
            raise InputError(
                f"expected a voice with a cosine of at least {self.threshold:.2f} to the earlier recordings, got {likeness:.2f}: unlike the earlier recordings; choose another name, replace them, or force it",
                options=("replace", "force"),
            )


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
    enrolment, recordings, silent = Enrolment(student), list[Array](), list[str]()
    for source in sources:
        parts, before = list[Array](), len(enrolment.embeddings)
        with source:
            blocks = _recorded(source, parts) if keep_audio or emotion else source
            if enough_seconds is None:
                enrolment.hear(blocks)
            else:
                told = progress or Meter(enrolment, enough_seconds)
                enrolment.hear(blocks, enough_seconds=enough_seconds, progress=told)
        recordings += [np.concatenate(parts)] if parts else []
        silent += [source.title] if len(enrolment.embeddings) == before else []
    if silent and len(enrolment.embeddings):
        say(f"{name}: nobody spoke in {' and '.join(silent)}")
    if enrolment.narrow_band:
        say(f"{name}: {NARROW}")
    with Gallery.changed(gallery, bundle.fingerprint) as known:
        if len(enrolment.embeddings):
            known.check_width(voice(student, enrolment.embeddings).shape[-1])
        known_before = name in known.names
        earlier = known.exemplars(name) if known_before and not replace else None
        learnt = enrolment.exemplars(earlier, force=force)
        if enrolment.left_out:
            say(f"{name}: {enrolment.left_out} segments that sound like somebody else are left out")
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
                f"expected recordings of everybody in {printable(str(gallery))}, got none of {', '.join(without) or 'anybody'}: enrol them anew, and keep the audio for another time",
                options=("keep_audio",),
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
