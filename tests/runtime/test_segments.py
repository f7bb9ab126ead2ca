from types import SimpleNamespace

import numpy as np
import pytest

from edge_lupi.frames import Segmentation
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.segments import Segment, Segmenter
from edge_lupi.sound.offset import OffsetRemoval, without_offset

FRONT_END = FftFrontEnd()


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(seconds * 16_000)) * 0.1).astype(np.float32)


def _whole(samples: np.ndarray, segmentation: Segmentation) -> np.ndarray:
    return CompiledStudent.segments(
        SimpleNamespace(segmentation=segmentation, log_mel=FRONT_END), without_offset(samples)
    )


def _streamed(samples: np.ndarray, segmentation: Segmentation, block: int) -> list[Segment]:
    segmenter = Segmenter(FRONT_END, segmentation)
    parts = [
        segment for start in range(0, len(samples), block) for segment in segmenter.push(samples[start : start + block])
    ]
    return parts + segmenter.finish()


@pytest.mark.parametrize("block", [1, 7, 159, 160, 161, 400, 1600, 16_000, 10**6])
@pytest.mark.parametrize("segmentation", [Segmentation(), Segmentation(0.3, 0.1), Segmentation(0.5, 0.5)])
def test_the_parts_joined_equal_the_whole(block: int, segmentation: Segmentation) -> None:
    samples = _noise(2.53 if block < 100 else 6.53)
    parts = _streamed(samples, segmentation, block)
    np.testing.assert_allclose(np.stack([part.log_mel for part in parts]), _whole(samples, segmentation), atol=1e-5)
    starts = [part.start_seconds for part in parts]
    np.testing.assert_allclose(starts, np.arange(len(parts)) * segmentation.hop_seconds)


@pytest.mark.parametrize("block", [1, 333, 10**6])
@pytest.mark.parametrize("seconds", [0.05, 0.4, 0.999, 1.0, 1.49])
def test_what_is_shorter_than_a_segment_is_padded_with_silence(seconds: float, block: int) -> None:
    samples = _noise(seconds)
    (part,) = _streamed(samples, Segmentation(), block)
    np.testing.assert_allclose(part.log_mel[None], _whole(samples, Segmentation()), atol=1e-5)
    assert part.end_seconds == pytest.approx(min(seconds, 1.0))


def test_nothing_heard_gives_nothing() -> None:
    assert Segmenter(FRONT_END, Segmentation()).finish() == []


def test_no_segment_bridges_a_gap_and_the_time_goes_on() -> None:
    segmenter = Segmenter(FRONT_END, Segmentation())
    before, after = _noise(1.3), _noise(1.2, seed=1)
    first = segmenter.push(before)
    segmenter.reset(lost_samples=800)
    (second,) = segmenter.push(after)
    assert [part.start_seconds for part in first] == [0.0]
    assert second.start_seconds == pytest.approx(1.3 + 0.05)
    removal = OffsetRemoval()  # goes on over the gap: a microphone's constant does not change
    removal.removed(before[:16_000])
    expected = FRONT_END(np.pad(removal.removed(after[:16_000]), (240, 0)))
    np.testing.assert_allclose(second.log_mel[:, 0], expected, atol=1e-5)


def test_a_constant_changes_nothing_from_the_first_frame_on() -> None:
    samples = _noise(3.0) * 0.05
    parts = [_streamed(samples + np.float32(constant), Segmentation(), 161) for constant in (0.0, 0.1, -0.3)]
    for other in parts[1:]:
        for part, same in zip(parts[0], other, strict=True):
            np.testing.assert_allclose(part.log_mel, same.log_mel, atol=0.02)


@pytest.mark.parametrize("frames", [1, 3, 50, 1000])
def test_the_offset_is_the_same_however_a_stream_is_cut(frames: int) -> None:
    samples = _noise(5.0) + np.float32(0.2)
    removal, first = OffsetRemoval(), 16_000
    parts = [removal.removed(samples[:first])]
    parts += [removal.removed(samples[at : at + 160 * frames]) for at in range(first, len(samples), 160 * frames)]
    np.testing.assert_array_equal(np.concatenate(parts), without_offset(samples))


def test_speech_share_and_level_do_not_depend_on_the_blocks() -> None:
    samples = np.concatenate([_noise(2.0) * 0.001, _noise(2.0, seed=1), _noise(2.0, seed=2) * 0.001])
    figures = [
        [(part.speech_share, part.level_db) for part in _streamed(samples, Segmentation(), block)]
        for block in (1000, 161, 10**6)
    ]
    for other in figures[1:]:
        np.testing.assert_allclose(other, figures[0], atol=1e-4)


def test_level_is_in_decibels_of_full_scale() -> None:
    (part,) = Segmenter(FRONT_END, Segmentation()).push(_noise(1.0))
    assert part.level_db == pytest.approx(-20, abs=0.5)
