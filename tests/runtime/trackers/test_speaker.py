from pathlib import Path

import numpy as np
import pytest

from edge_lupi.runtime.compiled_student import Step
from edge_lupi.runtime.segments import Segment
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.trackers.speaker import SpeakerTracker
from edge_lupi.runtime.trackers.tracker import Decision
from edge_lupi.vectors import unit

VOICES = np.eye(8, dtype=np.float32)
A, B, C = VOICES[:3]


class MeanOfSegments:
    """An aggregator that keeps count and sum; the scores are the mean itself."""

    def initial_state(self, batch: int = 1) -> np.ndarray:
        return np.zeros((batch, 9), np.float32)

    def step(self, embedding: np.ndarray, state: np.ndarray) -> Step:
        state = state + np.concatenate([np.ones((len(embedding), 1)), embedding], axis=1).astype(np.float32)
        mean = state[:, 1:] / state[:, :1]
        return Step(mean, state, mean)


def _segment(index: int, share: float = 1.0) -> Segment:
    return Segment(np.zeros((80, 1, 100), np.float32), index * 0.5, index * 0.5 + 1.0, share, -20.0)


def _track(voices: list[np.ndarray | None], tracker: SpeakerTracker | None = None, first: int = 0) -> list[Decision]:
    """One voice [8] per segment, None where nobody speaks."""
    tracker = tracker or SpeakerTracker(MeanOfSegments(), 0.5)
    findings = []
    for index, voice in enumerate(voices, first):
        findings += (
            tracker.silence(_segment(index, 0.0)) if voice is None else tracker.speech(_segment(index), voice[None])
        )
    return findings + tracker.finish()


def _labels(findings: list[Decision]) -> list[str]:
    return [finding.label for finding in findings]


class Counted(MeanOfSegments):
    """Counts its calls; `alone` hears one row at a time."""

    def __init__(self, alone: bool = False) -> None:
        self.calls, self._alone = 0, alone

    def step(self, embedding: np.ndarray, state: np.ndarray) -> Step:
        self.calls += 1
        if not self._alone or len(embedding) == 1:
            return super().step(embedding, state)
        steps = [super(Counted, self).step(e[None], s[None]) for e, s in zip(embedding, state, strict=True)]
        return Step(
            *(np.concatenate([getattr(step, part) for step in steps]) for part in ("embedding", "state", "scores"))
        )


def test_a_segment_that_joins_its_turn_asks_the_aggregator_once() -> None:
    voices = [A] * 8 + [B] * 8 + [None] * 3 + [A] * 4
    together, alone = Counted(), Counted(alone=True)
    assert _track(voices, SpeakerTracker(together, 0.5)) == _track(voices, SpeakerTracker(alone, 0.5))
    assert together.calls <= 8 + 8 + 4 + 2  # each segment, and one more where a voice that was held begins a turn


def test_what_was_heard_behind_the_states_is_not_asked_for_again() -> None:
    """As with many streams, whose segments take one step together."""
    voices = [A] * 5 + [None] * 3 + [B] * 4 + [A] * 4
    aggregator = Counted()
    tracker, findings = SpeakerTracker(aggregator, 0.5), []
    for index, voice in enumerate(voices):
        if voice is None:
            findings += tracker.silence(_segment(index, 0.0))
            continue
        states = tracker.states(_segment(index))
        heard = MeanOfSegments().step(voice[None].repeat(len(states), 0), states)
        findings += tracker.speech(_segment(index), voice[None], heard)
    assert findings + tracker.finish() == _track(voices)
    assert aggregator.calls <= 2  # where a voice that was held begins a turn


