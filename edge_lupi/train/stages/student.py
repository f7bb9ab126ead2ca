"""Student training: labels through its header, and its teachers' embeddings per segment and utterance. -> student.pt."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edge_lupi.data.digest import file_digest
from edge_lupi.data.speech import read_speech
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.models.files import TrainedStudent, save_student
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.sound.audio import to_pcm
from edge_lupi.train.distil.embeddings import TeacherEmbeddings
from edge_lupi.train.distil.learning import Learning, margin_header
from edge_lupi.train.distil.losses import PretrainedTeacher, distil, labels_of, teacher_losses
from edge_lupi.train.distil.under_teachers import under_teachers
from edge_lupi.train.examples.augment import disturbed_segments
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.epochs import Epochs
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.examples.voices import Voices
from edge_lupi.train.loop import History, Run, begin, fit
from edge_lupi.train.recipe import Recipe
from edge_lupi.train.sounds.fresh import FreshCrops, fresh_crops
from edge_lupi.train.stages.grow import check_growth, grown, on_its_encoder, raised
from edge_lupi.train.stages.held_out import Best, HeldOut, held_out
from edge_lupi.train.stages.start import Start, open_start, take_weights
from edge_lupi.train.stages.temperature import with_temperature
from edge_lupi.train.stages.threshold import with_threshold
from edge_lupi.train.teachers.kept import kept_teachers
from edge_lupi.train.teachers.live import LiveTeacher, live_teachers

__all__ = ["train_student"]

log = logging.getLogger(__name__)

USUAL_RATE = 1e-3  # the highest at which a trained student goes on learning; from nothing it is 2e-3 to 3e-3
BATCHES_HEARD_FIRST = 16  # for the norms of a student that begins with folded ones
SPEECH_SECONDS = 20  # of training speech kept in student.pt, for the compile stage to judge by


@dataclass(frozen=True)
class _Material:
    """What is learnt from: epochs of crops, the share of them that has a label, the examples' names, teacher.pt embeddings."""

    epochs: Epochs | FreshCrops
    labelled: float
    names: list[str]
    known: TeacherEmbeddings | None = None


def train_student(
    recipe: Recipe, prepared: Prepared, folder: Path, *, teachers: Sequence[Path] = (), name: str = "student"
) -> Path:
    """Train by the recipe, under the teachers if there are any, from labels alone if not. Writes <name>.pt."""
    fabric = begin(recipe.student, recipe.seed)
    # before anything else draws: the same first weights with and without a teacher
    student = Student(_config(recipe, prepared, fabric))
    start = _start(recipe, prepared)
    material = _material(recipe, prepared, teachers, folder, fabric)
    if start is not None:
        _begin_with(start, student, recipe, material, fabric)
    losses, module = _learning(recipe, prepared, student, start, material, folder, fabric)
    run = Run(folder, name, recipe.student, recipe.seed, _identity(recipe, prepared, teachers, start, material))
    best = Best(folder / f"{name}.best") if recipe.student.keep == "best" else None
    measure = _measure(recipe, prepared, losses.teachers, fabric.device)
    asked = [isinstance(one, LiveTeacher) for one in losses.teachers]

    def after(history: History) -> None:
        if measure is not None:
            history[-1] |= measure(student, list(compress(module.ways, asked)))
        if best is not None and fabric.is_global_zero:
            best.see(student, history)

    fit(fabric, module, run, material.epochs, losses, before=_Growing(recipe, module), after=after)
    path = folder / f"{name}.pt"
    if fabric.is_global_zero:
        if best is not None:
            best.take(student)
        save_student(path, _trained(recipe, prepared, student, start, taught=losses.taught))
    return path


def _config(recipe: Recipe, prepared: Prepared, fabric: Fabric) -> StudentConfig:
    if recipe.voice.prior and fabric.world_size > 1:
        raise InputError(
            f"expected one process for voice.prior above 0, got {fabric.world_size}: train without torchrun"
        )
    task = replace(prepared.task, voice=recipe.voice.prior)
    return StudentConfig(recipe.student.size, recipe.segments.setting, recipe.segments.segmentation, (task,))


