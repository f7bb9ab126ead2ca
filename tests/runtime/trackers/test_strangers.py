"""Voices without a name: likeness, the mean of their turns, and a bounded memory."""

import numpy as np

from edge_lupi.runtime.trackers.strangers import Strangers
from edge_lupi.vectors import unit

A, B, C = np.eye(3, dtype=np.float32)


def test_likeness_is_the_cosine_with_everyone() -> None:
    strangers = Strangers()
    assert strangers.likeness(A) == {}
    strangers.add("speaker 1", A, 3)
    strangers.add("speaker 2", unit(A + B), 1)
    found = strangers.likeness(A)
    assert found.keys() == {"speaker 1", "speaker 2"}
    np.testing.assert_allclose(list(found.values()), [1.0, np.sqrt(0.5)], rtol=1e-6)
    assert "speaker 1" in strangers
    assert "speaker 3" not in strangers


def test_turns_count_by_their_segments() -> None:
    strangers = Strangers()
    strangers.add("speaker 1", A, 3)
    strangers.add("speaker 1", B, 1)
    assert len(strangers) == 1
    np.testing.assert_allclose(strangers.likeness(A)["speaker 1"], 3 / np.sqrt(10), rtol=1e-6)


def test_who_was_heard_longest_ago_is_forgotten() -> None:
    strangers = Strangers(most=2)
    for name, voice in (("speaker 1", A), ("speaker 2", B), ("speaker 1", A), ("speaker 3", C)):
        strangers.add(name, voice, 1)
    assert strangers.likeness(B).keys() == {"speaker 1", "speaker 3"}


def test_who_is_removed_is_not_likened_and_leaves_room() -> None:
    strangers = Strangers(most=3)
    for name, voice in (("speaker 1", A), ("speaker 2", B), ("speaker 3", C)):
        strangers.add(name, voice, 2, seconds=1.5)
    strangers.remove("speaker 1")
    strangers.remove("nobody")
    assert strangers.heard("speaker 1") is None
    assert strangers.likeness(C) == {"speaker 2": 0.0, "speaker 3": 1.0}
    strangers.add("speaker 4", A, 1)
    strangers.add("speaker 3", C, 1, seconds=0.5)
    assert strangers.likeness(A) == {"speaker 2": 0.0, "speaker 3": 0.0, "speaker 4": 1.0}
    voice, seconds = strangers.heard("speaker 3") or (A, 0.0)
    assert (voice.tolist(), seconds) == ([0, 0, 3], 2.0)
