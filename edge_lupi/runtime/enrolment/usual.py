"""Average voice of an enrolled person, to a student with labels: recordings float32 [T] -> VoiceSoFar."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.listening.ears import ear_of
from edge_lupi.runtime.listening.listening import Listening
from edge_lupi.runtime.sources.block import Block
from edge_lupi.runtime.speakers.averages import VoiceSoFar
from edge_lupi.runtime.trackers.label import LabelTracker
from edge_lupi.runtime.trackers.tracker import Tracker
from edge_lupi.runtime.trackers.voice import Voices

__all__ = ["usual_voice", "voice_task"]


def voice_task(bundle: Bundle) -> str | None:
    """The task of a bundle that decides beside the running average of a voice; None where it has none."""
    return next((task.name for task in bundle.tasks.values() if task.voice), None)


def usual_voice(bundle: Bundle, recordings: Iterable[NDArray[np.float32]]) -> VoiceSoFar | None:
    """The running average of a voice after these recordings, as `listen` would have it; None where nobody spoke, or the bundle does not ask."""
    name = voice_task(bundle)
    if name is None:
        return None
    ear, voices = ear_of(CompiledStudent(bundle, name)), Voices()

    def trackers() -> dict[str, Tracker]:
        return {name: LabelTracker(ear.branches[name], ear.student.task, voices=voices)}

    for samples in recordings:
        listening = Listening([ear], trackers, notify=lambda notice: None)
        listening.push(Block(samples))
        listening.finish()
    return voices.now
