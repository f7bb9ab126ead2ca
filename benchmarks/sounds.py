"""Sounds that several benchmarks hear: real speech of LibriSpeech excerpts, white noise, synthetic music. float32 [n] at 16 kHz."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.audio import read_audio
from edge_lupi.data.librispeech import read_librispeech
from edge_lupi.frames import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]
BAR_SECONDS = 2.0
SPEECH_RMS_DB = -26.0
CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))  # semitones above C3: C, Am, F, G
C3_HZ = 130.81
PARTIALS = 6
BEATS = 4


def data_root() -> Path:
    """Where the corpora are: $EDGE_LUPI_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("EDGE_LUPI_DATA") or beside)


def clips(count: int, split: str = "train") -> list[Samples]:
    """The first `count` recordings of a split, one speaker each, at one level."""
    utterances = [u for u in read_librispeech(data_root() / "librispeech_excerpts").utterances if u.split == split]
    return [at_level(read_audio(utterance.audio), SPEECH_RMS_DB) for utterance in utterances[:count]]


def at_level(samples: Samples, rms_db: float) -> Samples:
    """The samples scaled to this RMS in dB of full scale."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) + 1e-12
    return np.clip(samples * np.float32(10 ** (rms_db / 20) / rms), -1, 1).astype(np.float32)


def white(index: int, seconds: float, rms_db: float) -> Samples:
    """White noise; the same index gives the same noise."""
    draw = np.random.default_rng(index)
    noise = draw.standard_normal(round(seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    return noise * np.float32(10 ** (rms_db / 20))


def music(index: int, seconds: float, rms_db: float) -> Samples:
    """So many seconds of chords, arpeggios and drums, from bar `index` on."""
    bars = [bar(number) for number in range(index, index + int(np.ceil(seconds / BAR_SECONDS)))]
    return at_level(np.concatenate(bars)[: round(seconds * SAMPLE_RATE_HZ)], rms_db)


@functools.lru_cache(maxsize=64)
def bar(index: int) -> Samples:
    """Two seconds: a held chord, its notes one after the other an octave higher, a drum or a hi-hat on every beat."""
    draw = np.random.default_rng(index % 64)
    time = np.arange(round(BAR_SECONDS * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    chord = CHORDS[index % len(CHORDS)]
    sound = sum((0.3 * _note(time, semitone, decay=0.8) for semitone in chord), start=np.zeros(len(time)))
    for step in range(2 * BEATS):
        begin = step * len(time) // (2 * BEATS)
        semitone = 12 + chord[int(draw.integers(len(chord)))]
        sound[begin:] += 0.4 * _note(time[: len(time) - begin], semitone, decay=4.0)
        sound[begin:] += _drum(time[: len(time) - begin], draw, kick=step % 4 == 0)
    return (0.2 * sound).astype(np.float32)


def mixed(speech: Samples, noise: Samples, snr_db: float) -> Samples:
    """Speech with noise of the same length, so many dB below the level that `clips` gives speech."""
    return np.clip(speech + at_level(noise, SPEECH_RMS_DB - snr_db), -1, 1).astype(np.float32)


def _note(time: NDArray[np.float64], semitone: int, decay: float) -> NDArray[np.float64]:
    pitch_hz = C3_HZ * 2 ** (semitone / 12)
    tone = sum(np.sin(2 * np.pi * pitch_hz * n * time) / n for n in range(1, PARTIALS + 1))
    return np.asarray(tone * np.exp(-decay * time) * np.minimum(1, time / 0.01))


def _drum(time: NDArray[np.float64], draw: np.random.Generator, *, kick: bool) -> NDArray[np.float64]:
    if kick:
        return np.asarray(np.sin(2 * np.pi * 60 * time) * np.exp(-12 * time))
    return np.asarray(0.3 * np.diff(draw.standard_normal(len(time) + 1)) * np.exp(-40 * time))
