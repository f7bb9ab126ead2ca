"""A pretended TensorRT: an engine is its ONNX graph, computed on the caller's stream, at the caller's addresses.

Names are those of 10.3's Python bindings; where TensorRT answers False or None, so does this. Beside the pretended driver
(`driver.c`) ONNX Runtime computes, late and on memory that only a step may touch; on a real GPU torch does, so that what
edge-lupi asks of CUDA happens for real. Numbers are float32 by the graph's own writing: no TF32.

PRETENDED_TENSORRT_...
  VERSION=10.3.0      what it says it is
  FAULT=...           no-cuda, crash, no-build[:int8|fp16], wrong-batch, refused-shape, refused-address, refused-profile
  FAST=1              answers that were given before are remembered, which pretends a fast GPU (pretended driver only)
  TF32=1, GRAPHS=1    on a real GPU: convolutions in TF32; launches as one CUDA graph
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
from collections.abc import Sequence

__version__ = os.environ.get("PRETENDED_TENSORRT_VERSION", "10.3.0")
FAULT, _, OF = os.environ.get("PRETENDED_TENSORRT_FAULT", "").partition(":")
SIGNS = {"int8": b"QuantizeLinear", "fp16": b"Cast"}  # by which a graph's precision is known here
MAGIC = b"pretended plan "
cuda = ctypes.CDLL("libcuda.so.1")
if hasattr(cuda, "pretended_launch"):
    from .on_driver import Graph
else:
    from .on_torch import Graph  # type: ignore[assignment]

Shape = tuple[int, ...]


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, text: str) -> None: ...


class NetworkDefinitionCreationFlag:
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class MemoryPoolType:
    WORKSPACE = 0


class BuilderFlag:
    TF32, FP16 = 0, 1


class TensorIOMode:
    NONE, INPUT, OUTPUT = range(3)


class Tensor:
    def __init__(self, name: str, shape: Sequence[int | str]) -> None:
        self.name, self.shape = name, tuple(d if isinstance(d, int) else -1 for d in shape)


class Network:
    def __init__(self) -> None:
        self.graph = b""
        self.inputs: list[Tensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]


class ParserError:
    def __init__(self, text: str) -> None:
        self.text = text

    def node_name(self) -> str:
        return ""

    def desc(self) -> str:
        return self.text


class OnnxParser:
    def __init__(self, network: Network, log: ILogger) -> None:
        self.network = network
        self.errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> ParserError:
        return self.errors[index]

    def parse(self, data: bytes) -> bool:
        try:
            read = Graph(bytes(data))
        except Exception as error:  # whatever the runtime underneath raises
            self.errors.append(ParserError(str(error).splitlines()[0]))
            return False
        self.network.graph = bytes(data)
        self.network.inputs = [Tensor(name, shape) for name, shape in read.inputs.items()]
        return True


class Profile(dict[str, tuple[Shape, Shape, Shape]]):
    def set_shape(self, name: str, least: Shape, usual: Shape, most: Shape) -> None:
        self[name] = (tuple(least), tuple(usual), tuple(most))


class TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class Config:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.cache: TimingCache | None = None

    def set_memory_pool_limit(self, pool: int, size: int) -> None: ...

    def clear_flag(self, flag: int) -> None: ...

    def add_optimization_profile(self, profile: Profile) -> int:
        if FAULT == "refused-profile":
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> TimingCache:
        return TimingCache(bytes(data))

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache


class Builder:
    def __init__(self, log: ILogger) -> None:
        _need_cuda()
        self.log = log

    def create_network(self, flags: int = 0) -> Network:
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        if FAULT == "no-build" and SIGNS.get(OF, b"") in network.graph:
            self.log.log(ILogger.ERROR, "Error Code 10: Could not find any implementation for node {ForeignNode[...]}.")
            return None
        return MAGIC + pickle.dumps((network.graph, [dict(profile) for profile in config.profiles]))


class Runtime:
    def __init__(self, log: ILogger) -> None:
        _need_cuda()
        self.log = log

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if FAULT == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)  # as TensorRT 11 does beside a driver of CUDA 12
        if not bytes(plan).startswith(MAGIC):
            self.log.log(ILogger.ERROR, "Error Code 1: Serialization (magic tag does not match)")
            return None
        graph, profiles = pickle.loads(bytes(plan)[len(MAGIC) :])
        return Engine(self.log, Graph(graph), profiles)


class Engine:
    def __init__(self, log: ILogger, graph: Graph, profiles: list[dict[str, tuple[Shape, Shape, Shape]]]) -> None:
        self.log, self.graph, self.profiles = log, graph, profiles
        self.names = [*graph.inputs, *graph.outputs]
        self.taken: set[int] = set()  # profiles, each of one context

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> int:
        return TensorIOMode.INPUT if name in self.graph.inputs else TensorIOMode.OUTPUT

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        return list(self.profiles[profile][name])

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    """What of an enqueue lies in TensorRT's execution context: shapes, addresses, and what is still under way."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.profile = -1 if engine.taken else 0  # the first context gets the first profile
        engine.taken.add(0)
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if not stream or not 0 <= index < len(self.engine.profiles) or index in self.engine.taken:
            self.engine.log.log(ILogger.ERROR, f"setOptimizationProfileAsync: {index} is absent, or another context's")
            return False
        self.engine.graph.touched("set_optimization_profile_async")
        self.engine.taken.add(index)
        self.profile = index
        self.shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        if self.profile < 0:
            self.engine.log.log(ILogger.ERROR, "setInputShape: no optimization profile was set")
            return False
        least, _, most = self.engine.profiles[self.profile][name]
        fits = len(shape) == len(least) and all(a <= s <= b for a, s, b in zip(least, shape, most, strict=True))
        if not fits or FAULT == "refused-shape":
            self.engine.log.log(ILogger.ERROR, f"setInputShape: {name} {tuple(shape)} is outside the profile")
            return False
        self.engine.graph.touched("set_input_shape")
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> Shape:
        known = self.shapes.keys() >= self.engine.graph.inputs.keys()
        batch = next(iter(self.shapes.values()))[0] if known else -1
        return tuple(d if isinstance(d, int) and d > 0 else batch for d in self.engine.graph.outputs[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        if FAULT == "refused-address":
            return False
        self.addresses[name] = int(address)
        return True

    def execute_async_v3(self, stream: int) -> bool:
        missing = [name for name in self.engine.names if not self.addresses.get(name)]
        if missing or self.shapes.keys() < self.engine.graph.inputs.keys():
            self.engine.log.log(ILogger.ERROR, f"enqueueV3: no address or shape for {missing}")
            return False
        shapes = self.shapes | {name: self.get_tensor_shape(name) for name in self.engine.graph.outputs}
        return self.engine.graph.enqueue(stream, shapes, dict(self.addresses))


def _need_cuda() -> None:
    if FAULT == "no-cuda":
        raise TypeError("pybind11::init(): factory function returned nullptr")
