"""Training examples with the embeddings of the teachers that are named beside a recipe. teacher.pt files -> TeacherEmbeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from edge_lupi.data.digest import file_digest
from edge_lupi.data.place import found_data
from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.models.files import MAX_BYTES, load_teacher
from edge_lupi.models.sight import same_faces
from edge_lupi.train.distil.embeddings import TeacherEmbeddings, given_outputs, teacher_embeddings, without_embeddings
from edge_lupi.train.distil.parts import part_of
from edge_lupi.train.distil.shard_embeddings import shard_embeddings
from edge_lupi.train.examples.clips import Example
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.examples.shard_examples import ShardExamples
from edge_lupi.train.recipe import Recipe, recipe_from_plain

__all__ = ["under_one", "under_teachers"]


def under_teachers(
    recipe: Recipe, prepared: Prepared, teachers: Sequence[Path], device: torch.device
) -> tuple[Sequence[Example], TeacherEmbeddings | None]:
    """The examples as the student hears them, and what the teachers make of them: side by side, or a part of it.

    A teacher that is known by its outputs alone (distil.outputs) adds its scores. None where there is no teacher at all.
    """
    if recipe.distil.outputs and not teachers and (recipe.distil.encoder or recipe.distil.aggregator):
        raise InputError(
            "expected a teacher beside distil.outputs, which has no embeddings, got none: train one, or set distil.encoder and distil.aggregator to 0"
        )
    embeddings: list[TeacherEmbeddings] = []
    seen: Sequence[Example] = []
    for path in teachers:
        seen, found = under_one(path, recipe, prepared, device)
        embeddings.append(found)
    known = part_of(recipe.distil.part, embeddings, seen) if embeddings else None
    examples = prepared.without_video(recipe, seen or prepared.examples(recipe, unlabelled=bool(recipe.teachers)))
    return examples, _with_outputs(recipe, prepared, examples, known) if recipe.distil.outputs else known


def _with_outputs(
    recipe: Recipe, prepared: Prepared, examples: Sequence[Example], known: TeacherEmbeddings | None
) -> TeacherEmbeddings:
    """The scores of distil.outputs beside those of the teachers, if there are any."""
    scores = given_outputs(recipe.distil.outputs, prepared, recipe, examples)
    origin = file_digest(found_data(recipe.distil.outputs.rpartition(":")[0]))
    if known:
        scores, origin = torch.cat([known.scores, scores], 1), f"{known.origin} {origin}"
    return replace(known or without_embeddings(examples), scores=scores, origin=origin)


def under_one(
    path: Path, recipe: Recipe, prepared: Prepared, device: torch.device
) -> tuple[Sequence[Example], TeacherEmbeddings]:
    """The training examples as one teacher.pt is shown them, and its embeddings of them."""
    teacher, provenance = load_teacher(path)
    if teacher.config.segmentation != recipe.segments.segmentation:
        raise InputError(
            f"expected a teacher with the recipe's {recipe.segments.segmentation}, got {path} with {teacher.config.segmentation}: train it again"
        )
    weights = read_bounded(path, MAX_BYTES, "a teacher")
    trained = recipe_from_plain(dict(provenance.recipe or {}))
    shown = replace(recipe, seed=trained.seed, teacher=trained.teacher)
    model = same_faces(shown.sight(), provenance, recipe.teacher.face_model).face_model
    shown = replace(shown, teacher=replace(shown.teacher, face_model=model))
    examples = prepared.examples(shown, teacher.config.video, unlabelled=True)
    if isinstance(examples, ShardExamples):
        return examples, shard_embeddings(teacher, weights, examples, path.parent, device)
    return examples, teacher_embeddings(teacher, weights, examples, path.parent, device)