def test_the_gallery_is_asked_twice_a_segment_of_a_known_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a rival of the segment alone, and for the turn with it."""
    gallery, asked, match = Gallery(tmp_path / "s.json", "s"), list[str | None](), Gallery.match

    def counted(self: Gallery, embedding: np.ndarray, leave_out: str | None = None) -> tuple[str, float] | None:
        asked.append(leave_out)
        return match(self, embedding, leave_out=leave_out)

    gallery.add("alice", A[None])
    gallery.add("bea", B[None])
    monkeypatch.setattr(Gallery, "match", counted)
    assert set(_labels(_track([A] * 10, SpeakerTracker(MeanOfSegments(), 0.5, gallery)))) == {"alice"}
    assert len(asked) <= 2 * 10


def test_a_new_voice_is_named_once_it_has_spoken_for_two_seconds() -> None:
    tracker = SpeakerTracker(MeanOfSegments(), 0.5)
    assert tracker.speech(_segment(0), A[None]) == tracker.speech(_segment(1), A[None]) == []
    (first,) = tracker.speech(_segment(2), A[None])
    assert (first.start_seconds, first.end_seconds, first.label) == (0.0, 2.0, "speaker 1")
    (second,) = tracker.speech(_segment(3), A[None])
    assert (second.start_seconds, second.end_seconds, second.label) == (1.5, 2.5, "speaker 1")


def test_a_new_voice_that_says_less_is_nobody() -> None:
    (finding,) = _track([A, A, None, None, None])
    assert (finding.start_seconds, finding.end_seconds, finding.label) == (0.0, 1.5, "unknown")
    labels = _labels(_track([A] * 3 + [B] * 2 + [A] * 3))
    assert list(dict.fromkeys(labels)) == ["speaker 1", "unknown"]


def test_a_voice_that_is_known_again_is_named_at_once() -> None:
    findings = _track([A] * 3 + [B] * 3 + [A])
    assert (findings[-1].start_seconds, findings[-1].end_seconds, findings[-1].label) == (3.0, 4.0, "speaker 1")


def test_a_voice_like_the_turns_but_more_like_anothers_is_the_others(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "s.json", "s")
    gallery.add("alice", A[None])
    gallery.add("bea", unit(A + 0.8 * B)[None])
    findings = _track([A, A, A, unit(A + 0.8 * B), unit(A + 0.8 * B)], SpeakerTracker(MeanOfSegments(), 0.6, gallery))
    assert [(f.end_seconds, f.label) for f in findings] == [
        (1.0, "alice"),
        (1.5, "alice"),
        (2.0, "alice"),
        (2.5, "bea"),
        (3.0, "bea"),
    ]


def test_two_voices_take_turns_and_keep_their_numbers() -> None:
    findings = _track([A] * 4 + [B] * 4 + [A] * 4 + [B] * 4)
    assert list(dict.fromkeys(_labels(findings))) == ["speaker 1", "speaker 2"]
    at = {finding.end_seconds: finding.label for finding in findings}
    assert [at[end] for end in (2.5, 4.5, 6.5, 8.5)] == ["speaker 1", "speaker 2", "speaker 1", "speaker 2"]


def test_a_segment_across_the_boundary_founds_nobody() -> None:
    mixed = unit(C + 0.1 * (A + B))
    findings = _track([A] * 4 + [mixed] + [B] * 4)
    assert set(_labels(findings)) == {"speaker 1", "speaker 2"}


def test_a_stray_segment_inside_a_turn_is_of_the_turn() -> None:
    findings = _track([A] * 4 + [C] + [A] * 4)
    assert set(_labels(findings)) == {"speaker 1"}
    assert any(finding.end_seconds - finding.start_seconds == 1.5 for finding in findings[1:])


def test_a_single_segment_alone_founds_nobody() -> None:
    assert _labels(_track([A, None, None, None])) == ["unknown"]
    assert _labels(_track([A])) == ["unknown"]


def test_a_pause_ends_the_turn_and_the_voice_is_known_again() -> None:
    findings = _track([A] * 3 + [None] * 4 + [A] * 3 + [None] * 4 + [B] * 3)
    assert _labels(findings) == ["speaker 1"] * 4 + ["speaker 2"]


def test_lost_sound_is_a_pause_too() -> None:
    tracker = SpeakerTracker(MeanOfSegments(), 0.5)
    assert tracker.speech(_segment(0), A[None]) == []
    (finding,) = tracker.speech(_segment(20), B[None])
    assert (finding.start_seconds, finding.label) == (0.0, "unknown")


def test_every_spoken_segment_is_in_exactly_one_finding() -> None:
    random = np.random.default_rng(0)
    voices = [None if random.random() < 0.3 else VOICES[random.integers(3)] for _ in range(200)]
    ends = [finding.end_seconds for finding in _track(voices)]
    assert ends == sorted(set(ends))
    covered = sum(round((f.end_seconds - f.start_seconds - 0.5) / 0.5) for f in _track(voices))
    assert covered >= sum(voice is not None for voice in voices)


def test_known_people_are_named_at_once(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "s.json", "s")
    gallery.add("alice", A[None])
    findings = _track([A, A, B, B, B, A], SpeakerTracker(MeanOfSegments(), 0.5, gallery))
    assert _labels(findings) == ["alice", "alice", "speaker 1", "alice"]
    assert (findings[0].end_seconds, findings[0].score) == (1.0, pytest.approx(1.0))


def test_the_threshold_decides_who_is_known(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "s.json", "s")
    gallery.add("alice", unit(A + B)[None])
    assert _labels(_track([A, A], SpeakerTracker(MeanOfSegments(), 0.6, gallery))) == ["alice"] * 2
    assert _labels(_track([A, A], SpeakerTracker(MeanOfSegments(), 0.8, gallery))) == ["unknown"]


def test_a_voice_nearly_known_is_nobody_until_it_is_clear(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "s.json", "s")
    gallery.add("alice", A[None])
    nearly, clear = unit(A + 1.4 * B), unit(A + 0.2 * B)
    assert set(_labels(_track([nearly, nearly], SpeakerTracker(MeanOfSegments(), 0.8, gallery)))) == {"unknown"}
    findings = _track([nearly, nearly, clear, clear, clear], SpeakerTracker(MeanOfSegments(), 0.8, gallery))
    assert set(_labels(findings)) == {"alice"}
    assert "speaker 1" in _labels(_track([nearly] * 6, SpeakerTracker(MeanOfSegments(), 0.8, gallery)))


def test_what_a_voice_said_before_it_was_clear_is_told_with_its_name(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "known.json", "x")
    gallery.add("ann", A[None])
    nearly, clear = unit(A + 1.4 * B), unit(A + 0.2 * B)
    tracker = SpeakerTracker(MeanOfSegments(), 0.8, gallery)
    assert tracker.speech(_segment(0), nearly[None]) == []  # nothing yet; alone it is nobody's
    assert _labels(tracker.finish()) == ["unknown"]
    findings = _track([nearly, nearly, clear, clear], SpeakerTracker(MeanOfSegments(), 0.8, gallery))
    assert (findings[0].start_seconds, findings[0].label) == (0.0, "ann")


def test_a_young_voice_nearer_to_somebody_known_is_not_a_strangers(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "known.json", "x")
    gallery.add("ann", A[None])
    tracker = SpeakerTracker(MeanOfSegments(), 0.8, gallery)
    assert set(_labels(_track([C] * 6 + [None] * 4, tracker))) == {"speaker 1"}
    between = unit(0.75 * A + 0.6 * C)  # as young as this, it would do for the stranger
    findings = _track([between] * 2 + [unit(A + 0.3 * C)] * 4, tracker, first=12)
    assert set(_labels(findings)) == {"ann"}
