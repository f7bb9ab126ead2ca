"""Confirmation of labels: Decisions in, the same out one segment later; a label stands only where two in a row bear it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.trackers.tracker import Decision, Stranger, Tracker

__all__ = ["Confirmed"]


class Confirmed:
    """A tracker whose decisions wait for the next one: it, or the one before, must agree, or the label is `doubt`."""

    def __init__(self, tracker: Tracker, doubt: str) -> None:
        self._tracker = tracker
        self._doubt = doubt
        self._held: Decision | None = None
        self._agreed = False  # whether the one held has the label of the one before it

    def speech(self, segment: Segment, embedding: NDArray[np.float32]) -> list[Decision]:
        """A segment in which somebody speaks, with its embedding [1, D]."""
        return self._pass_on(self._tracker.speech(segment, embedding))

    def silence(self, segment: Segment) -> list[Decision]:
        """A segment in which hardly anybody speaks: nothing will confirm what is held."""
        return [*self._pass_on(self._tracker.silence(segment)), *self._release(confirmed=False)]

    def finish(self) -> list[Decision]:
        """The end of the stream."""
        return [*self._pass_on(self._tracker.finish()), *self._release(confirmed=False)]

    def speaker(self, name: str) -> None:
        """Who speaks now: for the tracker itself."""
        self._tracker.speaker(name)

    def stranger(self, label: str) -> Stranger | None:
        """What the tracker itself remembers."""
        return self._tracker.stranger(label)

    def renamed(self, label: str, name: str) -> None:
        """Another name for somebody, also in what is held."""
        self._tracker.renamed(label, name)
        if self._held and self._held.label == label:
            self._held = replace(self._held, label=name)

    def _pass_on(self, decisions: list[Decision]) -> list[Decision]:
        passed = []
        for decision in decisions:
            agrees = self._held is not None and self._held.label == decision.label
            passed += self._release(confirmed=agrees)
            self._held, self._agreed = decision, agrees
        return passed

    def _release(self, *, confirmed: bool) -> list[Decision]:
        held, self._held = self._held, None
        if held is None:
            return []
        return [held if confirmed or self._agreed else replace(held, label=self._doubt)]
