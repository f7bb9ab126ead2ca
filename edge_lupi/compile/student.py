"""Compilation of a trained student: student.pt -> student.lupi with graphs, the chosen precision, golden vectors, model card."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from edge_lupi import __version__
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.calibration import kept_calibrations
from edge_lupi.bundle.engines import ENCODER
from edge_lupi.bundle.graph_bounds import OPSET, check_graph
from edge_lupi.bundle.provenance import UNKNOWN_LICENCE, Provenance
from edge_lupi.bundle.write import refuse_to_replace, write_bundle
from edge_lupi.compile.choice import Choice, choose
from edge_lupi.compile.evidence import AroundEncoder, Evidence, read_evidence
from edge_lupi.compile.findings import Findings
from edge_lupi.compile.graphs.export import aggregator_graph, encoder_graph, front_end_graph
from edge_lupi.compile.graphs.faults import int8_faults
from edge_lupi.compile.graphs.half import half_graph
from edge_lupi.compile.graphs.optimised import int8_share
from edge_lupi.compile.graphs.places import several_places
from edge_lupi.compile.graphs.quantised import float_layers, signed_int8, unsigned_int8, without_inner_pairs
from edge_lupi.compile.measure import measure
from edge_lupi.compile.request import Request
from edge_lupi.errors import BundleError, InputError
from edge_lupi.frames import FFT_POINTS, HOP_SAMPLES, MELS, SAMPLE_RATE_HZ, WINDOW_SAMPLES, Segmentation
from edge_lupi.models.files import TrainedStudent, load_student
from edge_lupi.models.front_end import cut_samples
from edge_lupi.models.rounding import fix_ranges
from edge_lupi.models.student import Student
from edge_lupi.runtime.compiled_student import Branch
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.level import Level
from edge_lupi.sound.audio import from_pcm
from edge_lupi.task import Task
from edge_lupi.words import printable

__all__ = ["Compiled", "compile_student", "encoders", "fingerprint", "tensorrt_graphs"]

MIN_SPEECH_SAMPLES = 3 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Compiled:
    """A bundle as it was written, and how the CPU's precision was chosen."""

    bundle: Bundle
    choice: Choice


def compile_student(source: Path, out: Path, request: Request | None = None) -> Compiled:
    """Compile for the CPU and write the bundle `out`, for target tensorrt with the graphs that TensorRT builds from.

    The precision is chosen on the request's `data` where it is given, else on the speech in student.pt. What was calibrated
    in `out` for the same student stays. Raises InputError or BundleError, and then writes nothing.
    """
    request = request or Request()
    refuse_to_replace(out)  # before any work
    trained = _student(source, request)
    graphs, files = encoders(trained), _fixed_graphs(trained.student)
    tasks = {task.name: task for task in trained.student.config.tasks}
    evidence = _evidence(trained, files, tasks, request.data, request.trials) if request.data else None
    choice = choose(_measure(trained, graphs, evidence), request.cpu_precision, request.limits)
    chosen = graphs[choice.chosen]
    files |= {**_encoder(trained, chosen, choice.chosen), "CARD.md": _card(trained, choice).encode()}
    manifest = _manifest(trained, choice, float_layers(chosen))
    if request.for_gpu:
        manifest["tensorrt"] = _add_graphs(files, tensorrt_graphs(trained))
    for name in files:
        if name.endswith(".onnx"):
            check_graph(files[name], name)  # what no device would open is not written
    write_bundle(out, manifest, files, tasks, kept_calibrations(out, manifest["fingerprint"], tasks))
    return Compiled(Bundle.load(out), choice)


def _student(source: Path, request: Request) -> TrainedStudent:
    """A student that can be compiled as it is asked for. Raises InputError or BundleError."""
    trained = load_student(source)
    if request.cpu_precision == "int8" and not trained.ranges:
        raise InputError(
            f"{source} has no quantisation ranges, which int8 needs: fine-tune it with edge-lupi train qat first"
        )
    if len(trained.speech) < MIN_SPEECH_SAMPLES:
        raise BundleError(f"{source} carries no speech to judge by: train it anew with this edge-lupi")
    return trained


