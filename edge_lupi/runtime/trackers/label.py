"""Label smoothing for emotions: segments and embeddings [1, D] in, Decisions with a label and its probability out.

The segments since the last long pause share one aggregator state. After the pause they join the running average of their voice,
beside which a task that asks for it decides (see `voice`). A label changes late and on purpose: another one takes its place
once it leads by a margin or has led for two segments, and below a stated probability the label is `unsure`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import BundleError, InputError
from edge_lupi.metrics.confidence import probabilities_of
from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.speakers.averages import VoiceSoFar
from edge_lupi.runtime.trackers.tracker import UNKNOWN, Aggregator, Decision
from edge_lupi.runtime.trackers.voice import NOBODY, Voices
from edge_lupi.task import Task

__all__ = ["UNSURE", "LabelTracker", "Smoothing"]

Array = NDArray[np.float32]
UNSURE = "unsure"


@dataclass(frozen=True)
class Smoothing:
    """Label smoothing. `sure` is the least probability of a label: with 0 the best label always stands."""

    sure: float = 0.5
    lead: float = 0.2  # a probability by which another label must be ahead to take its place at once
    patience: int = 2  # segments for which it must be ahead otherwise
    pause_seconds: float = 1.0  # a silence this long ends what was said

    def __post_init__(self) -> None:
        if not 0 <= self.sure < 1:
            raise InputError(f"expected a probability from 0 up to 1 to be sure at, got {self.sure}")


@dataclass(eq=False)
class _Speech:
    """What was said since the last long pause, by whom, from when to when, and its embedding [D] so far."""

    state: Array
    speaker: str = NOBODY
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    utterance: Array | None = None
    label: int | None = None  # the one that stands
    best: int | None = None  # in the last segment,
    ahead: int = 0  # and for so many segments running


class LabelTracker:
    """The label of what was said since the last long pause, and how probable that label is."""

    def __init__(
        self,
        aggregator: Aggregator,
        task: Task,
        smoothing: Smoothing | None = None,
        voices: Voices | None = None,
    ) -> None:
        self._aggregator = aggregator
        self._task = task
        self._smoothing = smoothing or Smoothing()
        self._voices = voices or Voices()
        self._speech = self._begun()

    def states(self, segment: Segment) -> Array:
        """Behind what was said since the last long pause; where another person speaks, new speech begins."""
        self._pause(segment.start_seconds)
        self._turn(segment)
        return self._speech.state

    def speech(self, segment: Segment, embedding: Array, heard: Step | None = None) -> list[Decision]:
        """A segment in which somebody speaks, with its embedding [1, D]; `heard` is that behind `states`."""
        probabilities = self._probabilities(heard or self._aggregator.step(embedding, self.states(segment)))
        label = self._choose(probabilities)
        probability = float(probabilities[label])
        name = self._task.labels[label] if probability >= self._smoothing.sure else UNSURE
        return [Decision(segment.start_seconds, segment.end_seconds, name, probability=probability)]

    def silence(self, segment: Segment) -> list[Decision]:
        """A segment in which hardly anybody speaks."""
        self._pause(segment.end_seconds)
        return []

    def finish(self) -> list[Decision]:
        """The end of the stream; nothing was held back."""
        self._end()
        return []

    def speaker(self, name: str) -> None:
        """Who speaks now: from their next segment on, labels are decided beside the average of their voice."""
        self._voices.speaking = name

    def stranger(self, label: str) -> None:
        """Nothing by which a voice could be told from others."""

    def renamed(self, label: str, name: str) -> None:
        """Another name for somebody: the average of their voice is theirs still."""
        name = NOBODY if name == UNKNOWN else name
        self._voices.rename(label, name)
        if self._speech.speaker == label:
            self._speech.speaker = name

    def _turn(self, segment: Segment) -> None:
        """Where another person speaks, new speech begins. Speech of nobody until now goes on as theirs, once they are named."""
        speech, now = self._speech, self._voices.speaking
        if self._task.voice and speech.speaker not in (NOBODY, now):
            speech = self._speech = self._begun()
        elif self._task.voice and speech.speaker != now:
            self._know_voice(speech)
        if speech.utterance is None:
            speech.start_seconds = segment.start_seconds
        speech.end_seconds = segment.end_seconds

    def _begun(self) -> _Speech:
        speech = _Speech(self._aggregator.initial_state())
        self._know_voice(speech)
        return speech

    def _know_voice(self, speech: _Speech) -> None:
        """From now on beside what the voice was so far."""
        speech.speaker, voice = self._voices.speaking, self._voices.now
        if voice is None and speech.utterance is not None:
            voice = VoiceSoFar(0.0, np.zeros_like(speech.utterance))
        if self._task.voice and voice is not None:
            voice.put_into(speech.state)

    def _end(self) -> None:
        """What was said joins what its voice was so far."""
        speech = self._speech
        if self._task.voice and speech.utterance is not None and speech.speaker == self._voices.speaking:
            self._voices.hear(speech.utterance, speech.end_seconds - speech.start_seconds)
        self._speech = self._begun()

    def _probabilities(self, step: Step) -> Array:
        self._speech.state, self._speech.utterance = step.state, step.embedding[0]
        if step.scores is None or step.scores.shape[-1] != len(self._task.labels):
            raise BundleError(
                f"expected {len(self._task.labels)} scores for task {self._task.name}, got none or others: compile the student anew"
            )
        return probabilities_of(step.scores[0], self._task.temperature)

    def _choose(self, probabilities: Array) -> int:
        """The label that stood before, unless another leads by the margin or has led for long enough."""
        speech, smoothing, best = self._speech, self._smoothing, int(probabilities.argmax())
        speech.ahead = speech.ahead + 1 if best == speech.best else 1
        speech.best = best
        lead = 1.0 if speech.label is None else float(probabilities[best] - probabilities[speech.label])
        if speech.label is None or lead >= smoothing.lead or speech.ahead >= smoothing.patience:
            speech.label = best
        return speech.label

    def _pause(self, now_seconds: float) -> None:
        if now_seconds - self._speech.end_seconds >= self._smoothing.pause_seconds:
            self._end()
