"""Waveforms of a corpus in memory, and crops of it from any sample on at any speed. -> samples float32 [B, T] at 16 kHz.

Samples lie one after the other as int16, on the device that trains: an hour is 115 MB. At another speed a crop is read between
the samples, through a windowed sinc that ends below the lower of the two Nyquist frequencies (Smith and Gossett 1984): a voice
at another speed has another pitch and other formants, and is another voice. An utterance that is too short is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.sound.audio import to_pcm

__all__ = ["Sounds", "load_sounds"]

MAX_BYTES = 12 << 30  # of samples held in memory
FULL_SCALE = 32768.0
HALF_TAPS = 12
ROLL_OFF = 0.95  # of the Nyquist frequency, where the filter falls
PHASES = 1024  # places between two samples at which the filter is known; what is lost lies 56 dB below


@dataclass(frozen=True)
class Sounds:
    """Utterances one after the other in `flat` int16 [T] on a device; of each its name, start and length, int64 [N] on the CPU."""

    names: tuple[str, ...]
    flat: Tensor
    starts: Tensor
    lengths: Tensor

    @property
    def device(self) -> torch.device:
        """Where the samples lie."""
        return self.flat.device

    def crops(self, which: Tensor, first: Tensor, speed: Tensor, length: int, before: int = 0) -> Tensor:
        """`length` samples of utterances [B] at speeds [B], the sample at `before` being number `first` [B] of the utterance."""
        found = torch.empty(len(which), length, device=self.device)
        offsets = torch.arange(-before, length - before, device=self.device)
        for rows, read in ((speed == 1, self._as_it_is), (speed != 1, self._between)):
            chosen = torch.nonzero(rows)[:, 0]
            if len(chosen):
                lie = self.starts[which[chosen]], self.lengths[which[chosen]]
                here = (x.to(self.device)[:, None] for x in (*lie, first[chosen], speed[chosen]))
                found[chosen.to(self.device)] = read(offsets, *here)
        return found

    def _as_it_is(self, offsets: Tensor, start: Tensor, length: Tensor, first: Tensor, _: Tensor) -> Tensor:
        return self._at(start, length, first + offsets)

    def _between(self, offsets: Tensor, start: Tensor, length: Tensor, first: Tensor, speed: Tensor) -> Tensor:
        """Taps one after the other: all at once would hold 24 times the batch."""
        place = first + speed.double() * offsets  # float32 tells no fractions of a sample far into a file
        whole = place.floor()
        phase = ((place - whole) * PHASES).round().long()
        whole = whole.long()
        weights = _weights(ROLL_OFF / speed.clamp_min(1).float())
        found = torch.zeros(place.shape, device=place.device)
        for number, tap in enumerate(range(1 - HALF_TAPS, HALF_TAPS + 1)):
            found += weights[number].gather(1, phase) * self._at(start, length, whole + tap)
        return found

    def _at(self, start: Tensor, length: Tensor, place: Tensor) -> Tensor:
        """The samples [B, T] at places; what is before the beginning or after the end is repeated."""
        return self.flat[start + place.remainder(length)].float() / FULL_SCALE

    def beside(self, flat: NDArray[np.int16]) -> Sounds:
        """Other samples at the same places: the same speech after a codec."""
        return Sounds(self.names, torch.from_numpy(flat).to(self.device), self.starts, self.lengths)


def _weights(cutoff: Tensor) -> Tensor:
    """Windowed sinc that ends at shares [B, 1] of the Nyquist frequency, at every phase. [taps, B, PHASES + 1]."""
    part = torch.arange(PHASES + 1, device=cutoff.device) / PHASES
    away = torch.arange(1 - HALF_TAPS, HALF_TAPS + 1, device=cutoff.device)[:, None] - part
    hann = 0.5 + 0.5 * torch.cos(math.pi / HALF_TAPS * away)
    return cutoff * torch.sinc(cutoff * away[:, None]) * hann[:, None]


def load_sounds(utterances: Sequence[Utterance], trim_db: float, device: torch.device) -> Sounds:
    """Read every utterance, without the silence around it where `trim_db` is above 0."""
    pieces, held = [], 0
    for utterance in utterances:
        pieces.append(_pcm(utterance, trim_db))
        held += pieces[-1].nbytes
        if held > MAX_BYTES:
            raise InputError(
                f'expected a corpus of at most {MAX_BYTES >> 30} GiB of samples in memory, got more: set data.sound = "log-mel" and cut it with edge-lupi train shards'
            )
    if not pieces:
        raise InputError("expected at least one utterance, got none: bring more, or hold out fewer")
    lengths = torch.tensor([len(piece) for piece in pieces])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])
    flat = torch.from_numpy(np.concatenate(pieces)).to(device)
    return Sounds(tuple(u.name for u in utterances), flat, starts, lengths)


def _pcm(utterance: Utterance, trim_db: float) -> NDArray[np.int16]:
    samples = read_speech(utterance, trim_db)[0]
    return to_pcm(samples) if len(samples) else np.zeros(1, np.int16)
