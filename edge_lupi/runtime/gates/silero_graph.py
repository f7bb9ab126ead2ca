"""Silero VAD's graph over runs of chunks, of one stream or of many: Runs in, their chunks' probabilities and new states out.

Silero VAD 6.2.3 (MIT, github.com/snakers4/silero-vad; the graph is its `silero_vad_16k_sequence.onnx` behind the STFT, written
by runtime/silero_rows.py). All chunks are rows of one array, and the LSTM takes a step of all runs at once: sixteen
streams cost little more than half of what each costs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import SHIPPED
from edge_lupi.bundle.graph_walk import refuse_external_data
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.gates.gain import Gain, amplified, levels_db

__all__ = ["CHUNK_SAMPLES", "CONTEXT_SAMPLES", "NOTHING", "Judged", "Run", "State", "judge", "spectra"]

Array = NDArray[np.float32]
State = tuple[Array, Array]  # of the LSTM, [128] each
GRAPH = SHIPPED / "silero_vad" / "silero_vad.onnx"
CHUNK_SAMPLES = 512
CONTEXT_SAMPLES = 64  # of the chunk before, which the graph wants in front
HEARD_SAMPLES = CONTEXT_SAMPLES + CHUNK_SAMPLES
NOTHING: State = (np.zeros(128, np.float32), np.zeros(128, np.float32))
FFT_POINTS, FFT_STEP, FFT_COUNT = 256, 128, 4  # Silero's STFT of a chunk behind its context
BINS = FFT_POINTS // 2 + 1
# Hann; times the points, by which numpy divides where it is to stay in float32, which takes half the time
WINDOW = (FFT_POINTS * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_POINTS) / FFT_POINTS))).astype(np.float32)
ROWS = 64  # whose spectra are computed at once: they stay in the cache


@dataclass(frozen=True, eq=False)
class Run:
    """Chunks in a row of one stream: samples that begin with the context of the first [64 + 512 n], and the state before them."""

    samples: Array
    state: State
    gain: Gain

    @property
    def chunks(self) -> int:
        """So many."""
        return len(self.samples) // CHUNK_SAMPLES


@dataclass(frozen=True, eq=False)
class Judged:
    """A run's probabilities of speech [n], and the state after it."""

    probabilities: list[float]
    state: State


def judge(runs: Sequence[Run]) -> list[Judged]:
    """All runs at once; those of one stream, which share a gain, in their order."""
    counts = [run.chunks for run in runs]
    begins = [0, *accumulate(counts)]
    every, order = np.arange(begins[-1]), np.zeros((max(counts), len(runs)), np.int64)
    for place, (begin, end) in enumerate(pairwise(begins)):
        order[: end - begin, place] = every[begin:end]
    h, c = (np.concatenate(part).reshape(1, len(runs), -1) for part in zip(*(run.state for run in runs), strict=True))
    heard, lengths = _raised_spectra(runs, begins), np.array(counts, np.int32)
    out = _graph().run({"spectra": heard, "order": order, "lengths": lengths, "h": h, "c": c})
    each = zip(out["speech_probs"].T.tolist(), counts, out["hn"][0], out["cn"][0], strict=True)
    return [Judged(probabilities[:count], (h, c)) for probabilities, count, h, c in each]


def _raised_spectra(runs: Sequence[Run], begins: Sequence[int]) -> Array:
    """Of all chunks, quiet ones raised: [4 n, 387]."""
    rows = np.empty((begins[-1], HEARD_SAMPLES + CONTEXT_SAMPLES), np.float32)
    chunks = rows[:, :HEARD_SAMPLES]
    for run, (begin, end) in zip(runs, pairwise(begins), strict=True):
        samples = run.samples
        chunks[begin:end, :CONTEXT_SAMPLES] = samples[:-CONTEXT_SAMPLES].reshape(-1, CHUNK_SAMPLES)[:, :CONTEXT_SAMPLES]
        chunks[begin:end, CONTEXT_SAMPLES:] = samples[CONTEXT_SAMPLES:].reshape(-1, CHUNK_SAMPLES)
    levels = levels_db(chunks)
    gains = [run.gain.gains_db(levels[begin:end]) for run, (begin, end) in zip(runs, pairwise(begins), strict=True)]
    amplified(chunks, [gain for own in gains for gain in own])
    return spectra(rows)


def spectra(rows: Array) -> Array:
    """STFT of chunks behind their contexts, with room for as much behind them [n, 640] -> [4 n, 387].

    Each of a chunk's four magnitude spectra stands between its neighbours, or zeros where there is none. As in Silero's own
    graph a chunk is reflected at its end, which is written into the room behind it.
    """
    rows[:, HEARD_SAMPLES:] = rows[:, HEARD_SAMPLES - 2 : HEARD_SAMPLES - 2 - CONTEXT_SAMPLES : -1]
    out = np.empty((len(rows), FFT_COUNT, 3 * BINS), np.float32)
    for first in range(0, len(rows), ROWS):
        some = slice(first, first + ROWS)
        _some_spectra(rows[some], out[some])
    return out.reshape(-1, 3 * BINS)


def _some_spectra(rows: Array, out: Array) -> None:
    """Of reflected chunks [n, 640] -> into [n, 4, 387]."""
    row, step = rows.strides
    shape = (len(rows), FFT_COUNT, FFT_POINTS)
    framed: Array = np.ndarray(shape, np.float32, rows, strides=(row, FFT_STEP * step, step))
    spectrum = np.fft.rfft(framed * WINDOW, norm="forward").astype(np.complex64, copy=False)
    power = spectrum.view(np.float32)
    np.square(power, out=power)
    between = np.zeros((len(rows), FFT_COUNT + 2, BINS), np.float32)  # zeros before the first and after the last
    magnitudes = between[:, 1:-1]
    np.add(power[..., ::2], power[..., 1::2], out=magnitudes)
    np.sqrt(magnitudes, out=magnitudes)
    row, spectrum_step, step = between.strides
    out[...] = np.ndarray(out.shape, np.float32, between, strides=(row, spectrum_step, step))


@cache
def _graph() -> OnnxEngine:
    return OnnxEngine(GRAPH.read_bytes(), name=GRAPH.name, check=refuse_external_data)  # not ours, but it came with us
