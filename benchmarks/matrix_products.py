"""What int8 can gain here at all: ONNX Runtime's matrix products in fp32 and int8 on one thread, in GMAC/s.

python benchmarks/matrix_products.py [--runs 100]

The shapes are those of the convolutions of the encoder `small`, one segment: positions x (inputs * 9) x outputs.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_lupi.device.processor import environment

SHAPES = ((2000, 288, 32), (500, 576, 64), (130, 1152, 128))


def session(
    node: onnx.NodeProto, kind: int, rows: int, inner: int, columns: int, constants: dict[str, np.ndarray]
) -> onnxruntime.InferenceSession:
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", kind, [rows, inner])],
        [helper.make_tensor_value_info("y", kind, [rows, columns])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def pair(rows: int, inner: int, columns: int) -> dict[str, tuple[onnxruntime.InferenceSession, np.ndarray]]:
    """The product in fp32, and in int8 as compile writes it: unsigned activations, signed weights."""
    draw = np.random.default_rng(0)
    weights = draw.standard_normal((inner, columns)).astype(np.float32)
    rounded = draw.integers(-127, 128, (inner, columns)).astype(np.int8)
    scales = {"s": np.float32(0.01), "so": np.float32(1), "za": np.uint8(0), "zw": np.int8(0)}
    float_node = helper.make_node("MatMul", ["a", "w"], ["y"])
    int8_node = helper.make_node("QLinearMatMul", ["a", "s", "za", "w", "s", "zw", "so", "za"], ["y"])
    constants = {"w": rounded, **{name: np.array(value) for name, value in scales.items()}}
    return {
        "fp32": (
            session(float_node, TensorProto.FLOAT, rows, inner, columns, {"w": weights}),
            draw.standard_normal((rows, inner)).astype(np.float32),
        ),
        "int8": (
            session(int8_node, TensorProto.UINT8, rows, inner, columns, constants),
            draw.integers(0, 128, (rows, inner)).astype(np.uint8),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    found = {}
    for shape in SHAPES:
        taken: dict[str, list[float]] = {"fp32": [], "int8": []}
        both = pair(*shape)
        for _ in range(runs):
            for name, (product, samples) in both.items():
                began = time.perf_counter()
                product.run(None, {"a": samples})
                taken[name].append(time.perf_counter() - began)
        speed = {name: float(np.prod(shape)) / float(np.median(seconds)) / 1e9 for name, seconds in taken.items()}
        ratio = float(np.median(np.array(taken["fp32"]) / np.array(taken["int8"])))
        found["x".join(map(str, shape))] = {
            **{f"{name}_gmac_per_s": round(value, 1) for name, value in speed.items()},
            "ratio": round(ratio, 2),
        }
        print(f"{shape!s:<18}fp32 {speed['fp32']:6.1f}   int8 {speed['int8']:6.1f} GMAC/s   {ratio:.2f} times as fast")
    print(json.dumps({**found, "runs": runs, "environment": environment()}))


if __name__ == "__main__":
    main()
