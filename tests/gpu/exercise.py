"""Engines put through what breaks where CUDA's rules are not kept; prints {check: what was wrong} as JSON, {} where all is well.

python tests/gpu/exercise.py BUNDLE [FAULT]

Runs in a process of its own, on the pretended driver and TensorRT or on real ones. FAULT plants one of `FAULTS` first, so
that it can be seen which check catches it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.compile.engines.tensorrt import engine_from_onnx
from edge_lupi.compile.request import BuilderOptions
from edge_lupi.runtime.engines import cuda, tensorrt
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine

Array = NDArray[np.float32]
MAX_BATCH = 20  # more than a stream has, so that engines have a second profile
RUNS = 25
CLOSE = 2e-3


class Bench:
    """An engine of the bundle's fp32 encoder, and the same graph on the CPU."""

    def __init__(self, bundle: Path) -> None:
        graph = Bundle.load(bundle).file("tensorrt.encoder.fp32.onnx")
        self.backend = tensorrt.Tensorrt("exercise")
        self.plan = engine_from_onnx(graph, BuilderOptions(max_batch=MAX_BATCH), self.backend.module, name="encoder")
        self.cpu = OnnxEngine(graph, name="encoder")
        draw = np.random.default_rng(0)
        shape = self.cpu.input_shapes["log_mel"][1:]
        self.sounds = [draw.normal(-6, 2, (batch, *shape)).astype(np.float32) for batch in (1, 1, MAX_BATCH, 3, 1)]
        self.wanted = [self.cpu.run({"log_mel": sound})["embedding"] for sound in self.sounds]

    def engine(self) -> tensorrt.TensorrtEngine:
        return self.backend.open(self.plan, "encoder")

    def off(self, engine: tensorrt.TensorrtEngine, index: int) -> float:
        """How far the engine's embeddings are from the CPU's; infinite where they are no numbers."""
        found = engine.run({"log_mel": self.sounds[index]})["embedding"]
        return float(np.nan_to_num(np.abs(found - self.wanted[index]).max(), nan=np.inf))


def batches(bench: Bench) -> str:
    """Batches of changing size give what the CPU gives."""
    engine = bench.engine()
    worst = max(bench.off(engine, index) for index in range(len(bench.sounds)))
    return "" if worst < CLOSE else f"off by {worst:.3g}"


def kept(bench: Bench) -> str:
    """A result stays what it was when the engine runs again."""
    engine = bench.engine()
    first = engine.run({"log_mel": bench.sounds[0]})["embedding"]
    before = np.array(first)
    engine.run({"log_mel": bench.sounds[1]})
    return "" if np.array_equal(first, before) else "a result changed after it was given"


def elsewhere(bench: Bench) -> str:
    """Another thread than the one that opened the engine may run it."""
    engine, found = bench.engine(), []
    _in_threads(1, lambda: found.append(bench.off(engine, 0)))
    return "" if found and found[0] < CLOSE else f"off by {found}"


def together(bench: Bench) -> str:
    """Two threads may run one engine."""
    engine, found = bench.engine(), []

    def run(thread: int) -> None:
        found.extend(bench.off(engine, (thread + turn) % len(bench.sounds)) for turn in range(RUNS))

    _in_threads(2, run)
    wrong = sum(off >= CLOSE for off in found)
    return "" if len(found) == 2 * RUNS and not wrong else f"{wrong} of {len(found)} runs wrong"


def given_back(bench: Bench) -> str:
    """Whatever thread lets an engine go, its memory comes back."""
    before, box = _held(), [bench.engine()]
    box[0].run({"log_mel": bench.sounds[0]})

    def let_go() -> None:
        box.clear()
        gc.collect()

    _in_threads(1, let_go)
    return "" if _held() <= before else f"{_held() - before} bytes were kept"


CHECKS: tuple[Callable[[Bench], str], ...] = (batches, kept, elsewhere, together, given_back)


