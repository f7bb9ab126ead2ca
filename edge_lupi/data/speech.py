"""The sound of an utterance, with or without the silence around it. Utterance -> samples float32 [T] at 16 kHz."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_lupi.data.utterance import Utterance
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.sound.audio import SHORTEST_SAMPLES, read_audio, speech_span

__all__ = ["read_speech"]


def read_speech(utterance: Utterance, trim_db: float = 0.0) -> tuple[NDArray[np.float32], Utterance]:
    """Its samples [T], and the utterance with the time they are of, so that video stays beside them; 0 dB trims nothing."""
    samples = read_audio(utterance.audio, start_seconds=utterance.start_seconds, end_seconds=utterance.end_seconds)
    if not trim_db:
        return samples, utterance
    first, last = speech_span(samples, trim_db)
    if last - first < SHORTEST_SAMPLES:
        return samples, utterance
    start = utterance.start_seconds + first / SAMPLE_RATE_HZ
    return samples[first:last], replace(
        utterance, start_seconds=start, end_seconds=start + (last - first) / SAMPLE_RATE_HZ
    )
