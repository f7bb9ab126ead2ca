"""compile and inspect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.terminal import say, say_done, say_json
from edge_lupi.verbs.options import (
    BundleArgument,
    GpuOption,
    JsonOption,
    TaskOption,
    among_corpora,
    examples,
    finite,
    need,
)

if TYPE_CHECKING:
    from edge_lupi.bundle.provenance import Provenance
    from edge_lupi.task import Task


EXAMPLES = examples(
    ("edge-lupi compile runs/my/student.int8.pt", "student.int8.lupi there"),
    ("edge-lupi compile student.int8.pt --data CORPUS", "precision judged on speech"),
    ("edge-lupi compile student.lupi --target tensorrt", "engines for this GPU"),
)
INSPECT_EXAMPLES = examples(
    ("edge-lupi inspect", "the speaker bundle that comes along"),
    ("edge-lupi inspect --task emotion", "the emotion bundle, its classes"),
    ("edge-lupi inspect my.lupi --json", "one of your own, for programs"),
)

Student = Annotated[
    Path,
    typer.Argument(
        metavar="STUDENT.PT|BUNDLE",
        help="A trained student; or a bundle, to build engines for this device or a repository for Triton.",
    ),
]
Out = Annotated[
    Optional[Path],
    typer.Option(
        help="The bundle, or Triton's model repository.", show_default="STUDENT.lupi or STUDENT.triton beside it"
    ),
]
ProfileFile = Annotated[
    Optional[Path], typer.Option(help="A device's options as TOML, see compile/; what is typed stands above it.")
]
Target = Annotated[
    Optional[str],
    typer.Option(
        help="auto, cpu, tensorrt, tensorrt-rtx, onnxruntime-tensorrt, onnxruntime-cuda, or triton for a server's model repository; auto takes TensorRT where it is here, else cpu.",
        show_default="auto",
    ),
]
Precision = Annotated[
    Optional[str],
    typer.Option(help="auto, fp32, int8, or fp16 on a GPU; auto measures and says why.", show_default="auto"),
]
MaxBatch = Annotated[
    Optional[int],
    typer.Option(help="Segments that an engine, or one of Triton's models, takes at once, at most.", show_default="16"),
]
WorkspaceMib = Annotated[
    Optional[int], typer.Option(help="MiB of memory that TensorRT may use for a layer.", show_default="256")
]
NoBuild = Annotated[
    bool, typer.Option("--no-build", help="Build no engine: only put into the bundle what a device builds from.")
]
Data = Annotated[
    Optional[Path],
    typer.Option(
        help="Labelled speech to judge by, here or inside $EDGE_LUPI_DATA: the task's own metric, and cosines.",
        callback=among_corpora,
    ),
]
Trials = Annotated[
    Optional[Path],
    typer.Option(help="Where the task compares voices: lines of `label path path`.", callback=among_corpora),
]
MaxDrop = Annotated[
    Optional[float],
    typer.Option(
        metavar="SHARE",
        help="By how much EER or UAR may be worse than the float student's: 0.005 is half a point of per cent.",
        show_default="0.005",
        callback=finite,
    ),
]


def make_bundle(
    student: Student,
    out: Out = None,
    profile: ProfileFile = None,
    target: Target = None,
    precision: Precision = None,
    max_batch: MaxBatch = None,
    workspace_mib: WorkspaceMib = None,
    gpu: GpuOption = None,
    no_build: NoBuild = False,
    data: Data = None,
    trials: Trials = None,
    max_drop: MaxDrop = None,
    as_json: JsonOption = False,
) -> None:
    """Make the bundle that an edge device runs, and prove that it is still the same student."""
    from edge_lupi.compile.request import read_profile
    from edge_lupi.compile.targets import compile_for
    from edge_lupi.disk import kind_of

    typed = {"max_batch": max_batch, "workspace_mib": workspace_mib, "max_drop": max_drop}
    options = read_profile(profile, target=target, precision=precision, **typed)
    request = options.request(not no_build, data, trials)
    if kind_of(student) != "folder":
        need("compile", "torch", "onnx")
    elif request.target == "triton":
        need("compile --target triton", "onnx")
    done = compile_for(student, out, request)
    if as_json:
        say_json(done.plain())
    else:
        expected = [f"{options.device}: {options.expect}"] if options.expect else []
        say_done(*expected, *done.text().split("\n"))


def inspect(bundle: BundleArgument = None, task: TaskOption = "speaker", as_json: JsonOption = False) -> None:
    """Say what is in a bundle, after checking every hash."""
    from edge_lupi.bundle.bundle import Bundle, shipped_bundle
    from edge_lupi.bundle.calibration import load_calibration
    from edge_lupi.runtime.engines.choose import engine_lines, engines_plain

    found = Bundle.load(bundle or shipped_bundle(task))
    calibrated = [
        one for name in found.tasks if (one := load_calibration(found.path, found.fingerprint, name)) is not None
    ]
    if as_json:
        calibrations = {one.task: one.plain() for one in calibrated}
        own = {"path": str(found.path), "engines": engines_plain(found), "calibrations": calibrations}
        say_json({**found.manifest, **own})
        return
    student, precision = (found.manifest.get(name, {}) for name in ("student", "precision"))
    segments = found.segmentation
    say(
        f"{found.path}  ({found.size_bytes / 1e6:.2f} MB, every file matches its sha256)",
        *(_task_line(task) for task in found.tasks.values()),
        *(f"calibrated {one.line()}; edge-lupi calibrate --undo takes it away" for one in calibrated),
        f"student    {student.get('size')}, {student.get('parameters')} parameters, {student.get('setting')}",
        f"segments   {segments.seconds} s every {segments.hop_seconds} s",
        f"precision  {precision.get('chosen')}: {precision.get('why')}",
        *_origin_lines(str(found.manifest.get("licence")), found.provenance),
        *engine_lines(found),
    )


def _task_line(task: Task) -> str:
    labels = f": {', '.join(task.labels)}" if task.labels else ""
    threshold = f", threshold {task.threshold:.3f}" if task.threshold else ""
    return f"task       {task.name} ({task.kind}){labels}{threshold}"


def _origin_lines(licence: str, training: Provenance) -> list[str]:
    """Licence and corpus; of each branch, where they were taught one after the other."""
    found = []
    for task, own in (training.licences or {"": licence}).items():
        origin, of = training.of(task), f"{task}: " if task else ""
        found.append(f"licence    {of}{own}")
        found.append(f"trained on {of}{origin.training_utterances} utterances of {origin.corpus}")
    return found


def sign(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .lupi folder.")],
    key: Annotated[
        Path, typer.Option(metavar="PEM", help="Private Ed25519 key, as openssl genpkey -algorithm ed25519 makes it.")
    ],
) -> None:
    """Sign a bundle, so that whoever has the public key can listen with --require-signature."""
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.bundle.manifest import MANIFEST
    from edge_lupi.bundle.signature import sign_manifest

    found = Bundle.load(bundle)  # what does not hold is not signed
    say_done(f"signed: {sign_manifest(found.path, found.papers[MANIFEST], key)}")
