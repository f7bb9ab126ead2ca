"""Train the student: labels through its header, and the teacher's embeddings per segment and per utterance. -> student.pt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edge_lupi.data.utterance import Utterance
from edge_lupi.disk import read_bounded
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.models.files import MAX_BYTES, TrainedStudent, load_teacher, save_student
from edge_lupi.models.header import MarginHeader
from edge_lupi.models.student import Heard, Student, StudentConfig
from edge_lupi.sound.audio import read_audio, to_pcm
from edge_lupi.terminal import note
from edge_lupi.train.distil.embeddings import TeacherEmbeddings, teacher_embeddings, told, without_embeddings
from edge_lupi.train.distil.losses import Axes, Labels, Projection, distil, label_loss, labels_of
from edge_lupi.train.distil.parts import part_of
from edge_lupi.train.distil.shard_embeddings import shard_embeddings
from edge_lupi.train.examples.augment import disturbed_segments
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import UNLABELLED, Epochs, Example, load_examples, shuffled
from edge_lupi.train.examples.corpus import Prepared, data_path
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.learnt import file_digest, learnt_from, sees_as_trained
from edge_lupi.train.examples.shard_examples import ShardExamples
from edge_lupi.train.examples.voices import Voices
from edge_lupi.train.loop import Run, fit, make_fabric
from edge_lupi.train.recipe import Recipe, recipe_from_plain
from edge_lupi.train.sounds.fresh import FreshCrops, fresh_crops
from edge_lupi.train.stages.grow import check_growth, grown, on_its_encoder, raised
from edge_lupi.train.stages.held_out import Best, HeldOut, held_out
from edge_lupi.train.stages.start import Start, begin, hold_still, open_start
from edge_lupi.train.stages.temperature import with_temperature
from edge_lupi.train.stages.threshold import with_threshold
from edge_lupi.train.teachers.fresh_lesson import FreshLesson, fresh_lessons
from edge_lupi.train.teachers.lessons import Lesson, from_embeddings, lesson_losses, lesson_of

__all__ = ["Learning", "margin_header", "seen_examples", "train_student", "under_teachers"]

USUAL_RATE = 1e-3  # the highest at which a trained student goes on learning; from nothing it is 2e-3 to 3e-3
BATCHES_HEARD_FIRST = 16  # for the norms of a student that begins with folded ones
SPEECH_SECONDS = 20  # of training speech kept in student.pt, for the compile stage to judge by


class Learning(nn.Module):
    """A student with what it needs only while it learns: margin header, and projections to the teacher's width."""

    def __init__(
        self,
        student: Student,
        header: MarginHeader | None,
        teacher_size: int | None,
        recipe: Recipe,
        labelled: float = 1.0,
        lessons: Sequence[Lesson | FreshLesson] = (),
        axes: tuple[Tensor, Tensor] | None = None,
        voices: Voices | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.voices = voices
        self.weight = recipe.student.labels / labelled  # of the labels: not every example has one
        self.smoothing = recipe.student.smoothing
        self.header = header
        size = student.encoder.embedding_size
        project = teacher_size is not None and (teacher_size != size or header is not None)

        def way(weight: float) -> nn.Module:
            return Projection(size, teacher_size or size) if project and weight else nn.Identity()

        self.to_encoder = Axes(axes[0]) if axes else way(recipe.distil.encoder)
        self.to_aggregator = Axes(axes[1]) if axes else way(recipe.distil.aggregator)
        self.by_segment = [lesson.recipe.place == "segment" for lesson in lessons]
        self.ways = nn.ModuleList(
            Projection(size, lesson.width) if lesson.recipe.projection == "learnt" else nn.Identity()
            for lesson in lessons
        )

    def train(self, mode: bool = True) -> Learning:
        """As ever, but what is frozen stays as it is."""
        super().train(mode)
        hold_still(self.student)
        return self

    def forward(
        self, segments: Tensor, labels: Labels, rows: Tensor | None = None, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, list[Tensor]]:
        """[B, S, 80, 1, F] -> label loss, E and A in the teacher's width, scores [B, C]; E or A in the width of each lesson.

        With `voices`, which examples the rows are [B], and which others each knows of its voice.
        """
        average = self.student.branch().voice
        if self.voices is None or average is None or rows is None or chosen is None:
            heard: Heard = self.student(segments)
        else:
            heard = self.student(segments, voice=self.voices.of(chosen, average.population))
            average.learn(heard.utterance)
            self.voices.keep(rows, heard.utterance, average.population)
        label = self.weight * label_loss(heard, self.header, labels, self.smoothing)
        told = [
            way(heard.segments if by_segment else heard.utterance)
            for way, by_segment in zip(self.ways, self.by_segment, strict=True)
        ]
        return label, self.to_encoder(heard.segments), self.to_aggregator(heard.utterance), heard.scores, told


def margin_header(recipe: Recipe, prepared: Prepared, size: int) -> MarginHeader | None:
    """The training header of a verification task; None for classes, whose header stays with the student."""
    if prepared.task.kind != "verification":
        return None
    return MarginHeader(size, len(prepared.classes) * len(recipe.augment.speeds), margin=recipe.student.margin)


def train_student(
    recipe: Recipe, prepared: Prepared, folder: Path, *, teachers: Sequence[Path] = (), name: str = "student"
) -> Path:
    """Train by the recipe, under the teachers if there are any, from labels alone if not."""
    fabric = make_fabric()
    fabric.seed_everything(recipe.seed, verbose=False)
    if recipe.voice.prior and fabric.world_size > 1:
        raise InputError(
            f"expected one process for voice.prior above 0, got {fabric.world_size}: train without torchrun"
        )
    task = replace(prepared.task, voice=recipe.voice.prior)
    config = StudentConfig(recipe.student.size, recipe.segments.setting, recipe.segments.segmentation, (task,))
    student = Student(config)  # before anything else draws: the same first weights with and without a teacher
    start = _start(recipe, prepared)
    size = student.encoder.embedding_size
    known, epochs, labelled, names = _heard_by(recipe, prepared, teachers, folder, fabric)
    if start is not None:
        said = begin(student, start, recipe.student.frozen, _heard_first(epochs, recipe))
        if fabric.is_global_zero:
            note(said)
            if recipe.student.rate > USUAL_RATE:
                note(
                    f"student.rate is {recipe.student.rate:g}: what is known already is soon lost above {USUAL_RATE:g}; try 3e-4"
                )
    header = margin_header(recipe, prepared, size)
    lessons: Sequence[Lesson | FreshLesson]
    if isinstance(epochs, FreshCrops):
        lessons = fresh_lessons(recipe, epochs, folder, size)
    else:
        lessons = lessons_of(recipe, prepared, epochs.examples, folder, fabric.device, size)
    taught = known is not None or bool(lessons)
    if not taught and not recipe.student.labels:
        raise InputError("expected a teacher where student.labels = 0, got none: name one, or let labels tell")
    width, axes = (known.utterances.shape[1], known.axes) if known else (None, None)
    voices = _voices(recipe, prepared, epochs, size)
    module = Learning(student, header, width, recipe, labelled if taught else 1.0, lessons, axes, voices)
    every = recipe.segments.every
    best = Best(folder / f"{name}.best") if recipe.student.keep == "best" else None
    measure = _measure(recipe, prepared, lessons, fabric.device)

    def losses(module: nn.Module, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        segments = disturbed_segments(batch.mixed().frames, recipe, draw)
        if start is not None and recipe.student.keep_tasks:
            segments = raised(segments, start)
        rows = torch.tensor(batch.examples, device=segments.device) if voices else None
        chosen = voices.choose(batch.examples, draw).to(segments.device) if voices else None
        label, encoded, aggregated, scores, said = module(segments, labels_of(batch), rows, chosen)
        return {
            "label": label,
            **(distil(recipe.distil, known, batch, encoded, aggregated, scores, every) if known else {}),
            **lesson_losses(lessons, batch, said, every),
        }

    def epoch_batches(epoch: int) -> Iterator[Batch]:
        if header is not None:  # the margin grows over the first third: at once, the loss does not leave its plateau
            header.margin = recipe.student.margin * min(1.0, 3 * epoch / recipe.student.epochs)
        if voices is not None:
            voices.begin_epoch(epoch, recipe.student.epochs)
        return epochs(epoch)

    identity = {
        "stage": "student",
        "recipe": replace(recipe, student=replace(recipe.student, start_from="")).plain(),  # what lies there counts
        "started_from": start.digest if start else "",
        "names": names,
        "learnt_from": learnt_from(prepared),
        "teachers": [file_digest(path) for path in (*teachers, *(Path(lesson.path) for lesson in recipe.teachers))],
        "taught": known.origin if known else "",
    }
    run = Run(folder / f"{name}.checkpoint", identity)

    def after(history: list[dict[str, float]]) -> None:
        if measure is not None:
            history[-1] |= measure(student, module.ways)
        if best is not None and fabric.is_global_zero:
            best.see(student, history)

    fit(fabric, module, recipe.student, run, epoch_batches, losses, seed=recipe.seed, steps=epochs.steps, after=after)
    if best is not None and fabric.is_global_zero:
        best.take(student)
    path = folder / f"{name}.pt"
    if fabric.is_global_zero:
        provenance = {**prepared.provenance(recipe, taught=taught), "distilled": taught}
        if start is not None:
            provenance |= {"licence": start.licences(provenance["licence"]), "started_from": start.origins}
        trained = TrainedStudent(student.cpu().eval(), {}, _speech(prepared), provenance)
        growing = start is not None and recipe.student.keep_tasks
        if start is not None and growing:
            trained = on_its_encoder(trained, start)
        trained = with_temperature(with_threshold(trained, recipe, prepared), recipe, prepared)
        save_student(path, grown(start.trained, trained) if start is not None and growing else trained)
    return path


def _heard_by(
    recipe: Recipe, prepared: Prepared, teachers: Sequence[Path], folder: Path, fabric: Fabric
) -> tuple[TeacherEmbeddings | None, Epochs | FreshCrops, float, list[str]]:
    """What `teachers` tell; the epochs; the share of rows that have a label; the examples' names."""
    device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
    if recipe.data.sound == "samples":
        if teachers or recipe.distil.outputs:
            raise InputError(
                'expected teachers that can be asked anew, .onnx files in [[teachers]], where data.sound = "samples": set data.sound = "log-mel" for others'
            )
        crops = fresh_crops(recipe, prepared, recipe.student.batch, recipe.seed, folder, device, rank, world)
        return None, crops, crops.labelled, list(crops.sounds.names)
    examples, known = under_teachers(recipe, prepared, teachers, device)
    course, augment = recipe.student, recipe.augment
    epochs = Epochs(examples, recipe.segments, course.batch, recipe.seed, augment.mixup, rank, world)
    labelled = prepared.utterances / (prepared.utterances + len(prepared.split.unlabelled))
    return known, epochs, labelled, [e.name for e in examples]


def _voices(recipe: Recipe, prepared: Prepared, epochs: Epochs | FreshCrops, size: int) -> Voices | None:
    """What is known of the examples' voices, where the recipe asks for it."""
    if not recipe.voice.prior:
        return None
    if isinstance(epochs, FreshCrops):
        raise InputError('expected data.sound = "log-mel" beside voice.prior, got "samples": leave one out')
    return Voices(epochs.examples, prepared.classes, recipe.voice, size)


def _measure(
    recipe: Recipe, prepared: Prepared, lessons: Sequence[Lesson | FreshLesson], device: torch.device
) -> HeldOut | None:
    """What is measured after every epoch; nothing where nobody asks for it."""
    best = recipe.student.keep == "best"
    if recipe.data.sound == "log-mel" and not best:
        return None
    found = held_out(
        recipe, prepared.split.validation, device, [one for one in lessons if isinstance(one, FreshLesson)]
    )
    if best and (found is None or not (len(found.lessons) or len(found.pieces))):
        raise InputError(
            'expected validation speakers to compare, or a teacher that is asked anew, for student.keep = "best", got neither: set data.validation_speakers, or keep the last'
        )
    return found


def _start(recipe: Recipe, prepared: Prepared) -> Start | None:
    """The student that a recipe's begins from, if it names one."""
    if not recipe.student.start_from:
        check_growth(recipe, None)
        if recipe.student.frozen:
            raise InputError(
                "expected student.start_from (or --from) beside student.frozen, got none: weights that nobody trained are not worth keeping"
            )
        return None
    start = open_start(recipe.student.start_from, recipe.student.size)
    check_growth(recipe, start)
    if not prepared.split.speaker_dependent:
        start.refuse_heard(prepared.corpus.name, prepared.split.test)
    return start


def _heard_first(epochs: Epochs | FreshCrops, recipe: Recipe) -> Iterator[Tensor]:
    """Log-mel segments [B, 80, 1, F] of the first batches, disturbed as a training step hears them: all rows, in every process."""
    first = replace(epochs, rank=0, world=1)(0)
    for number, batch in enumerate(islice(first, BATCHES_HEARD_FIRST)):
        yield disturbed_segments(batch.mixed().frames, recipe, Draw(number)).flatten(0, 1).cpu()


def seen_examples(recipe: Recipe, prepared: Prepared, video: str) -> Sequence[Example]:
    """The labelled training examples with the video a teacher looks at: their own or, for the control, another's."""
    if prepared.shards:
        return ShardExamples(prepared.shards, recipe, video)
    return _seen(prepared.split.train, recipe, prepared, video)


def _seen(utterances: Sequence[Utterance], recipe: Recipe, prepared: Prepared, video: str) -> list[Example]:
    examples = load_examples(utterances, prepared.classes, recipe, video=video)
    return shuffled(examples, recipe.seed) if recipe.teacher.shuffle_video else examples


def _unlabelled(recipe: Recipe, prepared: Prepared, video: str) -> list[Example]:
    """The training examples of which only a teacher tells. What they would have been called is forgotten here."""
    anonymous = [replace(utterance, label=prepared.classes[0]) for utterance in prepared.split.unlabelled]
    return [replace(example, label=UNLABELLED) for example in _seen(anonymous, recipe, prepared, video)]


def under_teachers(
    recipe: Recipe, prepared: Prepared, teachers: Sequence[Path], device: torch.device
) -> tuple[Sequence[Example], TeacherEmbeddings | None]:
    """The training examples and what the teachers make of them: side by side or a part, and those of distil.outputs by their scores."""
    if recipe.distil.outputs and not teachers and (recipe.distil.encoder or recipe.distil.aggregator):
        raise InputError(
            "expected a teacher beside distil.outputs, which has no embeddings, got none: train one, or set distil.encoder and distil.aggregator to 0"
        )
    taught: list[TeacherEmbeddings] = []
    examples: Sequence[Example] = []
    for path in teachers:
        examples, found = _under(path, recipe, prepared, device)
        taught.append(found)
    known = part_of(recipe.distil.part, taught, examples) if taught else None
    if prepared.shards:
        examples = ShardExamples(prepared.shards, recipe)
    elif not examples:
        examples = load_examples(prepared.split.train, prepared.classes, recipe)
        if recipe.teachers:
            examples = [*examples, *_unlabelled(recipe, prepared, "none")]
    if recipe.distil.outputs:
        more = told(recipe.distil.outputs, prepared, recipe, examples)
        told_from = file_digest(data_path(recipe.distil.outputs.rpartition(":")[0]))
        if known:
            more, told_from = torch.cat([known.scores, more], 1), f"{known.origin} {told_from}"
        known = replace(known or without_embeddings(examples), scores=more, origin=told_from)
    return examples if prepared.shards else [replace(example, video=None) for example in examples], known


def _under(
    path: Path, recipe: Recipe, prepared: Prepared, device: torch.device
) -> tuple[Sequence[Example], TeacherEmbeddings]:
    """The training examples as one teacher of this project is shown them, and what it makes of them."""
    teacher, origin = load_teacher(path)
    if teacher.config.segmentation != recipe.segments.segmentation:
        raise InputError(
            f"expected a teacher with the recipe's {recipe.segments.segmentation}, got {path} with {teacher.config.segmentation}: train it anew"
        )
    weights = read_bounded(path, MAX_BYTES, "a teacher")
    shown = replace(recipe, seed=origin["recipe"]["seed"], teacher=recipe_from_plain(origin["recipe"]).teacher)
    shown = sees_as_trained(shown, origin, recipe.teacher.face_model)
    examples = seen_examples(shown, prepared, teacher.config.video)
    if isinstance(examples, ShardExamples):
        return examples, shard_embeddings(teacher, weights, examples, path.parent, device)
    examples = [*examples, *_unlabelled(shown, prepared, teacher.config.video)]
    return examples, teacher_embeddings(teacher, weights, examples, path.parent, device)


def lessons_of(
    recipe: Recipe,
    prepared: Prepared,
    examples: Sequence[Example],
    folder: Path,
    device: torch.device,
    width: int,
) -> list[Lesson]:
    """What the teachers of [[teachers]] tell, in the order of the recipe; a student's embedding is `width` wide."""
    if recipe.teachers and prepared.shards:
        raise InputError(
            f"expected a corpus in memory for [[teachers]], got shards in {prepared.shards.root}: set data.root to the corpus itself"
        )
    sources = {utterance.name: utterance for utterance in (*prepared.split.train, *prepared.split.unlabelled)}
    found = []
    for one in recipe.teachers:
        if one.path.endswith(".pt"):
            lesson = from_embeddings(one, _under(Path(one.path), recipe, prepared, device)[1])
        else:
            cut = recipe.segments
            lesson = lesson_of(one, examples, sources, cut.segmentation, cut.trim_db, folder)
        found.append(lesson.along_axes(width) if one.projection == "axes" else lesson)
    return found


def _speech(prepared: Prepared) -> Tensor:
    """Pieces of training speech, int16, from utterances far apart in the corpus."""
    pieces = []
    length = 2 * SAMPLE_RATE_HZ
    count = SPEECH_SECONDS // 2
    utterances = prepared.split.train
    for utterance in utterances[:: max(1, len(utterances) // count)][:count]:
        samples = read_audio(utterance.audio, start_seconds=utterance.start_seconds, end_seconds=utterance.end_seconds)
        middle = max(0, (len(samples) - length) // 2)
        pieces.append(torch.from_numpy(to_pcm(samples[middle : middle + length])))
    return torch.cat(pieces)