def _start(recipe: Recipe, prepared: Prepared) -> Start | None:
    """The student that a recipe's begins from, if it names one."""
    if not recipe.student.start_from:
        check_growth(recipe, None)
        if recipe.student.frozen:
            raise InputError(
                "expected student.start_from beside student.frozen, got none: weights that nobody trained are not worth keeping",
                options=("from",),
            )
        return None
    start = open_start(recipe.student.start_from, recipe.student.size)
    check_growth(recipe, start)
    if not prepared.split.speaker_dependent:
        start.refuse_heard(prepared.corpus.name, prepared.split.test)
    return start


def _material(recipe: Recipe, prepared: Prepared, teachers: Sequence[Path], folder: Path, fabric: Fabric) -> _Material:
    device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
    if recipe.data.sound == "samples":
        if teachers or recipe.distil.outputs:
            raise InputError(
                'expected teachers that can be asked for every crop, .onnx files in [[teachers]], where data.sound = "samples": set data.sound = "log-mel" for others'
            )
        crops = fresh_crops(recipe, prepared, recipe.student.batch, recipe.seed, folder, device, rank, world)
        return _Material(crops, crops.labelled, list(crops.sounds.names))
    examples, known = under_teachers(recipe, prepared, teachers, device)
    course, augment = recipe.student, recipe.augment
    epochs = Epochs(examples, recipe.segments, course.batch, recipe.seed, augment.mixup, rank, world)
    labelled = prepared.utterances / (prepared.utterances + len(prepared.split.unlabelled))
    return _Material(epochs, labelled, [e.name for e in examples], known)


def _begin_with(start: Start, student: Student, recipe: Recipe, material: _Material, fabric: Fabric) -> None:
    """Take the weights of a trained student, in place, and tell what was taken."""
    summary = take_weights(student, start, recipe.student.frozen, _first_segments(material.epochs, recipe))
    if not fabric.is_global_zero:
        return
    log.info(summary)
    if recipe.student.rate > USUAL_RATE:
        log.info(
            f"student.rate is {recipe.student.rate:g}: what is known already is soon lost above {USUAL_RATE:g}; try 3e-4"
        )


def _first_segments(epochs: Epochs | FreshCrops, recipe: Recipe) -> Iterator[Tensor]:
    """Log-mel segments [B, 80, 1, F] of the first batches, disturbed as a training step hears them: all rows, in every process."""
    first = replace(epochs, rank=0, world=1)(0)
    for number, batch in enumerate(islice(first, BATCHES_HEARD_FIRST)):
        yield disturbed_segments(batch.mixed().frames, recipe, Draw(number)).flatten(0, 1).cpu()