def _evidence(
    trained: TrainedStudent, graphs: Mapping[str, bytes], tasks: Mapping[str, Task], data: Path, trials: Path | None
) -> Evidence:
    """Labelled speech for a student whose front end and aggregators are among these graphs."""
    segmentation = trained.student.config.segmentation
    level = Level(from_pcm(trained.golden_samples))

    def around(task: Task) -> AroundEncoder:
        name = f"aggregator.{task.name}.onnx"
        branch = Branch(task, OnnxEngine(graphs[name], name=name))
        return AroundEncoder(task, lambda samples: _segments(samples, segmentation), level.raised, branch)

    return read_evidence(tasks, trained.provenance, around, data, trials)


def _fixed_graphs(student: Student) -> dict[str, bytes]:
    """What is the same in every precision."""
    front_end = front_end_graph(student.config.segmentation.frames)
    aggregators = {task.name: aggregator_graph(student, task.name) for task in student.config.tasks}
    return {
        "front_end.onnx": front_end.SerializeToString(),
        **{f"aggregator.{name}.onnx": graph.SerializeToString() for name, graph in aggregators.items()},
    }


def _encoder(trained: TrainedStudent, graph: onnx.ModelProto, precision: str) -> dict[str, bytes]:
    """The encoder, and the golden vectors of its precision."""
    return {
        "encoder.onnx": graph.SerializeToString(),
        "golden.npz": _golden(trained, precision, trained.golden_samples),
    }


def _measure(trained: TrainedStudent, graphs: Mapping[str, onnx.ModelProto], evidence: Evidence | None) -> Findings:
    """Every precision on the evidence, or else on the speech that student.pt carries."""
    written = {name: graph.SerializeToString() for name, graph in graphs.items()}
    engines = {name: OnnxEngine(graph, name=f"encoder ({name})") for name, graph in written.items()}
    if evidence is None:
        segments = _segments(from_pcm(trained.speech.numpy()), trained.student.config.segmentation)
    else:
        segments = evidence.segments
    wanted = _float_embeddings(trained.student, segments)
    findings = measure(engines, {name: len(graph) for name, graph in written.items()}, segments, wanted)
    shares = {name: replace(one, int8=int8_share(written[name])) for name, one in findings.precisions.items()}
    findings = replace(findings, precisions=shares)
    return findings if evidence is None else evidence.judge(findings, engines, engines["fp32"])


