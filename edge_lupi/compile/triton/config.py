"""Model configurations of Triton (config.pbtxt): parts of a student in, protobuf's text format out.

The fields are those of `inference.ModelConfig`; a dict is a message, a list a repeated field, a `Word` one of an enum's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Tensors", "config_text", "ensemble", "sequential", "stateless"]

Message = dict[str, Any]
Tensors = Mapping[str, Sequence[int]]  # name -> lengths, without the batch
RUNTIMES = {"onnx": ("onnxruntime", "onnxruntime_onnx"), "plan": ("tensorrt", "tensorrt_plan")}  # by a file's ending
LABELS = "labels.txt"
IDLE_SECONDS = 60  # Triton's own second is shorter than a breath between two sentences
MOST_SEQUENCES = 1024  # at once, of one instance; those beyond wait until another ends


class Word(str):
    """A value of an enum, which text format writes without quotes."""


FP32 = Word("TYPE_FP32")


def stateless(
    name: str, kind: str, inputs: Tensors, outputs: Tensors, max_batch: int, *, labelled: str = ""
) -> Message:
    """A graph that remembers nothing: rows of any streams that wait at once are one batch. `labelled`: the output with labels."""
    return {**_model(name, kind, inputs, outputs, max_batch, labelled), "dynamic_batching": {}}


def sequential(
    name: str, inputs: Tensors, outputs: Tensors, max_batch: int, *, state: tuple[str, str], state_size: int
) -> Message:
    """A graph whose state Triton carries from request to request of a sequence: zeros first. `state`: its input and its output.

    By the strategy `oldest`, whose batches hold only rows that are there: the graph needs no flags to tell empty ones.
    """
    first = {"data_type": FP32, "dims": [state_size], "zero_data": True, "name": "nothing was heard yet"}
    carried = {"input_name": state[0], "output_name": state[1], "data_type": FP32, "dims": [state_size]}
    return {
        **_model(name, "onnx", inputs, outputs, max_batch),
        "sequence_batching": {
            "max_sequence_idle_microseconds": IDLE_SECONDS * 1_000_000,
            "oldest": {"max_candidate_sequences": MOST_SEQUENCES},
            "state": [{**carried, "initial_state": [first]}],
        },
    }


def ensemble(
    name: str,
    steps: Sequence[tuple[str, Mapping[str, str], Mapping[str, str]]],
    inputs: Tensors,
    outputs: Tensors,
    max_batch: int,
    labelled: Mapping[str, str],
) -> Message:
    """Models joined: each step is a model's name and, of its inputs and outputs, their names here. `labelled`: output -> file."""
    given = [_tensor(output, lengths, labelled.get(output, "")) for output, lengths in outputs.items()]
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": max_batch,
        "input": [_tensor(taken, lengths) for taken, lengths in inputs.items()],
        "output": given,
        "ensemble_scheduling": {
            "step": [
                {
                    "model_name": model,
                    "model_version": -1,  # the newest
                    "input_map": [{"key": own, "value": here} for own, here in taken.items()],
                    "output_map": [{"key": own, "value": here} for own, here in made.items()],
                }
                for model, taken, made in steps
            ]
        },
    }


def config_text(message: Mapping[str, Any]) -> bytes:
    """Protobuf's text format of a message."""
    return ("\n".join(_lines(message, "")) + "\n").encode()


def _model(name: str, kind: str, inputs: Tensors, outputs: Tensors, max_batch: int, labelled: str = "") -> Message:
    backend, platform = RUNTIMES[kind]
    return {
        "name": name,
        "backend": backend,
        "platform": platform,
        "max_batch_size": max_batch,
        "input": [_tensor(taken, lengths) for taken, lengths in inputs.items()],
        "output": [_tensor(made, lengths, LABELS * (made == labelled)) for made, lengths in outputs.items()],
    }


def _tensor(name: str, lengths: Sequence[int], labels: str = "") -> Message:
    file = {"label_filename": labels} if labels else {}
    return {"name": name, "data_type": FP32, "dims": list(lengths), **file}


def _lines(message: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for field, value in message.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                lines += [f"{indent}{field} {{", *_lines(one, indent + "  "), f"{indent}}}"]
            else:
                lines.append(f"{indent}{field}: {one if isinstance(one, Word) else json.dumps(one)}")
    return lines
