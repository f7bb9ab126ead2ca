"""Voice activity detection with Silero VAD; robust to noise and music. log-mel [80, F], samples [160 * F] -> speech, bool [F].

Silero VAD 6.2.3 (MIT, github.com/snakers4/silero-vad; the graph is its `silero_vad_16k_sequence.onnx` behind the STFT, the
chunks side by side: runtime/silero_2d.py) on chunks of 32 ms, but only on those that an easily opened energy gate lets pass, so
silence costs next to nothing; quiet ones are raised first (`gain`). Chunks lie at multiples of 512 samples since the stream
began or was interrupted, and a frame is what the newest whole chunk was: the answer does not depend on how the stream was
cut into blocks, and no frame waits for sound that comes after it.

    samples        ┌─64─┬───── 512 ─────┐                        chunk 0, behind its context of 64 samples
                                   ┌─64─┬───── 512 ─────┐        chunk 1
    frames              |    |    |    |    |    |    |          of 160 samples; one that ends in chunk 1 has chunk 0's answer

    chunk            0       1       2       3       4       5
    energy gate    quiet   quiet   loud    loud    quiet   loud
    graph            -      (1) ───► 2 ─────► 3     (4) ───► 5
    (n) is run too because the next one is loud, from a state of zeros: the beginning of a word; ───► carries the state on
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import SHIPPED
from edge_lupi.bundle.graph_walk import refuse_external_data
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.gates.energy import GateSettings, SpeechGate
from edge_lupi.runtime.gates.gain import Gain

__all__ = ["VoiceGate", "VoiceSettings", "behind_context", "magnitudes"]

Array = NDArray[np.float32]
Frames = NDArray[np.bool_]
GRAPH = SHIPPED / "silero_vad" / "silero_vad.onnx"
CHUNK_SAMPLES = 512
CONTEXT_SAMPLES = 64  # of the chunk before, which the graph wants in front
STATE = np.zeros((1, 1, 128), np.float32)
FFT_POINTS, FFT_STEP, FFT_COUNT = 256, 128, 4  # Silero's STFT of a chunk behind its context
BINS = 144  # 129, and zeros to the next multiple of 16: AVX-512 convolves channels by sixteens
WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_POINTS) / FFT_POINTS)).astype(np.float32)  # Hann
EASY = GateSettings(margin_db=3.0, release_db=1.5, minimum_db=-70.0)  # what passes is judged again, so rather too much


@dataclass(frozen=True)
class VoiceSettings:
    """Probabilities as Silero's own iterator uses them: begin at 0.5, end 0.15 below."""

    begin: float = 0.5
    end: float = 0.35
    hangover_seconds: float = 0.25


