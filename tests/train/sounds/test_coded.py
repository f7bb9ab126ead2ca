"""Real codecs on real speech: the same words, in their place, of another sound."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_lupi.sound.audio import read_audio, to_pcm
from edge_lupi.train.sounds.coded import CODECS, Codec, codecs_here, coded, coded_sounds
from edge_lupi.train.sounds.sounds import Sounds

pytest.importorskip("av")


@pytest.fixture(scope="module")
def speech(data_root: Path) -> np.ndarray:
    path = sorted((data_root / "librispeech_excerpts" / "audio").rglob("*-0000.flac"))[0]
    return to_pcm(read_audio(path)[8000:40123])


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first.astype(np.float64), second.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_there_and_back(speech: np.ndarray, codec: Codec) -> None:
    if codec not in codecs_here():
        pytest.skip(f"PyAV here has no {codec.name}")
    found = coded(speech, codec, codec.bit_rates[-1])
    assert found.shape == speech.shape
    assert found.dtype == np.int16
    assert 0.7 < likeness(speech, found) < 0.9999
    assert max(range(-400, 401, 20), key=lambda lag: likeness(speech[400:-400], np.roll(found, lag)[400:-400])) == 0


def test_every_utterance_has_one_of_its_own(
    speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    length = torch.tensor([16000, 16000])
    sounds = Sounds(("a", "b"), torch.from_numpy(speech[:32000].copy()), torch.tensor([0, 16000]), length)
    found = coded_sounds(sounds, 0, tmp_path)
    (kept,) = tmp_path.glob("coded.*.npy")
    with monkeypatch.context() as patch:
        patch.setattr("edge_lupi.train.sounds.coded.coded", lambda *_: pytest.fail("coded again"))
        assert torch.equal(found.flat, coded_sounds(sounds, 0, tmp_path).flat)
    kept.write_bytes(kept.read_bytes()[:100])
    assert torch.equal(found.flat, coded_sounds(sounds, 0, tmp_path).flat)
    for start in (0, 16000):
        piece = slice(start, start + 16000)
        assert 0.6 < likeness(sounds.flat[piece].numpy(), found.flat[piece].numpy()) < 0.9999
