"""Sounds that several benchmarks hear: real speech of LibriSpeech excerpts, white noise, synthetic music; and what wires
and rooms make of them. float32 [n] at 16 kHz."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfiltfilt

from edge_lupi.data.readers.librispeech import read_librispeech
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.sound.audio import read_audio

Samples = NDArray[np.float32]
Condition = Callable[[Samples, np.random.Generator], Samples]  # what happens to sound on its way
BAR_SECONDS = 2.0
SPEECH_RMS_DB = -26.0
CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))  # semitones above C3: C, Am, F, G
C3_HZ = 130.81
PARTIALS = 6
BEATS = 4
A = 87.6  # ITU-T G.711, A-law


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


def a_law(samples: Samples, draw: np.random.Generator) -> Samples:
    """8 kHz, 300 to 3,400 Hz, 8 bits of A-law at -20 dB."""
    band = sosfiltfilt(butter(5, (300, 3400), "bandpass", fs=SAMPLE_RATE_HZ, output="sos"), samples)
    narrow = at_level(band.astype(np.float32), -20.0)[::2]
    size = np.abs(narrow)
    scale = 1 + np.log(A)
    code = np.where(size < 1 / A, A * size, 1 + np.log(np.maximum(A * size, 1))) / scale
    code = np.round(code * 127) / 127
    back = np.where(code < 1 / scale, code * scale / A, np.exp(code * scale - 1) / A)
    wide = np.zeros(len(samples))
    wide[::2] = 2 * np.sign(narrow) * back
    wide = sosfiltfilt(butter(8, 3700, fs=SAMPLE_RATE_HZ, output="sos"), wide)
    return at_level(wide.astype(np.float32), SPEECH_RMS_DB)


def babble(samples: Samples, draw: np.random.Generator) -> Samples:
    """Five other voices at once, 10 dB below."""
    voices = _crowd()
    crowd = np.zeros(len(samples), np.float32)
    for voice in draw.choice(len(voices), 5, replace=False):
        crowd += np.resize(np.roll(voices[voice], int(draw.integers(len(voices[voice])))), len(samples))
    return at_level(at_level(samples, SPEECH_RMS_DB) + at_level(crowd, SPEECH_RMS_DB - 10), SPEECH_RMS_DB)


def room(samples: Samples, draw: np.random.Generator) -> Samples:
    """A room of RT60 0.5 s by exponentially decaying noise, direct sound and tail equally strong."""
    time = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    tail = draw.standard_normal(len(time)) * 10 ** (-3 * time / 0.5)
    tail[: round(0.005 * SAMPLE_RATE_HZ)] = 0
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1
    return at_level(fftconvolve(samples, response)[: len(samples)].astype(np.float32), SPEECH_RMS_DB)


CONDITIONS: dict[str, Condition] = {
    "as recorded": lambda samples, draw: samples,
    "8 kHz A-law": a_law,
    "babble 10 dB": babble,
    "RT60 0.5 s": room,
}


@functools.cache
def _crowd() -> list[Samples]:
    return clips(40)


def _note(time: NDArray[np.float64], semitone: int, decay: float) -> NDArray[np.float64]:
    pitch_hz = C3_HZ * 2 ** (semitone / 12)
    tone = sum(np.sin(2 * np.pi * pitch_hz * n * time) / n for n in range(1, PARTIALS + 1))
    return np.asarray(tone * np.exp(-decay * time) * np.minimum(1, time / 0.01))


def _drum(time: NDArray[np.float64], draw: np.random.Generator, *, kick: bool) -> NDArray[np.float64]:
    if kick:
        return np.asarray(np.sin(2 * np.pi * 60 * time) * np.exp(-12 * time))
    return np.asarray(0.3 * np.diff(draw.standard_normal(len(time) + 1)) * np.exp(-40 * time))
