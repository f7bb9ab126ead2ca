"""What people type. Each verb parses, checks and calls; the work and its imports are elsewhere, so --help stays instant."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.errors import EdgeLupiError, MissingExtra

if TYPE_CHECKING:
    from edge_lupi.train.corpus import Prepared
    from edge_lupi.train.recipe import Recipe

app = typer.Typer(
    help="Train a student that hears under a teacher that sees, compile it for an edge device, and listen.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


BundleArgument = Annotated[
    Optional[Path],
    typer.Argument(metavar="BUNDLE", help="A .lupi folder; without it the one that comes with edge-lupi."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON.")]
TaskOption = Annotated[str, typer.Option(help="Which shipped bundle, where none is named: speaker or emotion.")]
DeviceOption = Annotated[Optional[str], typer.Option(help="Number or name of a microphone, see edge-lupi devices.")]
GalleryOption = Annotated[
    Optional[Path], typer.Option(help="File of known speakers.", show_default="~/.local/share/edge-lupi/speakers.json")
]


@app.command()
def listen(
    bundle: BundleArgument = None,
    task: Annotated[str, typer.Option(help="What to tell: speaker or emotion.")] = "speaker",
    input: Annotated[
        str, typer.Option(metavar="mic|FILE|-", help="Microphone, sound file, or raw 16-bit mono.")
    ] = "mic",
    device: DeviceOption = None,
    rate: Annotated[int, typer.Option(help="Samples per second of --input -.")] = 16_000,
    paced: Annotated[bool, typer.Option("--paced", help="Play a file as slowly as a microphone would.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
    gallery: GalleryOption = None,
    threshold: Annotated[Optional[float], typer.Option(help="Cosine above which two voices are one.")] = None,
) -> None:
    """Tell who speaks, or in what emotion, as it is heard."""
    from edge_lupi.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.gallery import Gallery, default_gallery_path
    from edge_lupi.runtime.listener import Listener
    from edge_lupi.runtime.sources import open_source, stop_on_signals
    from edge_lupi.runtime.turns import show

    student = Bundle.load(bundle or shipped_bundle(task))
    known = None
    if student.task(task).kind == "verification":
        known = Gallery.load(gallery or default_gallery_path(), student.fingerprint)
    listener = Listener(student, task, known, threshold)
    if student.engines:
        print(f"runs on the {listener.student.runs_on}", file=sys.stderr)
    with open_source(input, device=device, paced=paced, rate_hz=rate) as source:
        stop_on_signals(source)
        events = listener.listen(source)
        if json:
            for event in events:
                print(event.to_json(), flush=True)
        else:
            show(events, student.segmentation, sys.stdout)
    print(listener.statistics, file=sys.stderr)


@app.command()
def devices(json: Annotated[bool, typer.Option("--json", help="One microphone a line, as JSON.")] = False) -> None:
    """List the microphones."""
    from json import dumps

    from edge_lupi.runtime.sources import input_devices

    found = input_devices()
    for device in found:
        mark = "*" if device["default"] else " "
        line = f"{mark}{device['index']:3}  {device['name']}  ({device['channels']} channels, {device['rate_hz']} Hz)"
        print(dumps(device, ensure_ascii=False) if json else line)
    if not found:
        print("no microphone found: plug one in, or listen to a file with --input FILE", file=sys.stderr)


@app.command()
def enroll(
    name: Annotated[str, typer.Argument(help="Who speaks.")],
    bundle: BundleArgument = None,
    input: Annotated[
        Optional[list[str]], typer.Option(metavar="FILE", help="A recording of them; may be repeated.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=3, max=300, help="Speech to gather from the microphone.")] = 10.0,
    device: DeviceOption = None,
    gallery: GalleryOption = None,
) -> None:
    """Learn a voice, from recordings or from the microphone, so that listen calls it by name."""
    from edge_lupi.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.enrolment import enroll as enroll_voice
    from edge_lupi.runtime.gallery import Gallery, default_gallery_path
    from edge_lupi.runtime.sources import open_source

    student = Bundle.load(bundle or shipped_bundle("speaker"))
    known = Gallery.load(gallery or default_gallery_path(), student.fingerprint)
    known.check_name(name)
    if input:
        sources, enough_seconds = [open_source(path) for path in input], None
    else:
        sources, enough_seconds = [open_source("mic", device=device)], seconds
    speech_seconds = enroll_voice(name, student, known, sources, enough_seconds)
    count = len(known.exemplars(name))
    print(f"{name}: heard {speech_seconds:.1f} s of speech, {count} exemplars in {known.path}")


@app.command("compile")
def compile_verb(
    student: Annotated[
        Path,
        typer.Argument(
            metavar="STUDENT.PT|BUNDLE", help="A trained student; or a bundle, to build engines for this device."
        ),
    ],
    out: Annotated[Optional[Path], typer.Option(help="The bundle.", show_default="STUDENT.lupi beside it")] = None,
    target: Annotated[str, typer.Option(help="auto, cpu, tensorrt or tensorrt-rtx; auto takes what is here.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, int8, or fp16 with TensorRT; auto measures and says why.")
    ] = "auto",
    max_batch: Annotated[int, typer.Option(help="The largest batch of an engine.")] = 16,
    workspace_mib: Annotated[int, typer.Option(help="Memory that TensorRT may use for a layer.")] = 256,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build no engine: only put into the bundle what a device builds from.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make the bundle that an edge device runs, and prove that it is still the same student."""
    from edge_lupi.compile.targets import compile_for
    from edge_lupi.compile.tensorrt import BuilderOptions
    from edge_lupi.compile.wanted import Wanted

    wanted = Wanted(target, precision, BuilderOptions(max_batch, workspace_mib), build=not no_build)
    if not student.is_dir():
        _need("compile", "torch", "onnx")
    done = compile_for(student, out, wanted)
    if json:
        from json import dumps

        print(dumps(done.plain()))
    else:
        print(done.text())


