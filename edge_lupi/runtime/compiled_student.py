"""A compiled student: the graphs of a bundle, joined; one encoder, and an aggregator per task. Arrays in, arrays out; all state is handed in and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.errors import BundleError, DeviceError
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES
from edge_lupi.runtime.engines.choose import Spared, open_engine
from edge_lupi.runtime.engines.engine import Engine
from edge_lupi.runtime.engines.golden import Golden, cosine, expect, read_golden
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.front_end import FftFrontEnd, GraphFrontEnd
from edge_lupi.runtime.level import Level
from edge_lupi.runtime.sources.source import say
from edge_lupi.sound.audio import from_pcm
from edge_lupi.task import Task

__all__ = ["Branch", "CompiledStudent", "Step"]

Array = NDArray[np.float32]
MAX_BATCH = 16  # what engines are built for unless told otherwise; more at once gains nothing on a CPU
FRONT_END_TOLERANCE = 2e-3  # natural log of power; float32 sums of 512 products in another order reach 1e-4
GOLDEN_COSINE = 0.99  # another processor's int8 kernels may round otherwise; a wrong graph is far below
GPU_GOLDEN_COSINE = 0.9  # a GPU may run another precision than the golden one; the gate has measured it more strictly


@dataclass(frozen=True)
class Step:
    """What the aggregator says after one more segment. `scores` (log-odds [B, C]) only where the task has labels."""

    embedding: Array
    state: Array
    scores: Array | None


class Branch:
    """One task's aggregator: segment embeddings in, what they say of the utterance so far out."""

    def __init__(self, task: Task, engine: Engine) -> None:
        self.task = task
        self.state_size = int(engine.input_shapes["state"][-1])
        self._engine = engine

    def initial_state(self, batch: int = 1) -> Array:
        """The aggregator's state before anything was heard, float32 [B, K]."""
        return np.zeros((batch, self.state_size), np.float32)

    def step(self, embedding: Array, state: Array) -> Step:
        """One more segment embedding [B, D] and the state so far -> utterance embedding, scores, new state."""
        out = self._engine.run({"embedding": embedding, "state": state})
        return Step(out["utterance"], out["next_state"], out.get("scores"))


