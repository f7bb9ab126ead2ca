"""train teacher, student, qat, wccn, sweep and shards."""

from __future__ import annotations

import logging
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.errors import InputError
from edge_lupi.progress import progress
from edge_lupi.terminal import note, say_done
from edge_lupi.verbs.options import examples, made_folder, need

if TYPE_CHECKING:
    from edge_lupi.train.examples.prepared import Prepared
    from edge_lupi.train.recipe import Recipe


log = logging.getLogger(__name__)

EXAMPLES = examples(
    ("edge-lupi train teacher train/emotion_ravdess.toml", "hears and sees"),
    ("edge-lupi train student train/emotion_ravdess.toml", "hears alone"),
    ("edge-lupi train qat train/emotion_ravdess.toml", "on the int8 grid"),
    ("edge-lupi compile runs/emotion_ravdess/student.int8.pt", "for edge devices"),
)
RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML recipe; see the folder train/.")]
OutOption = Annotated[Optional[Path], typer.Option(help="Folder for results.", show_default="runs/<recipe's name>")]
SetOption = Annotated[
    Optional[list[str]],
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change the recipe, as student.epochs=5; may be repeated."),
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Begin anew where a checkpoint would be taken up again.")]


def teacher(recipe: RecipeArgument, out: OutOption = None, set: SetOption = None, fresh: FreshOption = False) -> None:
    """Train the network that hears and sees. Writes teacher.pt."""
    settings = _recipe(recipe, set)
    folder = _folder(settings, out)
    prepared = _prepared_for(folder / "teacher.checkpoint", settings, fresh)
    from edge_lupi.train.stages.teacher import train_teacher

    _say_trained(train_teacher(settings, prepared, folder), prepared)


def student(
    recipe: RecipeArgument,
    teacher: Annotated[
        Optional[list[Path]],
        typer.Option(help="The teacher; several may be named.", show_default="OUT/teacher.pt, if there"),
    ] = None,
    audio_only: Annotated[
        bool, typer.Option("--audio-only", help="Learn from labels alone; writes audio_only.pt.")
    ] = False,
    start_from: Annotated[
        Optional[Path],
        typer.Option(
            "--from", metavar="STUDENT.PT", help="A trained student to begin with.", show_default="student.start_from"
        ),
    ] = None,
    leave_one_out: Annotated[
        Optional[str],
        typer.Option(metavar="speaker", help="Train once for every speaker, without them, and measure on all."),
    ] = None,
    out: OutOption = None,
    set: SetOption = None,
    fresh: FreshOption = False,
) -> None:
    """Train the network that only hears, with the teacher's embeddings. Writes student.pt."""
    settings = _recipe(recipe, set)
    folder = _folder(settings, out)
    if start_from is not None:
        settings = replace(settings, student=replace(settings.student, start_from=str(start_from)))
    if leave_one_out is not None:
        return _leave_out(leave_one_out, settings, folder, taught=bool(teacher), fresh=fresh)
    from edge_lupi.disk import kind_of

    if not teacher and kind_of(folder / "teacher.pt") == "file":
        teacher = [folder / "teacher.pt"]
    if audio_only:
        teacher, settings = [], replace(settings, teachers=())
    elif not teacher and not settings.teachers:
        note(f"no teacher in {folder}: the student learns from labels alone")
    name = "audio_only" if audio_only else "student"
    prepared = _prepared_for(folder / f"{name}.checkpoint", settings, fresh)
    from edge_lupi.train.stages.student import train_student

    _say_trained(train_student(settings, prepared, folder, teachers=teacher or (), name=name), prepared)


def _leave_out(what: str, recipe: Recipe, folder: Path, *, taught: bool, fresh: bool) -> None:
    if what != "speaker":
        raise InputError(f"expected --leave-one-out speaker, got {what[:80]!r}: nothing else is left out in turn")
    if taught:
        raise InputError("expected no --teacher beside --leave-one-out, got one, which may have heard who is left out")
    prepared = _prepared(recipe)
    made_folder(folder, "--out")
    from edge_lupi.train.sweep.leave_one_out import leave_one_out

    for checkpoint in folder.glob("fold*/student.checkpoint"):
        _forget(checkpoint, fresh)
    found = leave_one_out(recipe, prepared, folder)
    say_done(*found.text().split("\n"), f"{folder}/leave_one_out.json")


def shards(
    recipe: RecipeArgument,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for the shards.", show_default="<the corpus>_shards, beside it")
    ] = None,
    size: Annotated[int, typer.Option(min=1, max=100_000, help="Utterances in a shard, at most.")] = 1000,
    processes: Annotated[int, typer.Option(min=1, max=1024, help="Shards cut at once.")] = 1,
    set: SetOption = None,
) -> None:
    """Cut a corpus too large for memory into shards; train from them with --set data.root=FOLDER. Goes on after a kill."""
    settings = _recipe(recipe, set)
    need("train shards", "webdataset")
    prepared = _prepared(settings)
    from edge_lupi.train.examples.cut_shards import cut_shards

    root = prepared.corpus.root
    shards = cut_shards(
        settings, prepared, out or root.with_name(f"{root.name}_shards"), size=size, processes=processes
    )
    say_done(f"{shards.root}: {shards.utterances} utterances; train on them with --set data.root={shards.root}")


