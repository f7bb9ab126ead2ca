import numpy as np

from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.trackers.confirm import Confirmed
from edge_lupi.runtime.trackers.tracker import Decision

EMBEDDING = np.zeros((1, 4), np.float32)


class Saying:
    """A tracker that says these labels, one a segment; None: nothing yet."""

    def __init__(self, labels: list[str | None]) -> None:
        self._labels = iter(labels)

    def speech(self, segment: Segment, embedding: np.ndarray) -> list[Decision]:
        label = next(self._labels)
        return [] if label is None else [Decision(segment.start_seconds, segment.end_seconds, label, 0.5)]

    def silence(self, segment: Segment) -> list[Decision]:
        return []

    def finish(self) -> list[Decision]:
        return []


def _told(labels: list[str | None]) -> list[tuple[float, str]]:
    """(when told, label) of every finding; `-` is a silent segment."""
    confirmed, told = Confirmed(Saying([label for label in labels if label != "-"]), "?"), []
    for index, label in enumerate(labels):
        segment = Segment(np.zeros((80, 1, 100), np.float32), index * 0.5, index * 0.5 + 1, 1.0, -20)
        found = confirmed.silence(segment) if label == "-" else confirmed.speech(segment, EMBEDDING)
        told += [(index, finding.label) for finding in found]
    return told + [(len(labels), finding.label) for finding in confirmed.finish()]


def test_a_label_is_told_when_the_next_segment_agrees() -> None:
    assert _told(["a", "a", "a"]) == [(1, "a"), (2, "a"), (3, "a")]


def test_a_label_alone_is_doubt() -> None:
    assert _told(["a", "a", "b", "a", "a"]) == [(1, "a"), (2, "a"), (3, "?"), (4, "a"), (5, "a")]
    assert _told(["a"]) == [(1, "?")]


def test_silence_does_not_keep_what_is_held_waiting() -> None:
    assert _told(["a", "a", "-", "b", "-"]) == [(1, "a"), (2, "a"), (4, "?")]


def test_what_the_tracker_holds_back_itself_is_waited_for() -> None:
    assert _told(["a", None, "a", "-"]) == [(2, "a"), (3, "a")]
