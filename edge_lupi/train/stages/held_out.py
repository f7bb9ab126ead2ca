"""Validation after every epoch, on voices that training does not hear: so overfitting to voices shows.

Of the validation speakers: the mean cosine between what the student and its teachers say of clean crops, and, where voices
are compared, the EER of pieces of 3 s. All on the device that trains.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.data.utterance import Utterance
from edge_lupi.disk import read_bounded, written_at_once
from edge_lupi.errors import InputError
from edge_lupi.frames import HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.metrics.verification import eer
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.models.student import Student
from edge_lupi.task import verifies
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.sounds.fresh import margin_samples
from edge_lupi.train.sounds.sounds import Sounds, load_sounds
from edge_lupi.train.teachers.live import LiveTeacher

__all__ = ["Best", "HeldOut", "held_out"]

PIECE_SECONDS = 3
ROWS_AT_ONCE = 128
MOST_CROPS = 1024
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class HeldOut:
    """Crops [N, 80, 1, F] and what the teachers say of them; pieces [P, 80, 1, F] and whose they are [P]."""

    recipe: Recipe
    teachers: Sequence[LiveTeacher]
    crops: Tensor
    wanted: Sequence[Tensor]
    pieces: Tensor
    voices: np.ndarray

    @torch.no_grad()
    def __call__(self, student: Student, ways: Iterable[nn.Module]) -> dict[str, float]:
        """`held-out cosine` to every teacher, and `held-out EER`, as far as there is something to measure."""
        was, found = student.training, {}
        student.eval()
        for number, (teacher, wanted, way) in enumerate(zip(self.teachers, self.wanted, ways, strict=True)):
            own = way(self._heard(student, self.crops, teacher.recipe.place == "segment"))
            name = f"held-out cosine {number}" if len(self.teachers) > 1 else "held-out cosine"
            found[name] = float(F.cosine_similarity(own, wanted, dim=-1).mean())
        if len(self.pieces):
            vectors = F.normalize(self._heard(student, self.pieces, False)).cpu().double().numpy()
            first, second = np.triu_indices(len(vectors), 1)
            same = self.voices[first] == self.voices[second]
            found["held-out EER"] = eer((vectors @ vectors.T)[first, second], same).value
        student.train(was)
        return found

    def _heard(self, student: Student, frames: Tensor, by_segment: bool) -> Tensor:
        grid, every = self.recipe.segments.segmentation, self.recipe.segments.every
        found = []
        for rows in torch.split(frames, ROWS_AT_ONCE):
            heard = student(cut(rows, grid)[:, ::every])
            found.append(heard.segments if by_segment else heard.utterance)
        return torch.cat(found)


@torch.no_grad()
def held_out(
    recipe: Recipe, utterances: Sequence[Utterance], device: torch.device, teachers: Sequence[LiveTeacher] = ()
) -> HeldOut | None:
    """The speech of validation speakers and what its teachers say of it, once; None without any."""
    if not utterances:
        return None
    sounds = load_sounds(utterances, recipe.segments.trim_db, device)
    margin, length = margin_samples(recipe), recipe.segments.crop_frames * HOP_SAMPLES
    which, first = _grid(sounds, length, at_least_one=True)
    chosen = torch.linspace(0, len(which) - 1, min(MOST_CROPS, len(which))).long()
    which, first = which[chosen], first[chosen]
    clean = sounds.crops(which, first, torch.ones(len(which), dtype=torch.float64), margin * 2 + length, margin)
    frames = log_mel(clean[:, margin : margin + length])
    batch = Batch(frames, which, (), (), None, clean=clean)
    count = len(range(0, recipe.segments.segmentation.count(recipe.segments.crop_frames), recipe.segments.every))
    wanted = [teacher.of(batch, count, recipe.segments.every) for teacher in teachers]
    pieces, voices = _pieces(sounds, utterances, recipe)
    return HeldOut(recipe, teachers, frames, wanted, pieces, voices)


def _pieces(sounds: Sounds, utterances: Sequence[Utterance], recipe: Recipe) -> tuple[Tensor, np.ndarray]:
    """log-mel of pieces one after the other, and their voices; none where there is nothing to compare."""
    which, first = _grid(sounds, PIECE_SECONDS * SAMPLE_RATE_HZ, at_least_one=False)
    voices = np.array([utterances[i].label for i in which.tolist()])
    again = len(voices) > len(set(voices.tolist())) > 1
    if not verifies(recipe.data.task) or not again:
        return torch.zeros(0), voices
    speed = torch.ones(len(which), dtype=torch.float64)
    return log_mel(sounds.crops(which, first, speed, PIECE_SECONDS * SAMPLE_RATE_HZ)), voices


def _grid(sounds: Sounds, length: int, *, at_least_one: bool) -> tuple[Tensor, Tensor]:
    """Which utterances and samples begin pieces of such a length that do not overlap, int64 [N]."""
    counts = (sounds.lengths // length).clamp_min(int(at_least_one))
    which = torch.repeat_interleave(torch.arange(len(counts)), counts)
    before = counts.cumsum(0) - counts
    return which, (torch.arange(len(which)) - before[which]) * length


class Best:
    """Keeps the student of the epoch that does best on held-out voices: nearest to its teachers or, without, of least EER."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def score(found: dict[str, float]) -> float:
        """The higher the better."""
        cosines = [value for key, value in found.items() if key.startswith("held-out cosine")]
        return sum(cosines) / len(cosines) if cosines else -found.get("held-out EER", 0.0)

    def see(self, student: Student, history: Sequence[dict[str, float]]) -> None:
        """Keep this epoch's student, the last of the history, if none before was better."""
        if all(self.score(history[-1]) > self.score(earlier) for earlier in history[:-1]):
            content = {name: value.detach().cpu() for name, value in student.state_dict().items()}
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with written_at_once(self.path) as file:
                    torch.save(content, file)
            except (OSError, RuntimeError) as error:
                reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
                raise InputError(f"could not write {self.path} ({reason}): free some space") from error

    def take(self, student: Student) -> None:
        """The best student's weights."""
        content = io.BytesIO(read_bounded(self.path, MAX_BYTES, "the best epoch's student"))
        try:
            student.load_state_dict(torch.load(content, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds
            raise InputError(f"{self.path} is damaged: train afresh", options=("fresh",)) from error
