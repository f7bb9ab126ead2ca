"""Rooms decay as they were told to, near ones are drier than far ones, and real speech stays in its place."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.sound.audio import read_audio
from edge_lupi.train.sounds.rooms import Rooms, convolved, impulse_response

CPU = torch.device("cpu")


def decay_seconds(response: np.ndarray) -> float:
    """RT60 about 1 kHz and below of what follows the direct sound, by Schroeder's backward integration from -5 to -25 dB."""
    points = 2 * len(response)
    low = np.exp(-((np.fft.rfftfreq(points, 1 / 16000) / 1000) ** 2))
    response = np.fft.irfft(np.fft.rfft(response, points) * low, points)[320 : len(response)]
    energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    first, last = np.argmax(level < -5), np.argmax(level < -25)
    return 3 * (last - first) / 16000


@pytest.mark.parametrize("wanted", [0.2, 0.5, 1.0])
def test_a_room_decays_in_its_time(wanted: float) -> None:
    draw = np.random.default_rng(0)
    found = [decay_seconds(impulse_response(draw, wanted, 1024 + round(wanted * 16000))) for _ in range(20)]
    assert 0.85 * wanted < np.median(found) < 1.1 * wanted


def test_the_direct_sound_is_first_and_there_are_dry_and_wet_rooms() -> None:
    rooms = Rooms(3, (0.2, 1.0), CPU)
    again = Rooms(3, (0.2, 1.0), CPU)
    assert torch.equal(rooms.responses, again.responses)
    responses = rooms.responses.numpy()
    assert np.isfinite(responses).all()
    direct = (responses[:, :40] ** 2).sum(1)
    ratio_db = 10 * np.log10(direct / (responses[:, 40:] ** 2).sum(1))
    assert np.quantile(ratio_db, 0.1) < -3
    assert np.quantile(ratio_db, 0.9) > 5


def test_fft_is_convolution() -> None:
    draw = torch.Generator().manual_seed(0)
    sound, response = torch.randn(2, 500, generator=draw), torch.randn(2, 90, generator=draw)
    wanted = np.stack([np.convolve(s, r)[:500] for s, r in zip(sound.numpy(), response.numpy(), strict=True)])
    np.testing.assert_allclose(convolved(sound, response).numpy(), wanted, atol=1e-4)


def test_speech_in_a_room_is_as_loud_and_where_it_was(data_root: Path) -> None:
    path = sorted((data_root / "librispeech_excerpts" / "audio").rglob("*.flac"))[0]
    speech = torch.from_numpy(read_audio(path)[:48000]).repeat(32, 1)
    chance = torch.linspace(0, 0.999, 32)
    wet = Rooms(0, (0.2, 1.0), CPU).heard(speech, chance)
    assert wet.shape == speech.shape
    torch.testing.assert_close(wet.square().mean(1), speech.square().mean(1), rtol=1e-3, atol=0)
    spectrum = torch.fft.rfft(speech, 131072).conj() * torch.fft.rfft(wet, 131072)
    lag = torch.fft.irfft(spectrum).abs().argmax(1)
    assert (torch.minimum(lag, 131072 - lag) < 800).all()  # the strongest of its sounds within 50 ms
    assert (torch.nn.functional.cosine_similarity(wet, speech) < 0.98).float().mean() > 0.7