@app.command()
def inspect(bundle: BundleArgument = None, task: TaskOption = "speaker", json: JsonOption = False) -> None:
    """Say what is in a bundle, after checking every hash."""
    from edge_lupi.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.accelerator import engine_lines, engines_plain

    found = Bundle.load(bundle or shipped_bundle(task))
    if json:
        from json import dumps

        print(dumps({**found.manifest, "path": str(found.path), "engines": engines_plain(found)}, ensure_ascii=False))
        return
    manifest = found.manifest
    print(f"{found.path}  ({found.size_bytes / 1e6:.2f} MB, every file matches its sha256)")
    for known in found.tasks.values():
        labels = f": {', '.join(known.labels)}" if known.labels else ""
        print(
            f"task       {known.name} ({known.kind}){labels}"
            + (f", threshold {known.threshold:.3f}" if known.threshold else "")
        )
    student, cut = manifest.get("student", {}), found.segmentation
    print(f"student    {student.get('size')}, {student.get('parameters')} parameters, {student.get('setting')}")
    print(f"segments   {cut.seconds} s every {cut.hop_seconds} s")
    precision = manifest.get("precision", {})
    print(f"precision  {precision.get('chosen')}: {precision.get('why')}")
    print(f"licence    {manifest.get('licence')}")
    training = manifest.get("training", {})
    print(f"trained on {training.get('training_utterances')} utterances of {training.get('corpus')}")
    for line in engine_lines(found):
        print(line)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="STUDENT.PT|TEACHER.PT|BUNDLE", help="What to measure.")],
    data: Annotated[Path, typer.Option(help="A corpus: folder root/<label>/*.wav, CSV, or one that edge-lupi knows.")],
    trials: Annotated[Optional[Path], typer.Option(help="Verification trials: lines of `label path path`.")] = None,
    task: Annotated[Optional[str], typer.Option(help="The task, where the bundle has several.")] = None,
    split: Annotated[Optional[str], typer.Option(help="Only this split of the corpus, e.g. fold0.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Also speakers that training has heard.")] = False,
    snr_db: Annotated[Optional[float], typer.Option(help="Add white noise at this ratio.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure on labelled speech: EER and minDCF on trials, UAR and accuracy on classes, with intervals."""
    from edge_lupi.evaluate import open_model, report

    opened = open_model(model, task)
    found = report(opened, data, trials, split=split, everyone=everyone, snr_db=snr_db)
    if json:
        from json import dumps

        print(dumps(found.plain()))
    else:
        print(found.text())


@app.command()
def bench(
    bundle: BundleArgument = None,
    task: TaskOption = "speaker",
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Sound to push through.")] = 60.0,
    json: JsonOption = False,
) -> None:
    """Measure a bundle on this device: time per hop and by part, real-time factor."""
    from edge_lupi.bench.hop import measure
    from edge_lupi.bundle import Bundle, shipped_bundle

    found = measure(Bundle.load(bundle or shipped_bundle(task)), task if bundle is None else None, seconds)
    print(found.to_json() if json else found.text())


train = typer.Typer(
    help="Train a teacher, a student, and the student's int8 form, each from a TOML recipe (examples in train/).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(train, name="train")

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML recipe; see the folder train/.")]
OutOption = Annotated[Optional[Path], typer.Option(help="Folder for results.", show_default="runs/<recipe's name>")]
SetOption = Annotated[
    Optional[list[str]], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change the recipe.")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Begin anew where a checkpoint would be taken up again.")]


@train.command("teacher")
def train_teacher_verb(
    recipe: RecipeArgument, out: OutOption = None, set: SetOption = None, fresh: FreshOption = False
) -> None:
    """Train the network that hears and sees. Writes teacher.pt."""
    settings, prepared, folder = _training(recipe, out, set)
    from edge_lupi.train.teacher import train_teacher

    _forget(folder / "teacher.checkpoint", fresh)
    _say_trained(train_teacher(settings, prepared, folder), prepared)


@train.command("student")
def train_student_verb(
    recipe: RecipeArgument,
    teacher: Annotated[
        Optional[list[Path]],
        typer.Option(help="The teacher; several may be named.", show_default="OUT/teacher.pt, if there"),
    ] = None,
    audio_only: Annotated[
        bool, typer.Option("--audio-only", help="Learn from labels alone; writes audio_only.pt.")
    ] = False,
    out: OutOption = None,
    set: SetOption = None,
    fresh: FreshOption = False,
) -> None:
    """Train the network that only hears, with the teacher's embeddings. Writes student.pt."""
    settings, prepared, folder = _training(recipe, out, set)
    from edge_lupi.train.student import train_student

    if not teacher and (folder / "teacher.pt").is_file():
        teacher = [folder / "teacher.pt"]
    if audio_only:
        teacher = []
    elif not teacher:
        print(f"no teacher in {folder}: the student learns from labels alone", file=sys.stderr)
    name = "audio_only" if audio_only else "student"
    _forget(folder / f"{name}.checkpoint", fresh)
    _say_trained(train_student(settings, prepared, folder, teachers=teacher or (), name=name), prepared)


@train.command("shards")
def train_shards_verb(
    recipe: RecipeArgument,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for the shards.", show_default="<the corpus>_shards, beside it")
    ] = None,
    size: Annotated[int, typer.Option(min=1, max=100_000, help="Utterances in a shard, at most.")] = 1000,
    processes: Annotated[int, typer.Option(min=1, max=1024, help="Shards cut at once.")] = 1,
    set: SetOption = None,
) -> None:
    """Cut a corpus too large for memory into shards; train from them with --set data.root=FOLDER. Goes on after a kill."""
    settings, prepared, _ = _training(recipe, out, set)
    _need("train shards", "webdataset")
    from edge_lupi.train.shards import cut_shards

    root = prepared.corpus.root
    shards = cut_shards(
        settings, prepared, out or root.with_name(f"{root.name}_shards"), size=size, processes=processes
    )
    print(f"{shards.root}: {shards.utterances} utterances; train on them with --set data.root={shards.root}")


@train.command("qat")
def train_qat_verb(
    recipe: RecipeArgument,
    student: Annotated[Optional[Path], typer.Option(help="The float student.", show_default="OUT/student.pt")] = None,
    out: OutOption = None,
    set: SetOption = None,
    fresh: FreshOption = False,
) -> None:
    """Fine-tune a student on the int8 grid. Writes student.int8.pt, ready for edge-lupi compile."""
    settings, prepared, folder = _training(recipe, out, set)
    from edge_lupi.train.qat import train_qat

    source = student or folder / "student.pt"
    _forget(folder / f"{source.stem}.int8.checkpoint", fresh)
    teacher = folder / "teacher.pt"
    path = train_qat(settings, prepared, source, folder, teachers=[teacher] if teacher.is_file() else ())
    _say_trained(path, prepared)


@train.command("sweep")
def train_sweep_verb(
    recipe: RecipeArgument,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of every arm and fold.")] = 3,
    folds: Annotated[str, typer.Option(help="Splits to hold out in turn, with commas between; or all.")] = "all",
    arms: Annotated[Optional[str], typer.Option(help="Only these arms, with commas between.")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Trainings at once; 0: one per GPU, else per core.")] = 0,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for results.", show_default="runs/<recipe's name>")
    ] = None,
    set: SetOption = None,
) -> None:
    """Train every arm of a recipe on every fold with several seeds, and tell the gains. Goes on where it was killed."""
    from edge_lupi.train.arms import load_plan

    plan = load_plan(recipe, set or [])
    _need("train sweep", "torch", "lightning_fabric", "matplotlib")
    from edge_lupi.train.gain import table
    from edge_lupi.train.sweep import chosen_arms, chosen_folds, run_sweep

    chosen = chosen_arms(plan, arms)
    held_out = chosen_folds(plan, folds)
    folder = out or Path("runs") / plan.recipe.name
    print(table(run_sweep(plan, chosen, held_out, range(seeds), folder, jobs=jobs)))
    print(f"{folder}/results.json, table.md, gain.png")


