"""Silero VAD's graph over runs of chunks, of one stream or of many: Runs in, their chunks' probabilities and new states out.

Silero VAD 6.2.3 (MIT, github.com/snakers4/silero-vad; the graph is its `silero_vad_16k_sequence.onnx` behind the STFT, written
by runtime/silero_rows.py). All chunks are rows of one array, and the LSTM takes a step of all runs at once: sixteen
streams cost little more than half of what each costs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import SHIPPED
from edge_lupi.bundle.graph_walk import refuse_external_data
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.gates.gain import Gain, amplified, powers

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
    counts = tuple(run.chunks for run in runs)
    order, lengths = _order(counts)
    h, c = (_stacked(part) for part in zip(*(run.state for run in runs), strict=True))
    heard = _raised_spectra(runs, [0, *accumulate(counts)])
    out = _graph().run({"spectra": heard, "order": order, "lengths": lengths, "h": h, "c": c})
    each = zip(out["speech_probs"].T.tolist(), counts, out["hn"][0], out["cn"][0], strict=True)
    return [Judged(probabilities[:count], (h, c)) for probabilities, count, h, c in each]


@lru_cache(maxsize=64)  # one stream's runs are nearly always of the same two lengths
def _order(counts: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Of runs of so many chunks: which of all chunks is the t-th of each [T, B], and their lengths [B]."""
    begins = [0, *accumulate(counts)]
    every, order = np.arange(begins[-1]), np.zeros((max(counts), len(counts)), np.int64)
    for place, (begin, end) in enumerate(pairwise(begins)):
        order[: end - begin, place] = every[begin:end]
    return order, np.array(counts, np.int32)


def _stacked(states: Sequence[Array]) -> Array:
    """[128] each -> [1, B, 128]; a single one is not copied."""
    rows = states[0] if len(states) == 1 else np.concatenate(states)
    return rows.reshape(1, len(states), -1)


def _raised_spectra(runs: Sequence[Run], begins: Sequence[int]) -> Array:
    """Of all chunks, quiet ones raised: [4 n, 387]."""
    rows = np.empty((begins[-1], HEARD_SAMPLES + CONTEXT_SAMPLES), np.float32)
    chunks = rows[:, :HEARD_SAMPLES]
    for run, (begin, end) in zip(runs, pairwise(begins), strict=True):
        step = run.samples.itemsize
        chunks[begin:end] = np.ndarray(
            (end - begin, HEARD_SAMPLES), np.float32, run.samples, strides=(CHUNK_SAMPLES * step, step)
        )
    every = powers(chunks)
    factors = [run.gain.factors(every[begin:end]) for run, (begin, end) in zip(runs, pairwise(begins), strict=True)]
    amplified(chunks, [factor for own in factors for factor in own])
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
    spectrum = np.fft.rfft(framed * WINDOW, norm="forward")
    between = np.zeros((len(rows), FFT_COUNT + 2, BINS), np.float32)  # zeros before the first and after the last
    np.abs(spectrum, out=between[:, 1:-1])
    row, spectrum_step, step = between.strides
    out[...] = np.ndarray(out.shape, np.float32, between, strides=(row, spectrum_step, step))


@cache
def _graph() -> OnnxEngine:
    return OnnxEngine(GRAPH.read_bytes(), name=GRAPH.name, check=refuse_external_data)  # not ours, but it came with us
