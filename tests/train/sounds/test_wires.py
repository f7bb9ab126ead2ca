"""A simulated line does to real speech what the real codec does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.sound.audio import read_audio
from edge_lupi.train.sounds.wires import LAWS, a_law, mu_law, telephone


@pytest.fixture(scope="module")
def speech(data_root: Path) -> torch.Tensor:
    paths = sorted((data_root / "librispeech_excerpts" / "audio").rglob("*.flac"))[:4]
    return torch.from_numpy(np.stack([read_audio(path)[16000:64000] for path in paths]))


def ratio_db(wanted: torch.Tensor, found: torch.Tensor) -> float:
    return float(10 * torch.log10(wanted.square().sum() / (wanted - found).square().sum()))


@pytest.mark.parametrize(("law", "codec"), [(a_law, "pcm_alaw"), (mu_law, "pcm_mulaw")])
def test_companding_is_as_good_as_the_real_one(
    speech: torch.Tensor, law: Callable[..., torch.Tensor], codec: str
) -> None:
    av = pytest.importorskip("av")
    pcm = (speech[:1] * 32767).round().short().numpy()
    encoder, decoder = av.CodecContext.create(codec, "w"), av.CodecContext.create(codec, "r")
    for context in (encoder, decoder):
        context.sample_rate, context.layout, context.format = 16000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
    frame.sample_rate = 16000
    coded = [f.to_ndarray() for p in encoder.encode(frame) for f in decoder.decode(p)]
    real = torch.from_numpy(np.concatenate(coded, 1)).float() / 32768
    assert abs(ratio_db(speech[:1], real) - ratio_db(speech[:1], law(speech[:1]))) < 1.5
    assert ratio_db(real, law(speech[:1])) > 30


def test_nothing_is_left_outside_the_band_and_what_is_in_it_stays(speech: torch.Tensor) -> None:
    law = torch.tensor([0, 0, 1, 2])
    found = telephone(speech, law, torch.full((4,), 300.0), torch.full((4,), 3400.0))
    assert found.shape == speech.shape
    hz = torch.fft.rfftfreq(speech.shape[1], 1 / 16000)
    power, before = (torch.fft.rfft(x).abs().square() for x in (found, speech))
    assert (power[:2, (hz < 240) | (hz > 3470)].sum(1) < 1e-4 * before[:2].sum(1)).all()
    assert (power[:, hz > 4000].sum(1) < 1e-6 * before.sum(1)).all()  # whatever the law, it is 8 kHz
    band = (hz > 360) & (hz < 3340)
    torch.testing.assert_close(power[:, band].sum(1), before[:, band].sum(1), rtol=0.02, atol=0)
    assert len(LAWS) == 3


def test_an_odd_number_of_samples(speech: torch.Tensor) -> None:
    edges = torch.full((4,), 50.0), torch.full((4,), 3900.0)
    found = telephone(speech[:, :40001], torch.zeros(4), *edges)
    assert found.shape == (4, 40001)
    assert ratio_db(speech[:, 8000:32000], found[:, 8000:32000]) > 5
