"""What a training learns from, as one digest: labels, speakers and the bytes of sound and video. It is what a result is of.

A file's sha256 is kept in memory by its path, size and time of change, so a corpus is read once per process. Shards tell
their own digest: that of what was cut.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from edge_lupi.data.corpora import read_corpus
from edge_lupi.data.faces import FACE_MODEL, face_model
from edge_lupi.data.shards import are_shards, open_shards
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.train.examples.corpus import Prepared, corpus_of, data_path
from edge_lupi.train.recipe import Recipe

__all__ = ["digest_of", "file_digest", "inputs_of", "learnt_from", "sees_as_trained", "sight_of"]

PIECE_BYTES = 1 << 20


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
    return _sha256([known[key], told, *shapes, *begun, *also, *sight_of(recipe).values()])


def sight_of(recipe: Recipe) -> dict[str, str]:
    """The model that finds faces, where the recipe's teacher looks at any."""
    teacher = recipe.teacher
    return {"faces": file_digest(face_model(teacher.face_model))} if teacher.finds_faces(teacher.video) else {}


def sees_as_trained(recipe: Recipe, origin: Mapping[str, Any], named: str) -> Recipe:
    """A trained teacher's recipe, where its model of faces lies elsewhere by now (`named`). Raises where it is another model."""
    moved = replace(recipe, teacher=replace(recipe.teacher, face_model=named or recipe.teacher.face_model))
    if any(origin.get(key) != digest for key, digest in sight_of(moved).items()):
        raise InputError(
            f"expected the model of faces that the teacher has learnt with, got another at {face_model(moved.teacher.face_model)}: name that one by teacher.face_model or {FACE_MODEL}"
        )
    return moved


def digest_of(utterances: Sequence[Utterance], classes: Sequence[str]) -> str:
    """Names, labels, speakers, splits, times, and what lies in the files of sound and video."""
    return _sha256([list(classes), *map(_content, utterances)])


def file_digest(path: Path) -> str:
    """sha256 of what lies in a file."""
    try:
        status = path.stat()
        return _file_sha256(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"expected a file at {path}, got {error.strerror}: check the path") from error


def _content(utterance: Utterance) -> list[Any]:
    u, video = utterance, utterance.video
    seen = None if video is None else [video.features, video.frames_per_second, video.path and file_digest(video.path)]
    return [u.name, u.label, u.speaker, u.split, u.start_seconds, u.end_seconds, file_digest(u.audio), seen]


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@lru_cache(maxsize=1 << 20)
def _file_sha256(path: str, size: int, changed_ns: int) -> str:
    found = hashlib.sha256()
    with open(path, "rb", opener=_plainly) as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()


def _plainly(path: str, flags: int) -> int:
    """A pipe is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


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
