import pytest

from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.runtime.listening.latency import LATENCIES, latency


@pytest.mark.parametrize(("name", "hop", "seconds"), [("low", 0.25, 1.25), ("normal", 0.5, 1.5)])
def test_the_formula(name: str, hop: float, seconds: float) -> None:
    cut = latency(name).segmentation(Segmentation(1.0, 0.5))
    assert (cut.seconds, cut.hop_seconds) == (1.0, hop)
    assert latency(name).seconds(cut, 0.0) == pytest.approx(seconds)
    assert latency(name).seconds(cut, 0.03) == pytest.approx(seconds + 0.03)


def test_every_hop_is_whole_frames() -> None:
    for hop_frames in range(1, 60):
        for known in LATENCIES.values():
            assert known.segmentation(Segmentation(1.0, hop_frames / 100)).hop_frames >= 1


def test_an_unknown_latency_is_one_sentence() -> None:
    with pytest.raises(InputError, match="expected a latency of low, normal, got 'none'"):
        latency("none")
