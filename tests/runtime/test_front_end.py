"""Log-mel by FFT or by the bundle's graph: the same figures, and the graph where the FFT does not give the golden ones."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.errors import BundleError
from edge_lupi.frames import (
    CONTEXT_SAMPLES,
    FFT_POINTS,
    HOP_SAMPLES,
    LOG_FLOOR,
    WINDOW_SAMPLES,
    mel_filters,
    window,
)
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.front_end import FftFrontEnd, GraphFrontEnd

Voice = Callable[..., Any]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(shipped_bundle("speaker"))


@pytest.mark.parametrize("frames", [1, 50, 100, 137, 250])
def test_the_graph_gives_what_the_fft_gives_for_any_number_of_frames(bundle: Bundle, voice: Voice, frames: int) -> None:
    samples = voice(5, 3.0)[: CONTEXT_SAMPLES + frames * HOP_SAMPLES]
    by_graph = GraphFrontEnd(bundle.file("front_end.onnx"))(samples)
    assert by_graph.shape == (80, frames)
    np.testing.assert_allclose(by_graph, FftFrontEnd()(samples), rtol=0, atol=1e-3)


def test_filters_that_hear_few_bins_are_the_whole_filters(voice: Voice) -> None:
    samples = voice(5, 3.0)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::HOP_SAMPLES].astype(np.float64)
    power = np.abs(np.fft.rfft(windows * window(), FFT_POINTS)) ** 2
    np.testing.assert_allclose(FftFrontEnd()(samples).T, np.log(power @ mel_filters() + LOG_FLOOR), atol=1e-3)


class Strange(FftFrontEnd):
    """An FFT that errs by a tenth of a natural log, as one of another numpy might."""

    def __call__(self, samples: Any) -> Any:
        return super().__call__(samples) + np.float32(0.1)


def test_where_the_fft_strays_the_graph_is_run(bundle: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = CompiledStudent(bundle)
    monkeypatch.setattr("edge_lupi.runtime.compiled_student.FftFrontEnd", Strange)
    student = CompiledStudent(bundle)
    heard = [each.utterance(voice(6, 2.3)).embedding[0] for each in (usual, student)]
    assert (
        heard[0] @ heard[1] / np.linalg.norm(heard[0]) / np.linalg.norm(heard[1]) > 0.99
    )  # of an int8 encoder of 73 layers


def test_where_both_stray_the_bundle_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lupi.runtime.compiled_student.FRONT_END_TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="golden log-mel"):
        CompiledStudent(bundle)
