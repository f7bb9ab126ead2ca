"""The stages of gpu_day.py, each a function that tells rows: what it looked at, whether that is as it should be, and figures.

python benchmarks/gpu_stages.py STAGE[:TASK] FOLDER BEGAN      # as gpu_day.py calls it
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
SOUND = ROOT / "examples" / "two_voices.flac"
SILERO = ROOT / "edge_lupi" / "bundles" / "silero_vad" / "silero_vad.onnx"
PACKAGES = ("numpy", "onnxruntime", "onnx", "torch", "typer", "rich", "soundfile", "soxr", "sounddevice", "tensorrt")
BATCHES = (1, 4, 16, 64, 256)
CELL_SECONDS, WARM_UP = 0.3, 10
NEAR = 0.05  # a label may differ where both scores are this near to each other: rounding, not another student
LEAST_COSINE = 0.99
Array = NDArray[np.float32]


class Stage:
    """Where a stage works, and how it tells."""

    def __init__(self, name: str, work: Path, began: float) -> None:
        self.name, self.work, self._began = name, work, began
        self.task = name.partition(":")[2] or "speaker"
        self._last = time.perf_counter()

    def tell(self, what: str, ok: bool, said: str, **figures: Any) -> None:
        """One row, printed and kept; `seconds` since the last one."""
        now = time.perf_counter()
        row = {"stage": self.name, "what": what, "ok": bool(ok), "said": said, "seconds": round(now - self._last, 3)}
        self._last = now
        line = json.dumps({**row, "at_s": round(time.time() - self._began, 1), **figures}) + "\n"
        with (self.work / "rows.jsonl").open("a") as file:
            file.write(line)
        sys.stdout.write(line)
        sys.stdout.flush()

    def bundle(self, purpose: str = "") -> Path:
        """This task's bundle; with a purpose a copy for it, without engines."""
        made = self.work / f"{self.task}.lupi"
        if not purpose:
            return made
        copy = self.work / f"{purpose}.{self.task}.lupi"
        shutil.rmtree(copy, ignore_errors=True)
        return shutil.copytree(made, copy, ignore=shutil.ignore_patterns("engines"))

    def edge_lupi(self, *words: str | Path, before: tuple[str, ...] = (), **environment: str) -> tuple[int, str]:
        """The command line; its exit code and all that it said."""
        command = [*before, sys.executable, "-m", "edge_lupi.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})
        return done.returncode, done.stdout + done.stderr


def here(stage: Stage) -> None:
    """What the machine has; whatever is missing is named."""
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name in ("onnx", "torch", "soundfile", "soxr") if not found[name]]
    missing += [str(file.relative_to(ROOT)) for file in (SOUND, SILERO) if not file.is_file()]
    system = f"python {platform.python_version()}, {os.cpu_count()} cores, {platform.release()}"
    listed = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    stage.tell("software", not missing, f"missing: {', '.join(missing)}" if missing else f"{system}; {listed}")
    smi = shutil.which("nvidia-smi")
    asked = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.draw"
    if smi:
        done = subprocess.run([smi, f"--query-gpu={asked}", "--format=csv,noheader"], capture_output=True, text=True)
        stage.tell("nvidia-smi", done.returncode == 0, done.stdout.strip() or done.stderr.strip())


def bundle(stage: Stage) -> None:
    """The shipped student, compiled with the graphs that engines are built from."""
    student = ROOT / "train" / "students" / f"{stage.task}.pt"
    code, said = stage.edge_lupi(
        "compile", student, "--out", stage.bundle(), "--target", "tensorrt", "--no-build", "--json"
    )
    stage.tell("compile --no-build", code == 0, json.loads(said)["why"] if code == 0 else said[-500:])


