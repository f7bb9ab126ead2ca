"""What the distances call near and far, and what a step minimises of plain and of mixed crops."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from edge_lupi.errors import InputError
from edge_lupi.models.header import MarginHeader
from edge_lupi.models.student import Heard
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.distil.losses import DISTANCES, MARGIN, distance, distil, label_loss, labels_of, soft_labels
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import UNLABELLED
from edge_lupi.train.recipe import DistilRecipe

HERE = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])


@pytest.mark.parametrize("name", DISTANCES)
def test_nothing_is_nearer_than_itself(name: str) -> None:
    assert distance(name)(HERE, HERE).item() == pytest.approx(0, abs=1e-6)
    assert distance(name)(HERE, HERE + 1).item() > 0


@pytest.mark.parametrize(
    ("name", "far"), [("mse", 4.0), ("margin", 4.0 - MARGIN), ("cosine", 0.0)], ids=["mse", "margin", "cosine"]
)
def test_known_values(name: str, far: float) -> None:
    ones = torch.ones(2, 5, 8)
    assert distance(name)(3 * ones, ones).item() == pytest.approx(far, abs=1e-6)


def test_cosine_runs_from_0_to_2_and_ignores_scale() -> None:
    far = distance("cosine")
    assert far(HERE, -HERE).item() == pytest.approx(2)
    assert far(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(1)
    assert far(HERE * 100, HERE + 1).item() == pytest.approx(far(HERE, HERE + 1).item(), rel=1e-4)


def test_the_margin_leaves_small_differences_alone() -> None:
    near = (HERE + 0.9 * MARGIN**0.5).requires_grad_()
    loss = distance("margin")(near, HERE)
    loss.backward()
    assert loss.item() == 0
    assert near.grad is not None
    assert not near.grad.any()


def test_an_unknown_distance_is_named() -> None:
    with pytest.raises(InputError, match="mse, cosine, margin, got 'miles'"):
        distance("miles")


SCORES = torch.tensor([[2.0, -1.0, 0.0], [0.0, 1.0, -3.0]])


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_labels_are_zero_where_the_student_says_the_same(temperature: float) -> None:
    wanted = (SCORES / temperature).softmax(-1)
    assert soft_labels(SCORES, wanted, temperature).item() == pytest.approx(0, abs=1e-5)
    assert soft_labels(SCORES + 7, wanted, temperature).item() == pytest.approx(0, abs=1e-5)
    near, far = (soft_labels(SCORES + by * torch.eye(3)[:2], wanted, temperature).item() for by in (0.5, 2.0))
    assert 0 < near < far


def test_soft_labels_of_a_known_pair() -> None:
    """The student knows nothing, the teacher is sure: log 2, times the square of the temperature."""
    assert soft_labels(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), 3.0).item() == pytest.approx(9 * 0.6931, rel=1e-4)


HEARD = Heard(torch.zeros(2, 1, 4), torch.eye(4)[:2], SCORES)


@pytest.mark.parametrize("header", [None, MarginHeader(4, 3)], ids=["classes", "voices"])
def test_mixed_crops_have_two_labels_in_their_shares(header: MarginHeader | None) -> None:
    first, second = torch.tensor([0, 1]), torch.tensor([2, 2])

    def loss(labels: Tensor, partner: Tensor | None = None, share: Tensor | None = None) -> float:
        return label_loss(HEARD, header, (labels, partner, share)).item()

    assert loss(first, second, torch.ones(2)) == pytest.approx(loss(first))
    assert loss(first, second, torch.zeros(2)) == pytest.approx(loss(second))
    assert loss(first, first, torch.tensor([0.6, 0.9])) == pytest.approx(loss(first))
    assert loss(first, second, torch.full((2,), 0.7)) == pytest.approx(0.7 * loss(first) + 0.3 * loss(second))


@pytest.mark.parametrize("header", [None, MarginHeader(4, 3)], ids=["classes", "voices"])
def test_a_crop_without_a_label_is_no_loss(header: MarginHeader | None) -> None:
    both, first, second, none = (
        label_loss(HEARD, header, (torch.tensor(labels), None, None), smoothing=0.1).item()
        for labels in ([0, 1], [0, UNLABELLED], [UNLABELLED, 1], [UNLABELLED, UNLABELLED])
    )
    assert first + second == pytest.approx(both)
    assert none == 0


@pytest.fixture
def known() -> TeacherEmbeddings:
    """Three utterances of two segments, three channels, two classes."""
    torch.manual_seed(0)
    return TeacherEmbeddings(
        torch.randn(6, 3), torch.tensor([0, 2, 4, 6]), torch.randn(3, 3), torch.randn(3, 1, 2), torch.ones(2, 3)
    )


def crops(*examples: int) -> Batch:
    return Batch(
        torch.zeros(len(examples), 80, 1, 100), torch.tensor(examples) % 2, examples, (0,) * len(examples), None
    )


def test_a_weight_of_0_leaves_its_part_out(known: TeacherEmbeddings) -> None:
    batch, scores = crops(0, 2), torch.zeros(2, 2)
    parts = ("encoder", "aggregator", "soft")
    weights = DistilRecipe(encoder=1.0, aggregator=2.0, soft=3.0)
    whole = distil(weights, known, batch, *known.of(crops(1, 1), 2), scores)
    assert tuple(whole) == parts
    for part in parts:
        less = distil(replace(weights, **{part: 0.0}), known, batch, *known.of(crops(1, 1), 2), scores)
        assert less == {name: value for name, value in whole.items() if name != part}
        double = distil(replace(weights, **{part: 6.0}), known, batch, *known.of(crops(1, 1), 2), scores)
        assert double[part].item() == pytest.approx(6 / getattr(weights, part) * whole[part].item())


def test_a_student_like_its_teacher_has_nothing_to_learn(known: TeacherEmbeddings) -> None:
    batch, weights = crops(2, 0, 1), DistilRecipe(soft=1.0)
    encoded, aggregated = known.of(batch, 2)
    parts = distil(weights, known, batch, encoded, aggregated, known.scores[[2, 0, 1], 0])
    assert {name: round(value.item(), 6) for name, value in parts.items()} == {"encoder": 0, "aggregator": 0, "soft": 0}


def test_of_mixed_crops_the_teacher_says_both(known: TeacherEmbeddings) -> None:
    share = torch.tensor([0.5, 0.75])
    batch = replace(crops(0, 1), partner=crops(1, 0), share=share)
    (e0, e1), (a0, a1) = known.of(crops(0, 1), 2)
    encoded = torch.stack([0.5 * e0 + 0.5 * e1, 0.75 * e1 + 0.25 * e0])
    aggregated = torch.stack([0.5 * a0 + 0.5 * a1, 0.75 * a1 + 0.25 * a0])
    parts = distil(DistilRecipe(), known, batch, encoded, aggregated, None)
    assert {name: round(value.item(), 6) for name, value in parts.items()} == {"encoder": 0, "aggregator": 0}
    first, partner, found = labels_of(batch)
    assert partner is not None
    assert (first.tolist(), partner.tolist(), found) == ([0, 1], [1, 0], share)
    assert labels_of(crops(0, 1))[1:] == (None, None)


def test_soft_labels_need_a_teacher_that_tells_classes(known: TeacherEmbeddings) -> None:
    mute = replace(known, scores=torch.zeros(3, 1, 0))
    for teacher, scores in ((mute, torch.zeros(2, 2)), (known, None)):
        with pytest.raises(InputError, match=r"a teacher that tells classes for distil\.soft"):
            distil(DistilRecipe(soft=1.0), teacher, crops(0, 1), *known.of(crops(0, 1), 2), scores)
