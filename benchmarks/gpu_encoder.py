"""The encoder on a GPU: TensorRT in every precision beside torch eager, torch.compile and ONNX Runtime on the same card.

python benchmarks/gpu_encoder.py train/students/speaker.pt [--batches 1,16,64] [--runs 500] [--target tensorrt|tensorrt-rtx]
python benchmarks/gpu_encoder.py train/students/speaker.pt --device cpu        # the same without TensorRT, on one thread

Every runner takes float32 from the CPU's memory and gives float32 back into it: transfers are counted. The runners take
turns, run by run. ONNX Runtime joins in where the installed wheel has its CUDA provider. The engines' embeddings are
held against the float student's, and a runner that cannot be had is named with its reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from edge_lupi.bundle.engines import FOLDER, read_engine
from edge_lupi.compile.engines.build import build_engines
from edge_lupi.compile.request import BuilderOptions, Request
from edge_lupi.compile.student import compile_student, encoders
from edge_lupi.device.processor import environment
from edge_lupi.errors import EdgeLupiError
from edge_lupi.models.files import TrainedStudent, load_student
from edge_lupi.models.front_end import cut, log_mel
from edge_lupi.runtime.engines.choose import BACKENDS
from edge_lupi.sound.audio import from_pcm

Array = NDArray[np.float32]
Runner = Callable[[Array], Array]
WARM_UP = 50


def by_torch(trained: TrainedStudent, device: str) -> Iterator[tuple[str, Runner]]:
    encoder = trained.student.encoder.eval().to(device)

    def runner(model: Callable[[torch.Tensor], torch.Tensor]) -> Runner:
        return lambda x: model(torch.from_numpy(x).to(device)).cpu().numpy()

    yield "torch eager", runner(encoder)
    yield "torch.compile", runner(torch.compile(encoder, mode="reduce-overhead" if device == "cuda" else "default"))


def by_onnxruntime(trained: TrainedStudent, device: str) -> Iterator[tuple[str, Runner]]:
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if provider not in ort.get_available_providers():
        print(f"ONNX Runtime left out: {ort.__version__} as installed has no {provider}")
        return
    for name, graph in encoders(trained).items():
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(graph.SerializeToString(), options, providers=[provider])
        yield f"ONNX Runtime {name}", lambda x, s=session: s.run(None, {"log_mel": x})[0]


def by_tensorrt(student: Path, target: str, max_batch: int, folder: Path) -> Iterator[tuple[str, Runner]]:
    request = Request(target, options=BuilderOptions(max_batch=max_batch))
    report = build_engines(compile_student(student, folder / "x.lupi", request).bundle, request)
    backend = BACKENDS[target]("benchmarks/gpu_encoder.py")
    for built in report.engines:
        if built.key.name == "encoder":
            engine = backend.open(read_engine(folder / "x.lupi" / FOLDER, built), "encoder", max_batch)
            yield f"{target} {built.key.precision}", lambda x, e=engine: e.run({"log_mel": x})["embedding"]


def all_runners(asked: argparse.Namespace, trained: TrainedStudent, max_batch: int, folder: Path) -> dict[str, Runner]:
    found = dict(by_torch(trained, asked.device)) | dict(by_onnxruntime(trained, asked.device))
    if asked.device == "cuda":
        try:
            found |= by_tensorrt(asked.student, asked.target, max_batch, folder)
        except EdgeLupiError as error:
            print(f"TensorRT left out: {error}")
    return found


def segments_of(bundle_speech: TrainedStudent, count: int) -> Array:
    samples = torch.from_numpy(from_pcm(bundle_speech.speech.numpy()))
    found = cut(log_mel(samples[None]), bundle_speech.student.config.segmentation)[0].contiguous().numpy()
    return np.resize(found, (count, *found.shape[1:]))


def in_turn(runners: dict[str, Runner], batch: Array, runs: int) -> dict[str, NDArray[np.float64]]:
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for run in range(-WARM_UP, runs):
        for name, call in runners.items():
            began = time.perf_counter()
            call(batch)
            if run >= 0:
                taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: np.array(ms) for name, ms in taken.items()}


def cosines(a: Array, b: Array) -> Array:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--target", choices=tuple(BACKENDS), default="tensorrt")
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--runs", type=int, default=500)
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "expected an NVIDIA GPU that torch can use, got none: run it where there is one, or --device cpu"
        )
    torch.set_num_threads(1)
    batches = [int(text) for text in asked.batches.split(",")]
    trained = load_student(asked.student)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runners = all_runners(asked, load_student(asked.student), max(batches), Path(folder))
        segments = segments_of(trained, max(batches))
        wanted = trained.student.encoder.eval()(torch.from_numpy(segments)).numpy()
        print(f"{'runner':<24}{'batch':>6}{'p50 ms':>9}{'p99 ms':>9}{'worst cosine':>14}")
        for size in batches:
            worst = {name: float(cosines(run(segments[:size]), wanted[:size]).min()) for name, run in runners.items()}
            for name, ms in in_turn(runners, segments[:size], asked.runs).items():
                p50, p99 = np.percentile(ms, [50, 99])
                print(f"{name:<24}{size:>6}{p50:>9.3f}{p99:>9.3f}{worst[name]:>14.4f}")
                rows.append({"runner": name, "batch": size, "p50_ms": p50, "p99_ms": p99, "worst_cosine": worst[name]})
    name = torch.cuda.get_device_name() if asked.device == "cuda" else "cpu"
    print(json.dumps({"device": name, "runs": asked.runs, "rows": rows, "environment": environment()}))


if __name__ == "__main__":
    main()
