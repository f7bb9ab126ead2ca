"""Classes and margins."""

import torch
from torch.nn import functional as F

from edge_lupi.models.header import ClassHeader, MarginHeader


def test_scores_per_class() -> None:
    assert ClassHeader(8, 5)(torch.randn(3, 8)).shape == (3, 5)


def test_the_margin_handicaps_the_true_class_alone() -> None:
    header, embeddings, labels = MarginHeader(8, 5, margin=0.3), torch.randn(4, 8), torch.tensor([0, 1, 2, 3])
    free, held = header(embeddings), header(embeddings, labels)
    truth = F.one_hot(labels, 5).bool()
    angle = torch.acos(free[truth] / header.scale)
    torch.testing.assert_close(held[truth], header.scale * torch.cos(angle + 0.3))
    torch.testing.assert_close(held[~truth], free[~truth])


def test_no_margin_no_handicap() -> None:
    header, embeddings = MarginHeader(8, 5, margin=0.0), torch.randn(4, 8)
    torch.testing.assert_close(header(embeddings, torch.zeros(4, dtype=torch.long)), header(embeddings))


def test_a_voice_on_top_of_its_class_has_a_gradient() -> None:
    header = MarginHeader(8, 3)
    embedding = header.weight.detach()[:1].clone().requires_grad_()
    header(embedding, torch.tensor([0]))[0, 0].backward()
    assert embedding.grad is not None
    assert torch.isfinite(embedding.grad).all()


def test_embeddings_at_their_class_have_a_gradient_in_bfloat16() -> None:
    """A cosine that is rounded to 1 has an angle of infinite slope."""
    header = MarginHeader(8, 3)
    embeddings = (3 * header.weight.detach()).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        scores = header(embeddings, torch.arange(3))
    scores.logsumexp(1).sum().backward()
    assert embeddings.grad is not None
    assert header.weight.grad is not None
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(header.weight.grad).all()
