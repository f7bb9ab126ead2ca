"""Data fingerprint: labels, speakers and the bytes of sound and video that a training learns from, as one sha256.

Shards tell their own: that of what was cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from edge_lupi.data.digest import file_digest
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.shards import are_shards, open_shards
from edge_lupi.data.utterance import Utterance
from edge_lupi.train.examples.corpus import Prepared, corpus_of, data_path
from edge_lupi.train.recipe import Recipe

__all__ = ["digest_of", "inputs_of", "learnt_from"]


def learnt_from(prepared: Prepared) -> str:
    """Of the utterances that train, in their order, and the classes that their labels are numbered by."""
    if prepared.shards:
        return prepared.shards.digest
    return digest_of([*prepared.split.train, *prepared.split.unlabelled], prepared.classes)


def inputs_of(recipe: Recipe, known: dict[tuple[str, str], str]) -> str:
    """All that a sweep's training and its measurement depend on besides the recipe: the corpus, outputs of teachers, the networks.

    `known` keeps the corpora that were read: one serves all folds and seeds.
    """
    outputs = data_path(recipe.distil.outputs.rpartition(":")[0]) if recipe.distil.outputs else None
    told = file_digest(outputs) if outputs else ""
    begun = [file_digest(Path(recipe.student.start_from))] if recipe.student.start_from else []
    shapes = [_shapes(size) for size in (recipe.student.size, recipe.teacher.size)]
    key = recipe.data.root, f"{recipe.data.task} {recipe.data.pattern}"
    if key not in known:
        known[key] = _corpus(recipe)
    also = [_also(root, known) for root in (*(one.root for one in recipe.data.also), *recipe.data.strange)]
    return _sha256([known[key], told, *shapes, *begun, *also, *recipe.sight().face_digest().values()])


def digest_of(utterances: Sequence[Utterance], classes: Sequence[str]) -> str:
    """Names, labels, speakers, splits, times, and what lies in the files of sound and video."""
    return _sha256([list(classes), *map(_content, utterances)])


def _content(utterance: Utterance) -> list[Any]:
    u, video = utterance, utterance.video
    seen = None if video is None else [video.features, video.frames_per_second, video.path and file_digest(video.path)]
    return [u.name, u.label, u.speaker, u.split, u.start_seconds, u.end_seconds, file_digest(u.audio), seen]


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _corpus(recipe: Recipe) -> str:
    path = data_path(recipe.data.root)
    if are_shards(path):
        return open_shards(path).digest
    corpus = corpus_of(recipe)
    return digest_of(corpus.utterances, corpus.labels)


def _also(root: str, known: dict[tuple[str, str], str]) -> str:
    if (root, "") not in known:
        corpus = read_corpus(data_path(root))
        known[root, ""] = digest_of(corpus.utterances, corpus.labels)
    return known[root, ""]


@lru_cache
def _shapes(size: str) -> list[Any]:
    """Of an encoder, and of its weights: what the word for a size means may change."""
    import torch

    from edge_lupi.models.encoder import make_encoder, shape_of

    with torch.device("meta"):
        weights = [[name, list(value.shape)] for name, value in make_encoder(size).state_dict().items()]
    return [repr(shape_of(size)), weights]
