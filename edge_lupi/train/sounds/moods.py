"""Moods by a vocoder: the same words of the same mouth, spoken otherwise. samples float32 [T] at 16 kHz -> the same length.

WORLD (Morise et al. 2016) takes speech apart into pitch, envelope and breath; the pitch is put at another height with more or
less of a melody, the pace and the effort change, and now and then it is a whisper. Readers read calmly: so one hears how their voices
would vary. Needs pyworld, which is built from source.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import MissingExtra
from edge_lupi.frames import SAMPLE_RATE_HZ

__all__ = ["in_another_mood", "vocoder"]

Samples = NDArray[np.float32]
FRAME_MS = 10.0
HIGHEST_HZ = 500.0
WHISPERED = 0.05  # of what is spoken otherwise


def vocoder() -> Any:
    """The module pyworld. Raises MissingExtra where it is not installed."""
    try:
        import pyworld
    except ImportError as error:
        raise MissingExtra("wccn.moods", "pyworld", install="pip install pyworld") from error
    return pyworld


def in_another_mood(samples: Samples, draw: np.random.Generator) -> Samples:
    """The same words float32 [T] by the same mouth, otherwise: height and melody of the voice, pace, effort; now and then whispered."""
    pyworld = vocoder()
    spoken = samples.astype(np.float64)
    pitch, times = pyworld.dio(spoken, SAMPLE_RATE_HZ, f0_ceil=HIGHEST_HZ, frame_period=FRAME_MS)
    pitch = pyworld.stonemask(spoken, pitch, times, SAMPLE_RATE_HZ)
    envelope = pyworld.cheaptrick(spoken, pitch, times, SAMPLE_RATE_HZ)
    breath = pyworld.d4c(spoken, pitch, times, SAMPLE_RATE_HZ)
    voiced = pitch > 0
    if voiced.any() and draw.random() >= WHISPERED:
        middle = np.exp(np.log(pitch[voiced]).mean())
        height, melody = np.exp(draw.uniform(np.log(0.85), np.log(2.0))), draw.uniform(0.4, 2.0)
        pitch[voiced] = np.minimum(middle * height * (pitch[voiced] / middle) ** melody, HIGHEST_HZ)
    else:
        pitch[:], breath[:] = 0, 1
    octaves = np.log2(np.maximum(np.linspace(0, SAMPLE_RATE_HZ / 2, envelope.shape[1]), 125) / 1000)
    envelope *= 10 ** (draw.uniform(-4, 4) * octaves / 10)  # dB an octave: a soft voice falls off, a hard one does not
    pace = draw.uniform(0.75, 1.35)
    frames = np.minimum(np.arange(0, len(pitch), pace).astype(int), len(pitch) - 1)
    said = pyworld.synthesize(pitch[frames], envelope[frames], breath[frames], SAMPLE_RATE_HZ, frame_period=FRAME_MS)
    said = np.resize(said, len(samples)) * np.abs(spoken).max() / max(np.abs(said).max(), 1e-6)
    result: Samples = said.astype(np.float32)
    return result