def qat(
    recipe: RecipeArgument,
    student: Annotated[Optional[Path], typer.Option(help="The float student.", show_default="OUT/student.pt")] = None,
    out: OutOption = None,
    set: SetOption = None,
    fresh: FreshOption = False,
) -> None:
    """Fine-tune a student on the int8 grid. Writes student.int8.pt, ready for edge-lupi compile."""
    settings = _recipe(recipe, set)
    folder = _folder(settings, out)
    source = student or folder / "student.pt"
    prepared = _prepared_for(folder / f"{source.stem}.int8.checkpoint", settings, fresh)
    from edge_lupi.disk import kind_of
    from edge_lupi.train.stages.qat import train_qat

    teacher = folder / "teacher.pt"
    path = train_qat(settings, prepared, source, folder, teachers=[teacher] if kind_of(teacher) == "file" else ())
    _say_trained(path, prepared)


def wccn(
    recipe: RecipeArgument,
    student: Annotated[
        Optional[Path], typer.Option(help="The student, int8 or float.", show_default="OUT/student.int8.pt")
    ] = None,
    out: OutOption = None,
    set: SetOption = None,
) -> None:
    """Make voices count more than rooms, wires and babble (WCCN). Minutes, no training. Writes OUT/student.int8.wccn.pt."""
    settings = _recipe(recipe, set)
    folder = _folder(settings, out)
    prepared = _prepared(settings)
    made_folder(folder, "--out")
    from edge_lupi.train.stages.wccn import normalise_student

    _say_trained(normalise_student(settings, prepared, student or folder / "student.int8.pt", folder), prepared)


def sweep(
    recipe: RecipeArgument,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of every arm and fold.")] = 3,
    folds: Annotated[str, typer.Option(help="Splits to hold out in turn, with commas between; or all.")] = "all",
    arms: Annotated[Optional[str], typer.Option(help="Only these arms, with commas between.")] = None,
    jobs: Annotated[int, typer.Option(min=0, max=1024, help="Trainings at once; 0: one per GPU, else per core.")] = 0,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for results.", show_default="runs/<recipe's name>")
    ] = None,
    scheduler: Annotated[
        Optional[str],
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="A Dask scheduler whose workers train.",
            show_default="workers of this machine",
        ),
    ] = None,
    set: SetOption = None,
) -> None:
    """Train every arm of a recipe on every fold with several seeds, and tell the gains. Goes on where it was killed."""
    from edge_lupi.train.sweep.plan import load_plan

    plan = load_plan(recipe, set or [])
    need("train sweep", "torch", "lightning_fabric", "matplotlib", "distributed")
    if scheduler and jobs:
        raise InputError(
            "expected no --jobs beside --scheduler, got both: the scheduler's workers say how many train at once"
        )
    from edge_lupi.train.sweep.report import table
    from edge_lupi.train.sweep.run import chosen_arms, chosen_folds, run_sweep

    chosen = chosen_arms(plan, arms)
    held_out = chosen_folds(plan, folds)
    folder = out or Path("runs") / plan.recipe.name
    summary = run_sweep(plan, chosen, held_out, range(seeds), folder, jobs=jobs, scheduler=scheduler or "")
    say_done(*table(summary).split("\n"), f"{folder}/results.json, table.md, gain.png")


def _recipe(recipe: Path, changes: list[str] | None) -> Recipe:
    from edge_lupi.train.recipe import load_recipe

    settings = load_recipe(recipe, changes)
    need("train", "torch", "lightning_fabric")
    return settings


def _folder(recipe: Recipe, out: Path | None) -> Path:
    return out or Path("runs") / recipe.name


def _prepared(recipe: Recipe) -> Prepared:
    if _speaks():
        progress(log, f"loading corpus {recipe.data.root} ...", often=True)  # PyTorch takes seconds to load
    from edge_lupi.train.examples.corpus import prepare

    prepared = prepare(recipe)
    if _speaks() and prepared.summary:
        note(prepared.summary)
    return prepared


def _speaks() -> bool:
    """Under torchrun one process does."""
    return os.environ.get("RANK", "0") == "0"


def _prepared_for(checkpoint: Path, recipe: Recipe, fresh: bool) -> Prepared:
    """What a stage with this checkpoint trains on. What can be refused is refused before any sound is read."""
    from edge_lupi.train.checkpoint import refuse_other_recipe

    if not fresh:
        refuse_other_recipe(checkpoint, recipe.plain())
    prepared = _prepared(recipe)
    made_folder(checkpoint.parent, "--out")
    _forget(checkpoint, fresh)
    return prepared


def _forget(checkpoint: Path, fresh: bool) -> None:
    if fresh:
        checkpoint.unlink(missing_ok=True)


def _say_trained(path: Path, prepared: Prepared) -> None:
    if not _speaks():
        return
    heard = f"{prepared.utterances} utterances of {prepared.corpus.name}"
    note = ", speaker dependent" if prepared.split.speaker_dependent else ""
    command = shlex.join(["edge-lupi", "evaluate", str(path), "--data", str(prepared.corpus.root)])
    say_done(f"{path}: trained on {heard}{note}; measure it with {command}")