def driver(stage: Stage) -> None:
    """The driver by itself: no torch, no TensorRT."""
    from edge_lupi.errors import DeviceError
    from edge_lupi.runtime.engines import cuda

    gpu = cuda.find_gpu()
    if gpu is None:
        stage.tell("find_gpu", False, cuda.why_no_gpu() or "no driver, or no GPU")
        return
    known = ".".join(map(str, cuda.cuda_of_driver()))
    said = f"{gpu.name}, compute capability {gpu.capability}, {gpu.multiprocessors} multiprocessors, CUDA {known}"
    stage.tell("find_gpu", True, said, device=gpu.name, memory_bytes=gpu.memory_bytes)
    draw, wrong = np.random.default_rng(0), 0
    for shape in ((1, 80, 1, 100), (16, 80, 1, 100), (256, 80, 1, 150), (1, 7), (3, 1)):
        buffer, values = cuda.Buffer(gpu, shape), draw.normal(size=shape).astype(np.float32)
        buffer.upload(values)
        gpu.wait()
        buffer.array[...] = np.nan
        buffer.download(shape[0])
        gpu.wait()
        wrong += not np.array_equal(buffer.array, values)
    stage.tell("there and back", not wrong, f"{wrong} of 5 shapes came back otherwise")
    up, down = cuda.Buffer(gpu, (16, 80, 1, 100)), cuda.Buffer(gpu, (16, 128))
    segment = np.zeros((1, 80, 1, 100), np.float32)

    def trip() -> None:
        gpu.use()
        up.upload(segment)
        down.download(1)
        gpu.wait()
        down.array[:1].copy()

    ms = timed(trip)
    stage.tell("32 kB up, 0.5 kB down, wait", True, spread(ms), p50_ms=float(np.median(ms)))
    said = _refusal(lambda: gpu.allocate(1 << 50))
    again = _refusal(lambda: cuda.Buffer(gpu, (16, 128)))
    stage.tell("out of memory", "out of memory" in said and not again, f"{said or 'nothing refused'}; then: {again}")
    failures: list[BaseException] = []
    threading.excepthook = lambda told: failures.append(told.exc_value or DeviceError("unknown"))
    sys.unraisablehook = lambda told: failures.append(told.exc_value or DeviceError("unknown"))
    box = [cuda.Buffer(gpu, (4, 4))]
    thread = threading.Thread(target=lambda: (box.clear(), gc.collect()))
    thread.start()
    thread.join()
    stage.tell("freed by a thread that never used CUDA", not failures, f"{failures or 'nothing was raised'}")


def child(stage: Stage) -> None:
    """A child that was forked after CUDA began has no GPU, and is told so in a sentence."""
    from edge_lupi.runtime.engines import cuda

    gpu = cuda.find_gpu()
    assert gpu is not None
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, (_refusal(lambda: cuda.Buffer(gpu, (1, 1))) or "it works").encode()[:300])
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 400).decode()
    os.wait()
    stage.tell("in a forked child", bool(said), said or "it died")
    stage.tell("in its parent, afterwards", not _refusal(lambda: cuda.Buffer(gpu, (1, 1))), "memory is had")


def verbs(stage: Stage) -> None:
    """The unmodified command line: compile, inspect, listen, bench, doctor."""
    path, listen = stage.bundle(), ("--task", stage.task, "--input", SOUND, "--gate", "energy")
    graphs = {"PRETENDED_TENSORRT_GRAPHS": "1"}
    for batch in ("16", "64") if stage.task == "speaker" else ("16",):
        code, said = stage.edge_lupi("compile", path, "--target", "tensorrt", "--max-batch", batch, **graphs)
        stage.tell(f"compile, batches to {batch}", code == 0, last_line(said), table=said[-1500:])
    code, said = stage.edge_lupi("compile", path, "--target", "tensorrt", "--precision", "fp16", "--json")
    stage.tell("compile --precision fp16", code == 0, json.loads(said)["gpu"]["why"] if code == 0 else said[-300:])
    code, said = stage.edge_lupi("inspect", path)
    engines = re.findall(r"engine +(.*)", said)
    stage.tell("inspect", code == 0 and "fits this device, chosen" in said, "; ".join(engines) or said[-300:])
    code, said = stage.edge_lupi("listen", path, *listen)
    on = next((line for line in said.splitlines() if line.startswith("runs on")), said[-200:])
    stage.tell("listen", code == 0 and "GPU" in on, f"{on}; {last_line(said)}")
    if stage.task == "speaker":
        code, said = stage.edge_lupi("doctor")
        parts = re.findall(r"^\w+ +(?:GPU|TensorRT) .*", said, re.MULTILINE)
        well = code in (0, 1) and len(parts) == 2 and all(part.startswith("ok") for part in parts)
        stage.tell("doctor", well, "; ".join(parts) or said[-200:])  # 1: no PortAudio, which no GPU machine needs


