"""The README of a Triton repository: how to serve it, and how a client streams. Bundle and options in, Markdown out."""

from __future__ import annotations

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import Built
from edge_lupi.bundle.graph_bounds import OPSET
from edge_lupi.compile.triton.config import IDLE_SECONDS, MOST_SEQUENCES
from edge_lupi.compile.triton.graphs import IR_VERSION
from edge_lupi.frames import CONTEXT_SAMPLES
from edge_lupi.task import Task
from edge_lupi.words import printable

__all__ = ["readme"]

TEXT = """# {name}: a model repository for NVIDIA Triton

Made by edge-lupi from {bundle}, fingerprint {fingerprint}. What its numbers mean is written in edge-lupi's docs/triton.md.

## Serve it

    docker run --rm --gpus all -p 8000-8002:8000-8002 -v "$PWD:/models:ro" nvcr.io/nvidia/tritonserver:YY.MM-py3 \\
      tritonserver --model-repository=/models

Without a GPU leave `--gpus all` out. {encoder}

## Ask it

`{name}` takes a segment, `samples` float32 [1, {samples}]: {context} samples before it (zeros at the beginning), then
{segment} samples, 16 kHz, in [-1, 1], a constant taken out. The next segment begins {hop} samples later. It gives:

| output | what |
|---|---|
| `embedding` [1, {width}] | of this segment alone |
{outputs}

One sequence is one stretch of speech: give it a number of its own (`sequence_id`, not 0), say `sequence_start` with its first
segment and `sequence_end` with its last, send only segments in which somebody speaks, one row a request, and the next
once the last is answered. What the stretch was so far is kept by the server. After {idle} s without a request it is
forgotten, and {most} stretches may be open at once; both are in the aggregators' `config.pbtxt`.

```python
import numpy as np
import tritonclient.grpc as triton

from edge_lupi import SoundFile
from edge_lupi.sound.offset import OffsetRemoval

CONTEXT, SEGMENT, HOP = {context}, {segment}, {hop}


def segments(blocks):
    \"\"\"Blocks of sound -> float32 [CONTEXT + SEGMENT] every HOP samples.\"\"\"
    offset, waiting, heard = OffsetRemoval(), np.zeros(0, np.float32), np.zeros(CONTEXT, np.float32)
    wanted = SEGMENT
    for block in blocks:
        waiting = np.concatenate([waiting, block.samples])
        while len(waiting) >= wanted:
            heard = np.concatenate([heard, offset.removed(waiting[:wanted])])[-CONTEXT - SEGMENT :]
            waiting, wanted = waiting[wanted:], HOP
            yield heard


def answers(server, blocks, sequence):
    \"\"\"One stretch of speech through the server: what it is so far, segment by segment.\"\"\"
    coming, asked = segments(blocks), triton.InferInput("samples", [1, CONTEXT + SEGMENT], "FP32")
    now, first = next(coming, None), True
    while now is not None:
        after = next(coming, None)
        asked.set_data_from_numpy(now[None])
        flags = {{"sequence_start": first, "sequence_end": after is None}}
        yield server.infer("{name}", [asked], sequence_id=sequence, **flags)
        now, first = after, False


if __name__ == "__main__":
    server = triton.InferenceServerClient("localhost:8001")
    with SoundFile("call.wav") as source:
        for answer in answers(server, source, sequence=1):
            print(answer.as_numpy("{shown}"))
```
"""

ONNX_ENCODER = (
    "All models are ONNX, opset {opset}, IR version {ir}, which every ONNX Runtime since 1.12 reads; "
    "Triton 25.03 has 1.20.1."
)
PLAN_ENCODER = (
    "The encoder is a TensorRT engine: it runs on {device} ({gpu}) and in a container with that very TensorRT; the others "
    "are ONNX, opset {opset}, IR version {ir}."
)


def readme(bundle: Bundle, name: str, max_batch: int, engine: Built | None) -> str:
    """The whole page."""
    cut, tasks = bundle.segmentation, list(bundle.tasks.values())
    encoder = ONNX_ENCODER
    device = engine.key.device if engine else None
    if device:
        encoder = PLAN_ENCODER
    first = tasks[0]
    return TEXT.format(
        name=name,
        bundle=printable(bundle.path.name),
        fingerprint=printable(bundle.fingerprint),
        encoder=encoder.format(opset=OPSET, ir=IR_VERSION, device=device, gpu=device.whole if device else "")
        + f" Batches have up to {max_batch} rows.",
        samples=CONTEXT_SAMPLES + cut.samples,
        context=CONTEXT_SAMPLES,
        segment=cut.samples,
        hop=cut.hop_samples,
        width=bundle.golden()["embeddings"].shape[1],
        outputs="\n".join(_outputs(task) for task in tasks),
        idle=IDLE_SECONDS,
        most=MOST_SEQUENCES,
        shown=f"{'probability' if first.classifies else 'utterance'}.{first.name}",
    )


def _outputs(task: Task) -> str:
    """Rows of the table."""
    threshold = f"; two voices are one at a cosine of {task.threshold:.3f}" if task.threshold else ""
    rows = [f"| `utterance.{task.name}` | of the stretch so far{threshold} |"]
    if task.classifies:
        labels = ", ".join(printable(label) for label in task.labels)
        rows.append(f"| `probability.{task.name}` | of {labels} |")
    return "\n".join(rows)