class CompiledStudent:
    """Front end, encoder and the aggregators of some tasks of a bundle, checked against the bundle's golden vectors.

    Several tasks share one pass of the encoder; each has its branch in `branches`, and the first is the student's own.
    Runs on the CPU; the encoder on the GPU where the bundle has an engine that was built, measured and chosen on this device.
    `runs_on` says where, and why the engines that there are do not run. Where the GPU fails later, the CPU goes on:
    a sentence on stderr says so, which `gpu_failures` holds too.
    """

    def __init__(self, bundle: Bundle, task: str | Sequence[str] | None = None, *, threads: int = 1) -> None:
        self.bundle = bundle
        names = [task] if task is None or isinstance(task, str) else task
        self.tasks = tuple(bundle.task(name) for name in names)
        self.task: Task = self.tasks[0]
        self.gpu_failures = list[str]()
        self.segmentation = bundle.segmentation
        self._golden = read_golden(bundle, self.tasks)
        self._level = Level(from_pcm(self._golden.samples))
        self._front_end: Callable[[Array], Array] = FftFrontEnd()
        self.front_end = "FFT"  # which log-mel this is: students that say the same may share it
        self._encoder: Engine
        self.branches: Mapping[str, Branch]
        self.runs_on = f"CPU: {bundle.engines_fault}" if bundle.engines_fault else "CPU"
        self._threads = threads
        if not (bundle.engines and self._starts_on_gpu()):
            self._start(self._on_cpu("encoder"), GOLDEN_COSINE)

    def log_mel(self, samples: Array) -> Array:
        """float32 [240 + 160 * F], context first -> log-mel [80, F]."""
        return self._front_end(samples)

    @property
    def max_batch(self) -> int:
        """So many segments may be encoded at once."""
        most = self._encoder.input_shapes["log_mel"][0]
        return most if isinstance(most, int) else MAX_BATCH

    @property
    def state_size(self) -> int:
        """Numbers in the state of the first task's aggregator."""
        return self.branches[self.task.name].state_size

    def encode(self, segments: Array, levels_db: Sequence[float] | None = None) -> Array:
        """log-mel [B, 80, 1, frames], and their levels where they are known -> segment embeddings [B, D].

        Quiet ones are raised to the level of training.
        """
        return self._encoded(self.raised(segments, levels_db))

    def raised(self, segments: Array, levels_db: Sequence[float] | None = None) -> Array:
        """log-mel [B, 80, 1, frames], the quiet ones as loud as what the student was taught with."""
        return self._level.raised(segments, levels_db)

    def _encoded(self, segments: Array) -> Array:
        return self._encoder.run({"log_mel": segments})["embedding"]

    def initial_state(self, batch: int = 1) -> Array:
        """The state of the first task's aggregator before anything was heard, float32 [B, K]."""
        return self.branches[self.task.name].initial_state(batch)

    def step(self, embedding: Array, state: Array) -> Step:
        """The first task's aggregator: one more segment embedding [B, D] and the state so far -> Step."""
        return self.branches[self.task.name].step(embedding, state)

    def segments(self, samples: Array) -> Array:
        """A whole utterance float32 [T] -> its segments as log-mel [S, 80, 1, frames]; short ones are padded with silence."""
        length = max(self.segmentation.samples, len(samples) // HOP_SAMPLES * HOP_SAMPLES)
        padded = np.zeros(CONTEXT_SAMPLES + length, np.float32)
        padded[CONTEXT_SAMPLES : CONTEXT_SAMPLES + len(samples)] = samples[:length]
        frames = self.log_mel(padded)
        every = sliding_window_view(frames, self.segmentation.frames, axis=1)[:, :: self.segmentation.hop_frames]
        return np.ascontiguousarray(every.transpose(1, 0, 2)[:, :, None, :])

    def utterance(self, samples: Array) -> Step:
        """A whole utterance float32 [T] through encoder and aggregator; the answer after its last segment."""
        state = self.initial_state()
        for segment in self.segments(samples):
            step = self.step(self.encode(segment[None]), state)
            state = step.state
        return step

    def _starts_on_gpu(self) -> bool:
        """Whether the bundle's engine runs here; if not, `runs_on` says why."""
        try:
            precision, engine = open_engine(self.bundle)
            self._start(engine, GPU_GOLDEN_COSINE)
        except (BundleError, DeviceError) as error:
            self.runs_on = f"CPU: {error}"
            return False
        self._encoder = Spared(engine, lambda: self._on_cpu("encoder"), self._failed)
        self.runs_on = f"GPU ({precision})"
        return True

    def _on_cpu(self, name: str) -> OnnxEngine:
        return OnnxEngine(self.bundle.file(f"{name}.onnx"), threads=self._threads, name=f"{name}.onnx")

    def _failed(self, error: DeviceError) -> None:
        self.runs_on = f"CPU: {error}"
        self.gpu_failures.append(f"the GPU failed, and the CPU goes on ({error})")
        say(self.gpu_failures[-1])

    def _start(self, encoder: Engine, least_cosine: float) -> None:
        """The aggregators always run on the CPU: a step of one stream is less work than to launch it on a GPU."""
        self._encoder = encoder
        try:
            aggregators = {task: self._on_cpu(f"aggregator.{task.name}") for task in self.tasks}
            self.branches = {task.name: Branch(task, engine) for task, engine in aggregators.items()}
            self._choose_front_end(self._golden)
            self._check_encoder(self._golden, least_cosine)
            for branch in self.branches.values():
                self._check_branch(branch, self._golden)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BundleError(
                f"the graphs in {self.bundle.path} do not fit together ({error}): compile the student anew"
            ) from error

    def _choose_front_end(self, golden: Golden) -> None:
        """The FFT where it gives the golden log-mel, else the bundle's graph."""
        first = from_pcm(golden.samples[: self.segmentation.samples])
        for make in (FftFrontEnd, self._graph_front_end):
            self._front_end = make()
            log_mel = expect(self.segments(first)[0, :, 0], golden.log_mel.shape, "log_mel")
            if np.abs(log_mel - golden.log_mel).max() <= FRONT_END_TOLERANCE:
                return
        raise BundleError(
            f"the front end does not give the golden log-mel of {self.bundle.path}: the bundle needs another edge-lupi; compile it anew"
        )

    def _graph_front_end(self) -> GraphFrontEnd:
        graph = self.bundle.file("front_end.onnx")
        made, self.front_end = GraphFrontEnd(graph), hashlib.sha256(graph).hexdigest()
        if made.frames != self.segmentation.frames:
            raise ValueError(f"expected a front end of {self.segmentation.frames} frames, got {made.frames}")
        return made

    def _check_encoder(self, golden: Golden, least_cosine: float) -> None:
        """On as many of the golden segments as nobody has to wait for."""
        most = min(self._affordable("encoder"), self._affordable("front_end"))
        length = self.segmentation.samples + (most - 1) * self.segmentation.hop_samples
        segments, wanted = self.segments(from_pcm(golden.samples[:length])), golden.embeddings[:most]
        worst = 1.0
        for segment, embedding in zip(segments, wanted, strict=True):
            encoded = expect(self._encoded(segment[None]), (1, len(embedding)), "embedding")
            worst = min(worst, cosine(encoded[0], embedding))
        self._refuse_below(least_cosine, worst, "embeddings")

    def _check_branch(self, branch: Branch, golden: Golden) -> None:
        task, width = branch.task, golden.embeddings.shape[1]
        if len(golden.embeddings) > self._affordable(f"aggregator.{task.name}"):
            raise ValueError(f"aggregator.{task.name}.onnx takes too long")
        state = branch.initial_state()
        for embedding in golden.embeddings:
            step = branch.step(embedding[None], state)
            state = expect(step.state, state.shape, "next_state")
        likeness = cosine(expect(step.embedding, (1, width), "utterance")[0], golden.utterances[task.name])
        if task.classifies:
            scores = expect(step.scores, (1, len(task.labels)), "scores")
            likeness = min(likeness, cosine(scores[0], golden.scores.get(task.name, scores[0])))
        self._refuse_below(GOLDEN_COSINE, likeness, f"answers of task {task.name}")

    def _affordable(self, name: str) -> int:
        return check_graph(self.bundle.file(f"{name}.onnx"), f"{name}.onnx").affordable_runs

    def _refuse_below(self, least_cosine: float, likeness: float, what: str) -> None:
        if not likeness >= least_cosine:
            raise BundleError(
                f"expected the golden {what} of {self.bundle.path} (cosine at least {least_cosine}), got {likeness:.4f}: compile the student anew on this device"
            )
