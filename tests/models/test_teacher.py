"""The teacher uses both senses: what it says depends on the sound and on the picture, and both learn from a step."""

import pytest
import torch
from torch.nn import functional as F

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.teacher import FeatureEye, FrameEye, Teacher, TeacherConfig
from edge_lupi.task import Task

TASK = Task("emotion", "classification", ("calm", "angry"))
SHAPES = {"features": (4, 3, 5), "frames": (4, 3, 10, 32, 32)}


def make_teacher(video: str) -> Teacher:
    torch.manual_seed(0)
    sizes = {"features": {"features": 5}, "frames": {"frames": 10, "frame_size": 32}, "none": {}}[video]
    return Teacher(TeacherConfig("nano", "sequential", Segmentation(), TASK, video, **sizes))


@pytest.mark.parametrize("video", ["features", "frames"])
def test_both_senses_count(video: str) -> None:
    teacher = make_teacher(video).eval()
    heard, seen = torch.randn(4, 3, 80, 1, 100) - 6, torch.rand(SHAPES[video])
    both = teacher(heard, seen)
    assert both.segments.shape == (4, 3, teacher.embedding_size)
    assert both.scores is not None
    assert both.scores.shape == (4, 2)
    for other in (teacher(heard.flip(0), seen), teacher(heard, seen.flip(0))):
        assert (other.segments - both.segments).norm() > 0.01 * both.segments.norm()


@pytest.mark.parametrize("video", ["features", "frames"])
def test_both_senses_go_on_learning(video: str) -> None:
    """An ear that falls silent early (say, all negative before a ReLU) would never come back: its gradient would be zero."""
    teacher = make_teacher(video)
    labels = torch.tensor([0, 1, 0, 1])
    optimiser = torch.optim.SGD(teacher.parameters(), lr=0.5)
    heard, seen = torch.randn(4, 3, 80, 1, 100) - 6, torch.rand(SHAPES[video])
    for _ in range(5):
        optimiser.zero_grad()
        F.cross_entropy(teacher(heard, seen).scores, labels).backward()
        for sense in (teacher.ear, teacher.eye):
            assert sense is not None
            assert sum(p.grad.abs().sum() for p in sense.parameters() if p.grad is not None) > 0
        optimiser.step()


def test_a_teacher_without_an_eye_only_hears() -> None:
    assert make_teacher("none")(torch.randn(4, 3, 80, 1, 100), None).scores is not None


def test_an_unknown_kind_of_video_is_refused() -> None:
    with pytest.raises(InputError, match="none, features, face or frames"):
        TeacherConfig("nano", "sequential", Segmentation(), TASK, "smell")


def test_what_is_not_seen_is_as_in_the_mean_and_nothing_seen_says_nothing() -> None:
    torch.manual_seed(0)
    eye = FeatureEye(3, 8).eval()
    seen = torch.randn(200, 3) * torch.tensor([1.0, 4.0, 0.5]) + 2
    eye.standardise(seen)
    mean, spread = eye.mean.clone(), eye.spread.clone()
    torch.testing.assert_close(spread, seen.std(0), rtol=0, atol=0)
    nothing = torch.full((150, 3), torch.nan)
    eye.standardise(torch.cat([seen, nothing]))
    torch.testing.assert_close(eye.mean, mean)
    torch.testing.assert_close(eye.spread, spread, rtol=0.01, atol=0)
    partly, filled = seen[:1].clone(), seen[:1].clone()
    partly[:, 1], filled[:, 1] = torch.nan, eye.mean[1]
    torch.testing.assert_close(eye(partly), eye(filled))
    assert not eye(nothing[:1]).any()
    eye.standardise(nothing)
    assert eye(seen).isfinite().all()


def test_a_black_frame_has_no_say() -> None:
    torch.manual_seed(0)
    eye = FrameEye(10, 32, 8).eval()
    seen = torch.rand(2, 10, 32, 32) / 2 + 0.25
    seen[1, 4:] = 0
    brighter = torch.where(seen > 0, seen + 0.2, seen)
    torch.testing.assert_close(eye(brighter), eye(seen), rtol=1e-3, atol=1e-4)
    assert eye(torch.zeros_like(seen)).isfinite().all()
    whole = seen[:1]
    torch.testing.assert_close(eye(whole), eye.net(whole - whole.mean((1, 2, 3), keepdim=True)), rtol=0, atol=0)
