"""The student as a whole: shapes, branches, and the step that the compiled graph repeats."""

import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.student import SETTINGS, Student, StudentConfig
from edge_lupi.models.teacher import Teacher, TeacherConfig
from edge_lupi.task import Task

MOOD = Task("mood", "classification", ("plain", "bright", "dark"))
SPEAKER = Task("speaker", "verification")
CUT = Segmentation(0.5, 0.25)


def make(setting: str, *tasks: Task) -> Student:
    torch.manual_seed(0)
    return Student(StudentConfig("nano", setting, CUT, tasks)).eval().requires_grad_(False)


@pytest.mark.parametrize("setting", SETTINGS)
def test_one_encoder_serves_two_tasks(setting: str) -> None:
    student, segments = make(setting, MOOD, SPEAKER), torch.randn(2, 3, 80, 1, 50)
    mood, speaker = student(segments, "mood"), student(segments, "speaker")
    torch.testing.assert_close(mood.segments, speaker.segments)
    assert mood.segments.shape == (2, 3, 128)
    assert mood.scores is not None
    assert (mood.utterance.shape, mood.scores.shape) == ((2, 128), (2, 3))
    assert speaker.scores is None
    torch.testing.assert_close(speaker.utterance.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("task", [MOOD, SPEAKER])
def test_segment_by_segment_equals_the_whole(setting: str, task: Task) -> None:
    student, segments = make(setting, task), torch.randn(1, 4, 80, 1, 50)
    whole, branch = student(segments), student.branch()
    state = torch.zeros(1, branch.aggregator.state_size)
    for segment in segments[0]:
        utterance, scores, state = branch.step(student.encoder(segment[None]), state)
    torch.testing.assert_close(utterance, whole.utterance, rtol=1e-4, atol=1e-4)
    if task is MOOD:
        torch.testing.assert_close(scores, whole.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("setting", "tasks", "word"), [("parallel", (MOOD,), "setting"), ("sequential", (), "task")])
def test_what_a_student_cannot_be(setting: str, tasks: tuple[Task, ...], word: str) -> None:
    with pytest.raises(InputError, match=word):
        StudentConfig("nano", setting, CUT, tasks)


@pytest.mark.parametrize(
    ("video", "seen"), [("none", None), ("features", torch.randn(2, 3, 7)), ("frames", torch.rand(2, 3, 5, 24, 24))]
)
def test_a_teacher_gives_what_a_student_gives(video: str, seen: torch.Tensor | None) -> None:
    teacher = Teacher(TeacherConfig("nano", "sequential", CUT, MOOD, video, features=7, frames=5, frame_size=24)).eval()
    segments = torch.randn(2, 3, 80, 1, 50)
    heard = teacher(segments, seen)
    assert (heard.segments.shape, heard.utterance.shape) == ((2, 3, 128), (2, 128))
    if seen is not None:
        assert not torch.allclose(heard.segments, teacher(segments, 1 - seen).segments)


def test_a_teacher_has_one_of_the_known_eyes() -> None:
    with pytest.raises(InputError, match="none, features, face or frames, got 'radar'"):
        TeacherConfig("nano", "sequential", CUT, MOOD, "radar")