def _in_threads(count: int, call: Callable[..., Any]) -> None:
    """Each call is told its number, if it wants to know."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            call(number) if call.__code__.co_argcount else call()
        except BaseException as error:  # told below, by the thread that can
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _held() -> int:
    """Bytes that are allocated, where the driver is a pretended one."""
    library = ctypes.CDLL(cuda.LIBRARY)
    if not hasattr(library, "pretended_held"):
        return 0
    library.pretended_held.restype = ctypes.c_size_t
    return int(library.pretended_held())


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _NoCopy(np.ndarray[Any, Any]):
    def copy(self, *_: Any, **__: Any) -> Any:
        return self


class _HalfBuffer(cuda.Buffer):
    """Half the bytes on the GPU."""

    def __init__(self, gpu: cuda.Gpu, shape: tuple[int, ...]) -> None:
        allocate = gpu.allocate
        with patch.object(gpu, "allocate", lambda size: allocate(size // 2)):
            super().__init__(gpu, shape)


class _SharedBuffer(cuda.Buffer):
    """Results are views into the buffer."""

    def __init__(self, gpu: cuda.Gpu, shape: tuple[int, ...]) -> None:
        super().__init__(gpu, shape)
        self.array = self.array.view(_NoCopy)


class _HastyBuffer(cuda.Buffer):
    """Freed as soon as its download is asked for."""

    def download(self, batch: int) -> None:
        super().download(batch)
        self.close()


class _StaleEngine(tensorrt.TensorrtEngine):
    """Keeps the shape of its first run."""

    def run(self, inputs: Any) -> Any:
        batch = len(next(iter(inputs.values())))
        profile = self._select(batch)
        profile.batch = batch if profile.batch else 0
        return super().run(inputs)


class _FirstProfile(tensorrt.TensorrtEngine):
    """Runs everything in the first profile."""

    def _select(self, batch: int) -> tensorrt.Profile:
        return self._profiles[0]


class _NoProfile(tensorrt.TensorrtEngine):
    """Leaves the second context without a profile."""

    def _profile(self, context: Any, index: int, inputs: Any) -> tensorrt.Profile:
        return super()._profile(context, 0, inputs)


class _UnlockedEngine(tensorrt.TensorrtEngine):
    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        self._lock = _NoLock()


def _use_once(gpu: cuda.Gpu) -> None:
    """Only the first thread gets the context."""
    if not hasattr(gpu, "_used"):
        gpu._used = True
        gpu._call("cuCtxSetCurrent", gpu._context)


def _free_here(gpu: cuda.Gpu, address: int, pinned: int) -> None:
    """Free without the context."""
    gpu._call("cuMemFree_v2", ctypes.c_uint64(address))
    gpu._call("cuMemFreeHost", ctypes.c_void_p(pinned))


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "no wait": (cuda.Gpu, "wait", lambda gpu: None),
    "no use": (cuda.Gpu, "use", _use_once),
    "no copy of the result": (tensorrt, "Buffer", _SharedBuffer),
    "half-size buffer": (tensorrt, "Buffer", _HalfBuffer),
    "stale shape": (tensorrt, "TensorrtEngine", _StaleEngine),
    "first profile alone": (tensorrt, "TensorrtEngine", _FirstProfile),
    "no profile set": (tensorrt, "TensorrtEngine", _NoProfile),
    "freed early": (tensorrt, "Buffer", _HastyBuffer),
    "context of another thread": (cuda.Gpu, "free", _free_here),
    "two threads": (tensorrt, "TensorrtEngine", _UnlockedEngine),
}


def main() -> None:
    bundle, *fault = sys.argv[1:]
    if fault:
        owner, name, planted = FAULTS[fault[0]]
        setattr(owner, name, planted)
    wrong = {}
    for check in CHECKS:
        try:
            said = check(Bench(Path(bundle)))
        except Exception as error:  # a check that cannot go on has caught something
            said = f"{type(error).__name__}: {error}"
        if said:
            wrong[check.__name__] = said[:200]
    print(json.dumps(wrong), flush=True)


if __name__ == "__main__":
    main()