@dataclass(frozen=True)
class _Losses:
    """The parts of a training step's loss: labels, teacher.pt embeddings (`known`), and the teachers of [[teachers]]."""

    recipe: Recipe
    known: TeacherEmbeddings | None
    teachers: Sequence[PretrainedTeacher]
    voices: Voices | None
    level_of: Start | None  # quiet segments are raised to the level that this student was taught with

    @property
    def taught(self) -> bool:
        """Whether any teacher has a part in it."""
        return self.known is not None or bool(self.teachers)

    def __call__(self, module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        recipe, known, every = self.recipe, self.known, self.recipe.segments.every
        segments = disturbed_segments(batch.mixed().frames, recipe, draw)
        if self.level_of is not None:
            segments = raised(segments, self.level_of)
        rows = torch.tensor(batch.examples, device=segments.device) if self.voices else None
        chosen = self.voices.choose(batch.examples, draw).to(segments.device) if self.voices else None
        label, encoded, aggregated, scores, imitations = module(segments, labels_of(batch), rows, chosen)
        return {
            "label": label,
            **(distil(recipe.distil, known, batch, encoded, aggregated, scores, every) if known else {}),
            **teacher_losses(self.teachers, batch, imitations, every),
        }


def _learning(
    recipe: Recipe,
    prepared: Prepared,
    student: Student,
    start: Start | None,
    material: _Material,
    folder: Path,
    fabric: Fabric,
) -> tuple[_Losses, Learning]:
    """The loss, and the student with all that it needs only while it learns."""
    size, known, epochs = student.encoder.embedding_size, material.known, material.epochs
    header = margin_header(recipe, prepared, size)
    teachers: Sequence[PretrainedTeacher]
    if isinstance(epochs, FreshCrops):
        teachers = live_teachers(recipe, epochs, folder, size)
    else:
        teachers = kept_teachers(recipe, prepared, epochs.examples, folder, fabric.device, size)
    voices = _voices(recipe, prepared, epochs, size)
    losses = _Losses(recipe, known, teachers, voices, start if recipe.student.keep_tasks else None)
    if not losses.taught and not recipe.student.labels:
        raise InputError("expected a teacher where student.labels = 0, got none: name one, or let labels tell")
    width, axes = (known.utterances.shape[1], known.axes) if known else (None, None)
    labelled = material.labelled if losses.taught else 1.0
    return losses, Learning(student, header, width, recipe, labelled, teachers, axes, voices)


def _voices(recipe: Recipe, prepared: Prepared, epochs: Epochs | FreshCrops, size: int) -> Voices | None:
    """What is known of the examples' voices, where the recipe asks for it."""
    if not recipe.voice.prior:
        return None
    if isinstance(epochs, FreshCrops):
        raise InputError('expected data.sound = "log-mel" beside voice.prior, got "samples": leave one out')
    return Voices(epochs.examples, prepared.classes, recipe.voice, size)


@dataclass(frozen=True)
class _Growing:
    """What changes from epoch to epoch: the margin grows over the first third, and then rows know of their voices."""

    recipe: Recipe
    module: Learning

    def __call__(self, epoch: int) -> None:
        course, header, voices = self.recipe.student, self.module.header, self.module.voices
        if header is not None:  # at once, the loss would not leave its plateau
            header.margin = course.margin * min(1.0, 3 * epoch / course.epochs)
        if voices is not None:
            voices.begin_epoch(epoch, course.epochs)


def _identity(
    recipe: Recipe, prepared: Prepared, teachers: Sequence[Path], start: Start | None, material: _Material
) -> dict[str, object]:
    return {
        "stage": "student",
        "recipe": replace(recipe, student=replace(recipe.student, start_from="")).plain(),  # what lies there counts
        "started_from": start.digest if start else "",
        "names": material.names,
        "learnt_from": prepared.digest,
        "teachers": [file_digest(path) for path in (*teachers, *(Path(one.path) for one in recipe.teachers))],
        "taught": material.known.origin if material.known else "",
    }


def _measure(
    recipe: Recipe, prepared: Prepared, teachers: Sequence[PretrainedTeacher], device: torch.device
) -> HeldOut | None:
    """What is measured after every epoch; nothing where nobody asks for it."""
    best = recipe.student.keep == "best"
    if recipe.data.sound == "log-mel" and not best:
        return None
    live = [one for one in teachers if isinstance(one, LiveTeacher)]
    found = held_out(recipe, prepared.split.validation, device, live)
    if best and (found is None or not (len(found.teachers) or len(found.pieces))):
        raise InputError(
            'expected validation speakers to compare, or a teacher that is asked for every crop, for student.keep = "best", got neither: set data.validation_speakers, or keep the last'
        )
    return found


def _trained(
    recipe: Recipe, prepared: Prepared, student: Student, start: Start | None, *, taught: bool
) -> TrainedStudent:
    """The student with threshold or temperature and its provenance; where it grew, with the tasks that it began with."""
    provenance = replace(prepared.provenance(recipe, taught=taught), distilled=taught)
    if start is not None:
        licence = start.licences(provenance.licence or "")
        provenance = replace(provenance, licence=licence, started_from=start.trainings)
    trained = TrainedStudent(student.cpu().eval(), {}, _speech(prepared), provenance)
    growing = start if recipe.student.keep_tasks else None
    if growing is not None:
        trained = on_its_encoder(trained, growing)
    trained = with_temperature(with_threshold(trained, recipe, prepared), recipe, prepared)
    return trained if growing is None else grown(growing.trained, trained)


def _speech(prepared: Prepared) -> Tensor:
    """Pieces of training speech, int16, from utterances far apart in the corpus."""
    pieces = []
    length = 2 * SAMPLE_RATE_HZ
    count = SPEECH_SECONDS // 2
    utterances = prepared.split.train
    for utterance in utterances[:: max(1, len(utterances) // count)][:count]:
        samples = read_speech(utterance)[0]
        middle = max(0, (len(samples) - length) // 2)
        pieces.append(torch.from_numpy(to_pcm(samples[middle : middle + length])))
    return torch.cat(pieces)
