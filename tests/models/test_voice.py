"""A voice's own average: nothing is known of it at first, and the more clips there are, the more it counts."""

import pytest
import torch

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.models.voice import VoiceAverage
from edge_lupi.task import Task

MOOD = Task("mood", "classification", ("plain", "bright"), voice=5.0)


def heard(clips: float, mean: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.tensor([clips]), mean])[None]


def test_a_voice_that_nobody_has_heard_is_as_all_voices() -> None:
    average, utterance = VoiceAverage(4, 5.0), torch.randn(1, 4)
    average.population.copy_(torch.randn(4))
    unheard = average.relative(utterance, torch.zeros(1, 5))
    torch.testing.assert_close(unheard, utterance - average.population)
    torch.testing.assert_close(unheard, average.relative(utterance))


def test_the_prior_is_worth_its_clips() -> None:
    average, utterance, own = VoiceAverage(4, 5.0), torch.randn(1, 4), torch.randn(4)
    average.population.copy_(torch.randn(4))
    torch.testing.assert_close(average.relative(utterance, heard(5, own)), utterance - (average.population + own) / 2)
    torch.testing.assert_close(average.relative(utterance, heard(1e7, own)), utterance - own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_of_all_voices_is_learnt_from_batches(dtype: torch.dtype) -> None:
    average = VoiceAverage(3, 5.0)
    for _ in range(500):
        average.learn((torch.randn(32, 3) + torch.tensor([1.0, -2.0, 0.0])).to(dtype))
    torch.testing.assert_close(average.population, torch.tensor([1.0, -2.0, 0.0]), atol=0.2, rtol=0)


@pytest.mark.parametrize("setting", ["sequential", "non-sequential"])
def test_steps_carry_the_voice_and_equal_the_whole(setting: str) -> None:
    torch.manual_seed(0)
    student = Student(StudentConfig("nano", setting, Segmentation(0.5, 0.25), (MOOD,))).eval().requires_grad_(False)
    branch, segments = student.branch(), torch.randn(1, 4, 80, 1, 50)
    voice = heard(3, torch.randn(128))
    whole, alone = student(segments, voice=voice), student(segments)
    state = torch.zeros(1, branch.state_size)
    state[:, -129:] = voice
    for segment in segments[0]:
        utterance, scores, state = branch.step(student.encoder(segment[None]), state)
    assert scores is not None
    torch.testing.assert_close(scores, whole.scores, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(utterance, alone.utterance, rtol=1e-4, atol=1e-4)  # whatever is known of the voice
    torch.testing.assert_close(state[:, -129:], voice)
    assert not torch.allclose(scores, alone.scores, atol=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "labels", "prior"), [("verification", (), 5.0), ("classification", ("a", "b"), -1.0)])
def test_what_cannot_have_an_average(kind: str, labels: tuple[str, ...], prior: float) -> None:
    with pytest.raises(InputError, match="voice"):
        Task("mood", kind, labels, voice=prior)


def test_a_task_without_one_is_named_as_it_was() -> None:
    """A student's fingerprint holds this word for word: galleries of older ones must go on fitting."""
    assert repr(Task("a", "verification")) == (
        "Task(name='a', kind='verification', labels=(), threshold=None, temperature=1.0)"
    )
