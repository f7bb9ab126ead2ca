"""Steps joined equal the whole, however many."""

import pytest
import torch
from torch import Tensor, nn

from edge_lupi.models.aggregator import AttentiveAggregator, MeanAggregator, make_aggregator

SIZE = 16
MANY = 10_000  # tests/compile runs the graph 100,000 times


@pytest.fixture(params=["sequential", "non-sequential"])
def aggregator(request: pytest.FixtureRequest) -> MeanAggregator | AttentiveAggregator:
    torch.manual_seed(0)
    made = make_aggregator(request.param, SIZE)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)  # away from the plain mean it starts as
    return made.eval().requires_grad_(False)


def stepped(aggregator: MeanAggregator | AttentiveAggregator, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    state = torch.zeros(len(embeddings), aggregator.state_size)
    for embedding in embeddings.unbind(1):
        utterance, state = aggregator.step(embedding, state)
    return utterance, state


def test_kinds() -> None:
    assert isinstance(make_aggregator("sequential", 4), AttentiveAggregator)
    assert isinstance(make_aggregator("non-sequential", 4), MeanAggregator)


@pytest.mark.parametrize("segments", [1, 2, 7, 100])
def test_steps_equal_the_whole(aggregator: MeanAggregator | AttentiveAggregator, segments: int) -> None:
    embeddings = torch.randn(3, segments, SIZE) * 2
    torch.testing.assert_close(stepped(aggregator, embeddings)[0], aggregator(embeddings), rtol=1e-4, atol=1e-4)


def test_one_segment_of_a_mean_is_itself() -> None:
    embedding = torch.randn(2, SIZE)
    utterance, state = MeanAggregator(SIZE).step(embedding, torch.zeros(2, 1 + SIZE))
    torch.testing.assert_close(utterance, embedding)
    assert state[:, 0].tolist() == [1, 1]


def test_attention_starts_as_the_plain_mean() -> None:
    aggregator, embeddings = AttentiveAggregator(SIZE), torch.randn(2, 5, SIZE)
    nn.init.zeros_(aggregator.attend[2].weight)
    torch.testing.assert_close(aggregator(embeddings), embeddings.mean(1))


def test_a_step_does_not_know_its_batch(aggregator: MeanAggregator | AttentiveAggregator) -> None:
    embeddings, states = torch.randn(6, SIZE), torch.rand(6, aggregator.state_size)
    together = aggregator.step(embeddings, states)
    alone = aggregator.step(embeddings[4:5], states[4:5])
    for whole, part in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[4:5], part, rtol=1e-5, atol=1e-6)


def test_bounded_and_exact_after_many_steps(aggregator: MeanAggregator | AttentiveAggregator) -> None:
    embeddings = torch.randn(1, MANY, SIZE)
    with torch.inference_mode():
        utterance, state = stepped(aggregator, embeddings)
    assert torch.isfinite(state).all()
    assert state[:, 1:].abs().max() < 10  # means, not sums
    torch.testing.assert_close(utterance, aggregator(embeddings), rtol=0, atol=0.02)


def test_wild_embeddings_stay_finite(aggregator: MeanAggregator | AttentiveAggregator) -> None:
    utterance, state = stepped(aggregator, torch.randn(2, 20, SIZE) * 1e6)
    assert torch.isfinite(utterance).all()
    assert torch.isfinite(state).all()
