"""Speaker averages in training: what a voice was in its other clips. Rows of a batch -> voice [B, 1 + D]: how many clips are known, and their mean.

The newest utterance embedding of every example is kept, as it was when a step last heard it, less the mean of all voices then
(He et al. 2020, momentum contrast, arXiv 1911.05722, keep a queue of them for the same reason: it costs nothing). No gradient
goes through it. Which clips a row knows is drawn each time: none, a few or many, of all labels or mostly of the labels
of every day. Who has a single clip, as most who read have, is known by that clip, as an earlier step heard other crops of it:
with nothing known in training, somebody who has only read for a minute would be taken for moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_lupi.errors import InputError
from edge_lupi.train.examples.clips import Example
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.recipe.voice import VoiceRecipe

__all__ = ["Voices"]

NOBODY = -1  # no clip
MOSTLY = 0.85  # of such clips are of the labels of every day


class Voices(nn.Module):
    """The examples of every voice, and the newest embedding of each, kept with the checkpoint."""

    newest: Tensor
    known: Tensor

    def __init__(self, examples: Sequence[Example], classes: Sequence[str], recipe: VoiceRecipe, size: int) -> None:
        super().__init__()
        strange = sorted(set(recipe.mostly) - set(classes))
        if strange:
            raise InputError(f"expected voice.mostly of {', '.join(classes)}, got {', '.join(strange)}")
        usual = {classes.index(label) for label in recipe.mostly}
        self.recipe = recipe
        self.begun = recipe.after == 0
        self._voices = [None if e.speaker is None else (e.speaker, e.speed) for e in examples]
        self._all: dict[tuple[str, float], list[int]] = {}
        self._usual: dict[tuple[str, float], list[int]] = {}
        for number, (voice, example) in enumerate(zip(self._voices, examples, strict=True)):
            if voice is not None:
                self._all.setdefault(voice, []).append(number)
                if example.label in usual:
                    self._usual.setdefault(voice, []).append(number)
        self.register_buffer("newest", torch.zeros(len(examples), size))
        self.register_buffer("known", torch.zeros(len(examples), dtype=torch.bool))

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """From some epoch on rows know of their voices."""
        self.begun = epoch >= self.recipe.after * epochs

    def choose(self, rows: Sequence[int], draw: Draw) -> Tensor:
        """Which other clips of its voice each row knows, or its own where that is the only one: numbers of examples [B, most], NOBODY where there are fewer."""
        most = self.recipe.most
        chances = draw.uniform(len(rows), 2 + 2 * most).tolist()
        chosen = [self._chosen(row, chance) for row, chance in zip(rows, chances, strict=True)]
        return torch.tensor([found + [NOBODY] * (most - len(found)) for found in chosen])

    def _chosen(self, row: int, chances: list[float]) -> list[int]:
        voice, alone, most = self._voices[row], self.recipe.alone, self.recipe.most
        many, kind, *each = chances
        if voice is None or many < alone or not self.begun:
            return []
        count = 1 + int((many - alone) / (1 - alone) * most)
        of_all, usual = self._all[voice], self._usual.get(voice, []) if kind < 0.5 else []
        found = []
        for place, which in zip(each[:count], each[most:], strict=False):
            pool = usual if usual and which < MOSTLY else of_all
            found.append(pool[int(place * len(pool))])
        return found if len(of_all) == 1 else [number for number in found if number != row]

    def of(self, chosen: Tensor, population: Tensor) -> Tensor:
        """Numbers of examples [B, most], and the mean of all voices [D] as it is now -> voice [B, 1 + D]."""
        known = ((chosen >= 0) & self.known[chosen.clamp_min(0)]).float()
        clips = known.sum(1, keepdim=True)
        mean = (known[:, :, None] * self.newest[chosen.clamp_min(0)]).sum(1) / clips.clamp_min(1)
        return torch.cat([clips, mean + population], 1)

    @torch.no_grad()
    def keep(self, rows: Tensor, utterances: Tensor, population: Tensor) -> None:
        """What these examples [B] were heard as now, [B, D]."""
        self.newest[rows] = (utterances.detach() - population).to(self.newest.dtype)
        self.known[rows] = True
