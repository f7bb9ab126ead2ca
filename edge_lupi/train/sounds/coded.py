"""Codec simulation: speech after a real codec, MP3, Opus, AMR (of GSM telephones), G.722. samples int16 [T] at 16 kHz -> the same length.

Through PyAV, on the CPU: of every utterance one coded version is made when a training begins, by a codec and bit rate drawn
for it, and kept beside the results, so a training step only reads. What the codec delays is found by correlation, and taken
back.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from edge_lupi.cores import usable_cores
from edge_lupi.disk import plain_array, read_bounded
from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.train.examples.keep import keep
from edge_lupi.train.sounds.sounds import MAX_BYTES, Sounds

__all__ = ["CODECS", "Codec", "codecs_here", "coded", "coded_sounds"]

log = logging.getLogger(__name__)

LONGEST_DELAY = SAMPLE_RATE_HZ // 5
PIECE_SAMPLES = 960  # for codecs that take any number at once
MOST_THREADS = 16
HEADER_BYTES = 1 << 12


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg's, the rate it works at, and bit rates that are in use."""

    name: str
    rate_hz: int
    bit_rates: tuple[int, ...]


CODECS = (
    Codec("libmp3lame", 16_000, (16_000, 24_000, 32_000, 64_000)),
    Codec("libopus", 16_000, (8_000, 12_000, 16_000, 24_000)),
    Codec("libopencore_amrnb", 8_000, (4_750, 5_900, 7_400, 12_200)),
    Codec("g722", 16_000, (64_000,)),
)


def codecs_here() -> list[Codec]:
    """Those that this installation of PyAV can encode with."""
    try:
        import av
    except ImportError as error:
        raise MissingExtra("augment.codecs", "PyAV", "train") from error
    found = []
    for codec in CODECS:
        try:
            av.codec.Codec(codec.name, "w")
        except ValueError:  # PyAV's UnknownCodecError
            continue
        found.append(codec)
    return found


def coded_sounds(sounds: Sounds, seed: int, folder: Path) -> Sounds:
    """Every utterance after a codec of its own, as an earlier training kept it or made now and kept."""
    here = codecs_here()
    flat = sounds.flat.cpu().numpy()
    what = repr((seed, here, sounds.starts.tolist())).encode()
    path = folder / f"coded.{hashlib.sha256(what + flat.tobytes()).hexdigest()[:16]}.npy"
    try:
        kept = plain_array(read_bounded(path, MAX_BYTES + HEADER_BYTES))
        if kept.shape == flat.shape and kept.dtype == np.int16:
            return sounds.beside(kept)
    except (InputError, ValueError):
        pass  # absent or damaged: made again
    log.info(f"{len(flat) / SAMPLE_RATE_HZ / 60:.0f} minutes of speech go through codecs first")
    found = _all_coded(flat, sounds, here, seed)
    packed = io.BytesIO()
    np.save(packed, found)
    keep(path, packed.getvalue())
    return sounds.beside(found)


def _all_coded(flat: NDArray[np.int16], sounds: Sounds, here: Sequence[Codec], seed: int) -> NDArray[np.int16]:
    found = np.empty_like(flat)

    def work(number: int) -> None:
        draw = np.random.default_rng([seed, 13, number])
        codec = here[int(draw.integers(len(here)))]
        rate = codec.bit_rates[int(draw.integers(len(codec.bit_rates)))]
        place = slice(int(sounds.starts[number]), int(sounds.starts[number] + sounds.lengths[number]))
        found[place] = coded(flat[place], codec, rate)

    with ThreadPoolExecutor(min(MOST_THREADS, usable_cores())) as threads:
        list(threads.map(work, range(len(sounds.names))))
    return found


def coded(samples: NDArray[np.int16], codec: Codec, bit_rate: int) -> NDArray[np.int16]:
    """One utterance there and back."""
    given = soxr.resample(samples, SAMPLE_RATE_HZ, codec.rate_hz) if codec.rate_hz != SAMPLE_RATE_HZ else samples
    back = _there_and_back(given, codec, bit_rate)
    if codec.rate_hz != SAMPLE_RATE_HZ:
        back = soxr.resample(back, codec.rate_hz, SAMPLE_RATE_HZ)
    late = _delay(samples, back)
    found = np.zeros(len(samples), np.int16)
    kept = back[late : late + len(samples)]
    found[: len(kept)] = kept
    return found


def _there_and_back(samples: NDArray[np.int16], codec: Codec, bit_rate: int) -> NDArray[np.int16]:
    import av

    encoder = av.CodecContext.create(codec.name, "w")
    takes = next((f.name for f in encoder.codec.audio_formats or () if f.name.startswith("s16")), "s16")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = codec.rate_hz, "mono", takes, bit_rate
    encoder.open()
    size = encoder.frame_size or PIECE_SAMPLES
    packets = []
    for start in range(0, len(samples) + LONGEST_DELAY, size):
        piece = np.zeros((1, size), np.int16)
        given = samples[start : start + size]
        piece[0, : len(given)] = given
        frame = av.AudioFrame.from_ndarray(piece, format=takes, layout="mono")
        frame.sample_rate, frame.pts = codec.rate_hz, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(encoder.codec.canonical_name, "r")
    decoder.sample_rate, decoder.layout = codec.rate_hz, "mono"
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    plain = av.AudioResampler("s16", "mono", codec.rate_hz)
    heard = [f for packet in packets for f in decoder.decode(packet)] + list(decoder.decode(None))
    pieces = [f.to_ndarray()[0] for one in (*heard, None) for f in plain.resample(one)]
    return np.concatenate(pieces)


def _delay(samples: NDArray[np.int16], back: NDArray[np.int16]) -> int:
    """By how many samples a codec's output comes late: where it looks most like its input."""
    points = 1 << (len(samples) + len(back)).bit_length()
    spectrum = np.fft.rfft(samples, points).conj() * np.fft.rfft(back, points)
    return int(np.fft.irfft(spectrum, points)[:LONGEST_DELAY].argmax())