def hops(stage: Stage) -> None:
    """A hop, part by part, on the GPU and on the CPU."""
    for where, path in (("GPU", stage.bundle()), ("CPU", stage.bundle("cpu"))):
        code, said = stage.edge_lupi("bench", path, "--seconds", "30", "--json", PRETENDED_TENSORRT_GRAPHS="1")
        try:
            found = json.loads(said)
        except ValueError:
            stage.tell(f"bench on the {where}", False, said[-300:])
            continue
        parts = {name: part["p50_ms"] for name, part in found["parts"].items()}
        on = found["environment"]["runs_on"]
        said = f"{on}; " + ", ".join(f"{name} {ms:.3f} ms" for name, ms in parts.items())
        stage.tell(f"bench on the {where}", code == 0 and on.startswith(where), said, p50_ms=parts)


def speeds(stage: Stage) -> None:
    """The encoder, transfers included, beside the CPU's int8 on one thread."""
    os.environ["PRETENDED_TENSORRT_GRAPHS"] = "1"
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.compile.engines.tensorrt import engine_from_onnx
    from edge_lupi.compile.request import BuilderOptions
    from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
    from edge_lupi.runtime.engines.tensorrt import Tensorrt

    backend, draw = Tensorrt("gpu_day"), np.random.default_rng(0)
    batches = BATCHES[:3] if is_pretended() else BATCHES
    for task in ("speaker", "emotion"):
        held = Bundle.load(stage.work / f"{task}.lupi")
        runners: dict[str, Any] = {"CPU int8": OnnxEngine(held.file("encoder.onnx"), name="encoder")}
        for precision in ("fp32", "fp16"):
            graph = held.file(f"tensorrt.encoder.{precision}.onnx")
            plan = engine_from_onnx(graph, BuilderOptions(max_batch=max(batches)), backend.module, name=precision)
            runners[f"GPU {precision}"] = backend.open(plan, precision)
        shape = runners["CPU int8"].input_shapes["log_mel"][1:]
        for batch in batches:
            given = {"log_mel": draw.normal(-5, 2, (batch, *shape)).astype(np.float32)}
            found = {name: timed(lambda e=engine, x=given: e.run(x)) for name, engine in runners.items()}
            median = {name: round(float(np.median(ms)), 4) for name, ms in found.items()}
            said = ", ".join(f"{name} {ms:.3f} ms" for name, ms in median.items())
            stage.tell(f"encoder of {task}, batch {batch}", True, said, batch=batch, task=task, p50_ms=median)


def turns(stage: Stage) -> None:
    """The same turns as on the CPU; where not, which events, and by how little embeddings and scores part: the aggregators run on the CPU."""
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.compile.engines.build import build_engines
    from edge_lupi.compile.request import Request

    path = stage.bundle("turns")
    wanted = heard(Bundle.load(path), stage.task)
    for precision in ("fp32", "fp16", "int8"):
        build_engines(Bundle.load(path), Request("tensorrt", precision))
        compare(stage, precision, wanted, heard(Bundle.load(path), stage.task))
    torch = sys.modules.get("torch")
    if torch is not None:  # what a builder without clear_flag(TF32) would do
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        build_engines(Bundle.load(path), Request("tensorrt", "fp32"))
        compare(stage, "fp32 in TF32", wanted, heard(Bundle.load(path), stage.task))


def heard(bundle: Any, task: str) -> dict[str, Any]:
    """What a bundle makes of the example, where it runs: embeddings of every segment, and events."""
    from edge_lupi.runtime.listening.listener import Listener
    from edge_lupi.runtime.sources.open import open_source
    from edge_lupi.sound.audio import read_audio

    listener = Listener(bundle, task, gallery=None)
    student = listener.student
    segments = student.segments(read_audio(SOUND))
    parts = range(0, len(segments), student.max_batch)
    embeddings = np.concatenate([student.encode(segments[at : at + student.max_batch]) for at in parts])
    with open_source(str(SOUND)) as source:
        events = list(listener.listen(source))
    return {"on": student.runs_on, "embeddings": embeddings, "events": events}