def fingerprint(student: Student) -> str:
    """Names an embedding space: sha256 of the weights. The same for a student's every precision."""
    digest = hashlib.sha256(repr(student.config).encode())
    for task in student.config.tasks:
        if task.voice:
            digest.update(f"{task.name} {task.voice}".encode())
    for name, value in sorted(student.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def encoders(trained: TrainedStudent) -> dict[str, onnx.ModelProto]:
    """The encoder per precision, written as the CPU wants it."""
    graphs = {"fp32": encoder_graph(trained.student)}
    if trained.ranges:
        graphs["int8"] = several_places(unsigned_int8(signed_int8(encoder_graph(trained.student, trained.ranges))))
    return graphs


def tensorrt_graphs(trained: TrainedStudent) -> dict[str, dict[str, onnx.ModelProto]]:
    """The encoder -> precision -> graph, strongly typed. Aggregators run on the CPU everywhere."""
    encoder = encoder_graph(trained.student)
    graphs = {"fp32": encoder, "fp16": half_graph(encoder)}
    if trained.ranges:
        signed = signed_int8(encoder_graph(trained.student, trained.ranges))
        assert not int8_faults(signed)
        graphs["int8"] = without_inner_pairs(signed)
    return {ENCODER: graphs}


def _add_graphs(
    files: dict[str, bytes], graphs: Mapping[str, Mapping[str, onnx.ModelProto]]
) -> dict[str, dict[str, str]]:
    """Add graphs to the bundle's files, each content once; graph -> precision -> file."""
    known = {data: file for file, data in files.items()}
    listed: dict[str, dict[str, str]] = {}
    for name, precisions in graphs.items():
        for precision, graph in precisions.items():
            data = graph.SerializeToString()
            file = known.setdefault(data, f"tensorrt.{name}.{precision}.onnx")
            files[file] = data
            listed.setdefault(name, {})[precision] = file
    return listed


def _segments(samples: NDArray[np.float32], segmentation: Segmentation) -> NDArray[np.float32]:
    """A whole utterance float32 [T] -> log-mel [S, 80, 1, F]; short ones are padded with silence to one segment."""
    return cut_samples(samples, segmentation)[0].contiguous().numpy()


@torch.no_grad()
def _float_embeddings(student: Student, segments: NDArray[np.float32]) -> NDArray[np.float32]:
    """The float student's embeddings [S, D] of log-mel segments, by torch."""
    result: NDArray[np.float32] = student.encoder.eval()(torch.from_numpy(segments)).numpy()
    return result


@torch.no_grad()
def _golden(trained: TrainedStudent, precision: str, samples: NDArray[np.int16]) -> bytes:
    """Input and answers of the torch student, rounded as the chosen graph is: independent of any runtime."""
    encoder = copy.deepcopy(trained.student.encoder).fold()
    if precision == "int8":
        fix_ranges(encoder, trained.ranges)
    segments = cut_samples(from_pcm(samples), trained.student.config.segmentation)[0]
    embeddings = encoder(segments)
    arrays = {"samples": samples, "log_mel": segments[0, :, 0].numpy(), "embeddings": embeddings.numpy()}
    for task in trained.student.config.tasks:
        branch = trained.student.branch(task.name)
        utterance, scores = branch.answer(branch.aggregator(embeddings[None]))
        arrays[f"utterance.{task.name}"] = utterance[0].numpy()
        if scores is not None:
            arrays[f"scores.{task.name}"] = scores[0].numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _manifest(trained: TrainedStudent, choice: Choice, in_float: list[str]) -> dict[str, Any]:
    config = trained.student.config
    return {
        "fingerprint": fingerprint(trained.student),
        "student": {
            "size": config.size,
            "setting": config.setting,
            "parameters": sum(p.numel() for p in trained.student.parameters()),
            "embedding": trained.student.encoder.embedding_size,
        },
        "front_end": {
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "window_samples": WINDOW_SAMPLES,
            "hop_samples": HOP_SAMPLES,
            "fft_points": FFT_POINTS,
            "mels": MELS,
        },
        "segment_seconds": config.segmentation.seconds,
        "hop_seconds": config.segmentation.hop_seconds,
        "target": "cpu",
        "precision": _json_safe({**choice.plain(), "float_layers": in_float}),
        "licence": trained.provenance.licence or UNKNOWN_LICENCE,
        "licences": trained.provenance.licences,
        "training": _json_safe(trained.provenance.plain()),
        "tools": {
            "edge_lupi": __version__,
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opset": OPSET,
            "python": platform.python_version(),
        },
    }


def _json_safe(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _card(trained: TrainedStudent, choice: Choice) -> str:
    config, origin = trained.student.config, trained.provenance
    tasks = "\n".join(
        f"- {task.name} ({task.kind}{', beside what a voice was so far' if task.voice else ''})"
        f"{': ' + ', '.join(task.labels) if task.labels else ''}"
        for task in config.tasks
    )
    dependent = (
        "\nIts figures are speaker dependent: training and test share voices." if origin.speaker_dependent else ""
    )
    branches = [f"{task} branch: {_taught(origin.of(task))}" for task in origin.licences]
    licences = "".join(f"\n- {task} branch: {licence}" for task, licence in origin.licences.items())
    taught = "\n".join(branches) or _taught(origin)
    return f"""# A student that hears

{tasks}

Size {config.size}, {config.setting}, segments of {config.segmentation.seconds} s every {config.segmentation.hop_seconds} s.
{taught}{dependent}

Licence of the training data, which binds these weights: {licences or origin.licence or UNKNOWN_LICENCE}

Precision {choice.chosen}: {choice.why}.

Made to tell voices or moods from speech near a microphone. Not made to identify people for access or law, nor to judge
them: it errs, more for voices, languages and rooms unlike those it was trained on. Measure it on your own recordings
with `edge-lupi evaluate` before you rely on it.
"""


def _taught(origin: Provenance) -> str:
    """Every training, the last first."""
    own, *before = (_training(one) for one in origin.trainings)
    return f"{own[0].upper()}{own[1:]}{''.join(f'; begun with a student {one}' for one in before)}."


def _training(origin: Provenance) -> str:
    labels = origin.section("student").get("labels", 1.0)
    begun = origin.more.get("begun_from")
    if begun:
        by = f"fitted to {printable(str(begun))}"
    elif origin.distilled:
        by = f"taught by a teacher's embeddings{' and labels' if labels else ''}"
    else:
        by = "taught by labels"
    count = "?" if origin.training_utterances is None else origin.training_utterances
    return f"{by} on {count} utterances of {origin.corpus or '?'}, {len(origin.training_speakers or ())} speakers"
