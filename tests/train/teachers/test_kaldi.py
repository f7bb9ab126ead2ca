"""Filter banks in batches are Kaldi's, as torchaudio computes them row by row, on real speech."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi as reference

from edge_lupi.sound.audio import read_audio
from edge_lupi.train.teachers.kaldi import fbank, kaldi_fbank


@pytest.mark.parametrize("samples", [400, 16000, 32123])
def test_batched_banks_are_kaldis(data_root: Path, samples: int) -> None:
    paths = sorted((data_root / "librispeech_excerpts" / "audio").rglob("*-0000.flac"))[:5]
    speech = torch.from_numpy(np.stack([np.resize(read_audio(path), samples) for path in paths]))
    speech[0] = 0.0
    wanted = torch.stack([reference.fbank(row[None], num_mel_bins=80, dither=0.0) for row in speech])
    found = fbank(speech)
    assert found.shape == (5, (samples - 400) // 160 + 1, 80)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
    torch.testing.assert_close(kaldi_fbank(speech), wanted - wanted.mean(1, keepdim=True), atol=1e-3, rtol=0)
