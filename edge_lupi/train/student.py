"""Train the student: labels through its header, and the teacher's embeddings per segment and per utterance. -> student.pt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.models.files import TrainedStudent, load_teacher, save_student
from edge_lupi.models.header import MarginHeader
from edge_lupi.models.student import Heard, Student, StudentConfig
from edge_lupi.train.augment import disturbed_segments
from edge_lupi.train.cache import TeacherEmbeddings, teacher_embeddings
from edge_lupi.train.corpus import Prepared
from edge_lupi.train.examples import Batch, Epochs, Example, load_examples
from edge_lupi.train.loop import Run, fit, make_fabric
from edge_lupi.train.losses import Projection, distance
from edge_lupi.train.recipe import DistilRecipe, Recipe
from edge_lupi.train.threshold import with_threshold

__all__ = ["Learning", "distil", "margin_header", "train_student", "with_teacher"]

SPEECH_SECONDS = 20  # of training speech kept in student.pt, for the compile stage to judge by


class Learning(nn.Module):
    """A student with what it needs only while it learns: margin header, and projections to the teacher's width."""

    def __init__(self, student: Student, header: MarginHeader | None, teacher_size: int | None) -> None:
        super().__init__()
        self.student = student
        self.header = header
        size = student.encoder.embedding_size
        project = teacher_size is not None and (teacher_size != size or header is not None)
        self.to_encoder = Projection(size, teacher_size or size) if project else nn.Identity()
        self.to_aggregator = Projection(size, teacher_size or size) if project else nn.Identity()

    def forward(self, segments: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, S, 80, 1, F], [B] -> label loss, E and A in the teacher's width."""
        heard: Heard = self.student(segments)
        if self.header is not None:
            label = F.cross_entropy(self.header(heard.utterance, labels), labels)
        else:
            assert heard.scores is not None
            label = F.cross_entropy(heard.scores, labels, label_smoothing=0.1)
        return label, self.to_encoder(heard.segments), self.to_aggregator(heard.utterance)


def margin_header(recipe: Recipe, prepared: Prepared, size: int) -> MarginHeader | None:
    """The training header of a verification task; None for classes, whose header stays with the student."""
    if prepared.task.kind != "verification":
        return None
    return MarginHeader(size, len(prepared.classes) * len(recipe.augment.speeds), margin=recipe.student.margin)


def train_student(recipe: Recipe, prepared: Prepared, folder: Path, *, teacher: Path | None, name: str) -> Path:
    """Train by the recipe, with the teacher's embeddings if there is a teacher, from labels alone if not."""
    fabric = make_fabric()
    fabric.seed_everything(recipe.seed, verbose=False)
    config = StudentConfig(recipe.student.size, recipe.segments.setting, recipe.segments.segmentation, (prepared.task,))
    student = Student(config)  # before anything else draws: the same first weights with and without a teacher
    examples, known = with_teacher(recipe, prepared, folder, teacher, fabric.device)
    header = margin_header(recipe, prepared, student.encoder.embedding_size)
    module = Learning(student, header, known.utterances.shape[1] if known else None)

    def losses(module: nn.Module, batch: Batch, random: torch.Generator) -> dict[str, Tensor]:
        label, encoded, aggregated = module(disturbed_segments(batch.samples, recipe, random), batch.labels)
        return {"label": label, **(distil(recipe.distil, known, batch, encoded, aggregated) if known else {})}

    epochs = Epochs(examples, recipe.segments, recipe.student.batch, recipe.seed, fabric.global_rank, fabric.world_size)

    def epoch_batches(epoch: int) -> Iterator[Batch]:
        if header is not None:  # the margin grows over the first third: at once, the loss does not leave its plateau
            header.margin = recipe.student.margin * min(1.0, 3 * epoch / recipe.student.epochs)
        return epochs(epoch)

    identity = {
        "stage": "student",
        "recipe": recipe.plain(),
        "names": [e.name for e in examples],
        "teacher": hashlib.sha256(teacher.read_bytes()).hexdigest() if teacher else None,
    }
    run = Run(folder / f"{name}.checkpoint", identity)
    fit(fabric, module, recipe.student, run, epoch_batches, losses, seed=recipe.seed, steps=epochs.steps)
    path = folder / f"{name}.pt"
    if fabric.is_global_zero:
        provenance = {**prepared.provenance(recipe), "distilled": known is not None}
        trained = TrainedStudent(student.cpu().eval(), {}, _speech(examples), provenance)
        save_student(path, with_threshold(trained, recipe, prepared))
    return path


def distil(
    weights: DistilRecipe, known: TeacherEmbeddings, batch: Batch, encoded: Tensor, aggregated: Tensor
) -> dict[str, Tensor]:
    """w_e D(E_teacher, E_student) and w_a D(A_teacher, A_student) for a batch of crops."""
    far = distance(weights.distance)
    wanted_e, wanted_a = known.of(batch, encoded.shape[1])
    parts = {
        "encoder": weights.encoder * far(encoded, wanted_e),
        "aggregator": weights.aggregator * far(aggregated, wanted_a),
    }
    return {key: value for key, value in parts.items() if getattr(weights, key)}


def with_teacher(
    recipe: Recipe, prepared: Prepared, folder: Path, teacher: Path | None, device: torch.device
) -> tuple[list[Example], TeacherEmbeddings | None]:
    """The training examples and, where there is a teacher, its embeddings of them."""
    if teacher is None:
        return load_examples(prepared.split.train, prepared.classes, recipe), None
    loaded, _ = load_teacher(teacher)
    if loaded.config.segmentation != recipe.segments.segmentation:
        raise InputError(
            f"expected a teacher with the recipe's {recipe.segments.segmentation}, got {teacher} with {loaded.config.segmentation}: train it anew"
        )
    examples = load_examples(prepared.split.train, prepared.classes, recipe, video=loaded.config.video)
    return examples, teacher_embeddings(loaded, teacher.read_bytes(), examples, folder, device)


def _speech(examples: list[Example]) -> Tensor:
    """Pieces of training speech, int16, from utterances far apart in the corpus."""
    pieces = []
    length = 2 * SAMPLE_RATE_HZ
    count = SPEECH_SECONDS // 2
    for example in examples[:: max(1, len(examples) // count)][:count]:
        middle = max(0, (len(example.samples) - length) // 2)
        pieces.append(torch.from_numpy(example.samples[middle : middle + length].copy()))
    return torch.cat(pieces)
