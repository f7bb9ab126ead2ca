"""How somebody usually sounds to a student that tells labels: recordings float32 [T] of one person -> their voice so far."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.segments import SPEECH_SHARE, Segmenter
from edge_lupi.runtime.speakers.averages import VoiceSoFar
from edge_lupi.runtime.trackers.label import LabelTracker
from edge_lupi.runtime.trackers.voice import Voices

__all__ = ["usual_voice", "voice_task"]


def voice_task(bundle: Bundle) -> str | None:
    """The task of a bundle that is told beside what a voice was so far; None where it has none."""
    return next((task.name for task in bundle.tasks.values() if task.voice), None)


def usual_voice(bundle: Bundle, recordings: Iterable[NDArray[np.float32]]) -> VoiceSoFar | None:
    """What `listen` would know of the voice after these recordings; None where nobody spoke, or the bundle does not ask."""
    name = voice_task(bundle)
    if name is None:
        return None
    student, voices = CompiledStudent(bundle, name), Voices()
    for samples in recordings:
        tracker = LabelTracker(student.branches[name], student.task, voices=voices)
        segmenter = Segmenter(student.log_mel, student.segmentation)
        for segment in [*segmenter.push(samples), *segmenter.finish()]:
            if segment.speech_share >= SPEECH_SHARE:
                tracker.speech(segment, student.encode(segment.log_mel[None]))
            else:
                tracker.silence(segment)
        tracker.finish()
    return voices.now