def compare(stage: Stage, precision: str, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    a, b = wanted["embeddings"], found["embeddings"]
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    pairs = list(zip(wanted["events"], found["events"], strict=False))
    other = [(x.time, x.label, y.label, round(sure(x), 4), round(sure(y), 4)) for x, y in pairs if x.label != y.label]
    apart = max((abs(one[3] - one[4]) for one in other), default=0.0)
    same_count = len(wanted["events"]) == len(found["events"])
    ok = found["on"].startswith("GPU") and cosine.min() >= LEAST_COSINE and same_count and apart <= NEAR
    said = (
        f"{found['on']}: embeddings {cosine.mean():.5f} mean, {cosine.min():.5f} worst of {len(a)}; "
        f"{len(other)} of {len(pairs)} events differ, their scores by at most {apart:.3f}"
    )
    stage.tell(
        precision, ok, said, cosine_mean=float(cosine.mean()), cosine_worst=float(cosine.min()),
        worst_segment=int(cosine.argmin()), events=len(pairs), differ=other[:12],
    )  # fmt: skip


def sure(event: Any) -> float:
    return float(event.score if event.probability is None else event.probability)


def rules(stage: Stage) -> None:
    """tests/gpu/exercise.py: batches, results kept, other threads, two at once, memory given back."""
    file = ROOT / "tests" / "gpu" / "exercise.py"
    spec = importlib.util.spec_from_file_location("exercise", file)
    assert spec is not None
    assert spec.loader is not None
    exercise = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exercise)
    for check in exercise.CHECKS:
        said = check(exercise.Bench(stage.bundle()))
        stage.tell(check.__name__, not said, said or "as it should be")


def lost(stage: Stage) -> None:
    """An error of the GPU in mid-stream that it does not get over: listening goes on with the CPU."""
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.compile.engines.build import build_engines
    from edge_lupi.compile.request import Request
    from edge_lupi.runtime.listening.listener import Listener
    from edge_lupi.runtime.sources.open import open_source

    path = stage.bundle("lost")
    build_engines(Bundle.load(path), Request("tensorrt", "fp32"))
    listener = Listener(Bundle.load(path), stage.task, gallery=None, gate="energy")
    before, events = listener.student.runs_on, []
    with open_source(str(SOUND)) as source:
        for event in listener.listen(source):
            events.append(event)
            if len(events) == 10:
                break_gpu()
    after, count = listener.student.runs_on, listener.statistics.gpu_failures
    ok = before.startswith("GPU") and after.startswith("CPU") and count == 1 and len(events) > 20
    stage.tell("the GPU breaks at the tenth event", ok, f"{before}, then {after}; {len(events)} events")
    os._exit(0)  # torch would not leave quietly


def break_gpu() -> None:
    """Everything that this process asks of the GPU fails from now on."""
    if is_pretended():
        os.environ["PRETENDED_CUDA_FAIL"] = "cuStreamSynchronize:0:700"
        return
    import torch

    with suppress(RuntimeError):  # an index that is none: a kernel asserts
        torch.zeros(1, device="cuda")[torch.tensor([7], device="cuda")].cpu()


def is_pretended() -> bool:
    from edge_lupi.runtime.engines import cuda

    return hasattr(ctypes.CDLL(cuda.LIBRARY), "pretended_launch")


def sanitizer(stage: Stage) -> None:
    """NVIDIA's compute-sanitizer on listen."""
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        stage.tell("compute-sanitizer", True, "left out: it is not installed")
        return
    path = stage.bundle("sanitizer")
    stage.edge_lupi("compile", path, "--target", "tensorrt", "--precision", "fp32")
    before = (tool, "--tool", "memcheck", "--error-exitcode", "9")
    code, said = stage.edge_lupi("listen", path, "--input", SOUND, "--gate", "energy", before=before)
    summary = re.findall(r"ERROR SUMMARY.*", said)
    stage.tell("compute-sanitizer on listen", code == 0 and "runs on the GPU" in said, f"{summary or said[-300:]}")


def last_line(said: str) -> str:
    return (said.strip().splitlines() or [""])[-1]


def timed(call: Callable[[], object]) -> list[float]:
    """Milliseconds a call, for as long as a cell may take."""
    warm = time.perf_counter() + CELL_SECONDS
    for _ in range(WARM_UP):
        call()
        if time.perf_counter() > warm:
            break
    taken, ends = [], time.perf_counter() + CELL_SECONDS
    while len(taken) < 5 or (time.perf_counter() < ends and len(taken) < 3000):
        began = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - began))
    return taken


def spread(ms: list[float]) -> str:
    p10, p50, p90, p99 = np.percentile(ms, [10, 50, 90, 99])
    return f"p50 {p50:.4f} ms (p10 {p10:.4f}, p90 {p90:.4f}, p99 {p99:.4f}) of {len(ms)}"


def _refusal(call: Callable[[], object]) -> str:
    """The sentence that a call ends with; empty where it does what it should."""
    from edge_lupi.errors import EdgeLupiError

    try:
        call()
    except EdgeLupiError as error:
        return str(error)
    return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main() -> None:
    name, work, began = sys.argv[1:]
    run: Callable[[Stage], None] = globals()[name.partition(":")[0]]
    run(Stage(name, Path(work), float(began)))


if __name__ == "__main__":
    main()
