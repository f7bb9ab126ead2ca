"""Data fingerprint of a training: all that its result depends on besides the recipe, as one sha256."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from edge_lupi.data.digest import digest_of, file_digest, json_digest
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.shards import are_shards, open_shards
from edge_lupi.train.examples.corpus import corpus_of, data_path
from edge_lupi.train.recipe import Recipe

__all__ = ["inputs_of"]


def inputs_of(recipe: Recipe, known: dict[tuple[str, str], str]) -> str:
    """All that a sweep's training and its measurement depend on besides the recipe: the corpus, outputs of teachers, the networks.

    `known` keeps the corpora that were read: one serves all folds and seeds.
    """
    outputs = data_path(recipe.distil.outputs.rpartition(":")[0]) if recipe.distil.outputs else None
    outputs_digest = file_digest(outputs) if outputs else ""
    begun = [file_digest(Path(recipe.student.start_from))] if recipe.student.start_from else []
    shapes = [_shapes(size) for size in (recipe.student.size, recipe.teacher.size)]
    key = recipe.data.root, f"{recipe.data.task} {recipe.data.pattern}"
    if key not in known:
        known[key] = _corpus(recipe)
    also = [_also(root, known) for root in (*(one.root for one in recipe.data.also), *recipe.data.strange)]
    faces = recipe.sight().face_digest()
    return json_digest([known[key], outputs_digest, *shapes, *begun, *also, *([faces] if faces else [])])


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
