"""The teacher's embeddings of a corpus, computed once: E [S, D] and A [D] per example, standardised, on disk with a fingerprint."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_lupi.audio import from_pcm
from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.teacher import Teacher
from edge_lupi.train.examples import Batch, Example, as_seen

__all__ = ["TeacherEmbeddings", "teacher_embeddings"]


@dataclass(frozen=True)
class TeacherEmbeddings:
    """segments float32 [sum S, D] of all examples in turn, `starts` [N + 1] where each begins, utterances [N, D].

    Both are standardised per channel over the corpus, so a squared distance of 1 is the teacher's own spread.
    """

    segments: Tensor
    starts: Tensor
    utterances: Tensor

    def of(self, batch: Batch, count: int) -> tuple[Tensor, Tensor]:
        """E [B, S, D] and A [B, D] for a batch of crops of `count` segments."""
        device = batch.samples.device
        first = self.starts[list(batch.examples)] + torch.tensor(batch.firsts)
        rows = first[:, None] + torch.arange(count)
        return self.segments[rows].to(device), self.utterances[list(batch.examples)].to(device)


def teacher_embeddings(
    teacher: Teacher, weights: bytes, examples: Sequence[Example], folder: Path, device: torch.device
) -> TeacherEmbeddings:
    """From the cache where teacher, corpus and segmentation are the same, else computed now and kept."""
    key = _fingerprint(weights, examples, teacher.config.segmentation)
    path = folder / "teacher_embeddings.npz"
    kept = _kept(path, key)
    if kept is not None:
        return kept
    fresh = _compute(teacher.to(device).eval(), examples, device)
    temporary = path.with_suffix(f".{os.getpid()}.npz")  # under torchrun every process may write; the same bytes win
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            temporary,
            fingerprint=np.array(key),
            segments=fresh.segments.numpy(),
            starts=fresh.starts.numpy(),
            utterances=fresh.utterances.numpy(),
        )
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"could not write {path} ({error.strerror}): free some space or choose another --out"
        ) from error
    return fresh


def _kept(path: Path, key: str) -> TeacherEmbeddings | None:
    """What lies in the cache, where it is whole and of this fingerprint."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["fingerprint"]) == key:
                return TeacherEmbeddings(*(torch.from_numpy(kept[n]) for n in ("segments", "starts", "utterances")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        pass  # absent or damaged: computed anew
    return None


@torch.no_grad()
def _compute(teacher: Teacher, examples: Sequence[Example], device: torch.device) -> TeacherEmbeddings:
    segments, utterances, starts = [], [], [0]
    for example in examples:
        samples = torch.from_numpy(from_pcm(example.samples))[None].to(device)
        video = None if example.video is None else as_seen(example.video)[None].to(device)
        heard = teacher(cut(log_mel(samples), teacher.config.segmentation), video)
        segments.append(heard.segments[0].cpu())
        utterances.append(heard.utterance.cpu())
        starts.append(starts[-1] + len(segments[-1]))
    return TeacherEmbeddings(
        _standardise(torch.cat(segments)), torch.tensor(starts), _standardise(torch.cat(utterances))
    )


def _standardise(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / values.std(0).clamp_min(1e-4)


def _fingerprint(weights: bytes, examples: Sequence[Example], segmentation: Segmentation) -> str:
    digest = hashlib.sha256(weights)
    digest.update(repr(segmentation).encode())
    for example in examples:
        digest.update(f"{example.name}\0{example.segments}\0".encode())
        digest.update(example.samples.tobytes())
        if example.video is not None:
            digest.update(example.video.contiguous().numpy().tobytes())
    return digest.hexdigest()