def _training(recipe: Path, out: Path | None, changes: list[str] | None) -> tuple[Recipe, Prepared, Path]:
    from edge_lupi.train.recipe import load_recipe

    settings = load_recipe(recipe, changes)
    _need("train", "torch", "lightning_fabric")
    from edge_lupi.train.corpus import prepare

    return settings, prepare(settings), out or Path("runs") / settings.name


def _need(verb: str, *modules: str) -> None:
    from importlib.util import find_spec

    absent = [name for name in modules if find_spec(name) is None]
    if absent:
        raise MissingExtra(verb, " and ".join(absent), "train")


def _forget(checkpoint: Path, fresh: bool) -> None:
    if fresh:
        checkpoint.unlink(missing_ok=True)


def _say_trained(path: Path, prepared: Prepared) -> None:
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks
        return
    heard = f"{prepared.utterances} utterances of {prepared.corpus.name}"
    note = ", speaker dependent" if prepared.split.speaker_dependent else ""
    print(f"{path}: trained on {heard}{note}; measure it with edge-lupi evaluate {path}")


def main() -> None:
    """Entry point: an error made on purpose becomes one line on stderr and exit code 1."""
    try:
        app()
    except EdgeLupiError as error:
        print(f"edge-lupi: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output went away; that is its right
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