class VoiceGate:
    """Keeps the energy gate, the graph's state and the hangover from chunk to chunk."""

    delay_seconds = CHUNK_SAMPLES / SAMPLE_RATE_HZ

    def __init__(self, settings: VoiceSettings | None = None) -> None:
        self.settings = settings or VoiceSettings()
        self._graph = _graph()
        self._loud = SpeechGate(EASY)
        self._hangover_chunks = round(self.settings.hangover_seconds * SAMPLE_RATE_HZ / CHUNK_SAMPLES)
        self._waiting: Array
        self._loud_frames: Frames
        self.reset()

    def push(self, log_mel: Array, samples: Array) -> Frames:
        """log-mel [80, F] of the frames that come next, and their samples [160 * F] -> speech or not, bool [F]."""
        ends = self._stream_samples + np.arange(1, log_mel.shape[1] + 1) * HOP_SAMPLES
        loud_frames = np.concatenate([self._loud_frames, self._loud.push(log_mel)])
        waiting = np.concatenate([self._waiting, samples])
        first = self._stream_samples // CHUNK_SAMPLES
        count = (self._stream_samples + len(samples)) // CHUNK_SAMPLES - first
        self._stream_samples += len(samples)
        opened: Frames = np.array([self._open(), *self._judge(waiting, loud_frames, first, count)], np.bool_)
        self._waiting = waiting[count * CHUNK_SAMPLES :]
        self._loud_frames = loud_frames[_frames_before(first + count) - _frames_before(first) :]
        return np.asarray(opened[ends // CHUNK_SAMPLES - first], np.bool_)

    def reset(self) -> None:
        """Forget all but the noise of the room, as sound was lost."""
        self._loud.reset()
        self._stream_samples = 0
        self._waiting = np.zeros(CHUNK_SAMPLES + CONTEXT_SAMPLES, np.float32)  # the chunk before, and its context
        self._loud_frames = np.zeros(0, np.bool_)
        self._state = (STATE, STATE)
        self._gain = Gain()
        self._ran = True  # whether the graph has heard the chunk before; now there is none
        self._since_speech_chunks = self._hangover_chunks + 1

    def _open(self) -> bool:
        return self._since_speech_chunks <= self._hangover_chunks

    def _judge(self, waiting: Array, loud_frames: Frames, first: int, count: int) -> list[bool]:
        """Whether the gate is open after each of the whole chunks that wait."""
        if not count:
            return []
        edges = [_frames_before(chunk) - _frames_before(first) for chunk in range(first, first + count + 1)]
        loud: list[bool] = np.logical_or.reduceat(loud_frames[: edges[-1]], edges[:-1]).tolist()
        return [self._follow(probability) for probability in self._probabilities(waiting, loud)]

    def _probabilities(self, waiting: Array, loud: list[bool]) -> list[float]:
        """Of each chunk; 0 without a look at those that are not loud."""
        probabilities = [0.0] * len(loud)
        begin = 0
        while begin < len(loud):
            end = begin
            while end < len(loud) and loud[end]:
                end += 1
            if end > begin:
                probabilities[begin:end] = self._run(waiting, begin, end)
                self._ran = True
            if end < len(loud):
                self._ran = False
            begin = end + 1
        return probabilities

    def _run(self, waiting: Array, begin: int, end: int) -> list[float]:
        """The graph on chunks [begin, end), and on the one before where it has not heard that: the beginning of a word."""
        lead = 0 if self._ran else 1
        if lead:
            self._state = (STATE, STATE)
        chunks = behind_context(waiting[CHUNK_SAMPLES * (begin - lead + 1) :], end - begin + lead)
        heard = magnitudes(self._gain.raised(chunks))
        out = self._graph.run({"magnitudes": heard, "h": self._state[0], "c": self._state[1]})
        self._state = out["hn"], out["cn"]
        probabilities: list[float] = out["speech_probs"].tolist()
        return probabilities[lead:]

    def _follow(self, probability: float) -> bool:
        speech = probability >= (self.settings.end if self._open() else self.settings.begin)
        self._since_speech_chunks = 0 if speech else self._since_speech_chunks + 1
        return self._open()


def behind_context(samples: Array, chunks: int) -> Array:
    """The first chunks of samples that begin with the context of the first: [chunks, 576]."""
    rows = np.empty((chunks, CONTEXT_SAMPLES + CHUNK_SAMPLES), np.float32)
    length = chunks * CHUNK_SAMPLES
    rows[:, :CONTEXT_SAMPLES] = samples[:length].reshape(chunks, CHUNK_SAMPLES)[:, :CONTEXT_SAMPLES]
    rows[:, CONTEXT_SAMPLES:] = samples[CONTEXT_SAMPLES : CONTEXT_SAMPLES + length].reshape(chunks, CHUNK_SAMPLES)
    return rows


def magnitudes(chunks: Array) -> Array:
    """STFT of chunks behind their contexts [n, 576] -> [1, 144, n, 4].

    Silero's own graph convolves with sines and cosines, which takes twice as long. As there, a chunk is reflected at its end.
    """
    count, heard = chunks.shape
    rows = np.empty((count, heard + CONTEXT_SAMPLES), np.float32)
    rows[:, :heard] = chunks
    rows[:, heard:] = rows[:, heard - 2 : heard - 2 - CONTEXT_SAMPLES : -1]
    row, step = rows.strides
    framed: Array = np.ndarray((count, FFT_COUNT, FFT_POINTS), np.float32, rows, strides=(row, FFT_STEP * step, step))
    spectrum = np.fft.rfft(framed * WINDOW, axis=-1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    result = np.zeros((1, BINS, count, FFT_COUNT), np.float32)
    np.sqrt(power.transpose(2, 0, 1), out=result[0, : power.shape[2]])
    return result


def _frames_before(chunk: int) -> int:
    """Frames that end with the chunks before this one, or within them."""
    return chunk * CHUNK_SAMPLES // HOP_SAMPLES


@cache
def _graph() -> OnnxEngine:
    return OnnxEngine(GRAPH.read_bytes(), name=GRAPH.name, check=refuse_external_data)  # not ours, but it came with us
