"""The unmodified command line on a pretended GPU: late streams, forbidden memory, and one fault at a time."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

OnGpu = Callable[..., tuple[CompletedProcess[str], list[str]]]
SOUND = Path(__file__).parents[2] / "examples" / "two_voices.flac"


def turns(done: CompletedProcess[str]) -> list[tuple[float, str]]:
    """When somebody was heard, and who."""
    return [(event["time"], event["label"]) for event in map(json.loads, done.stdout.splitlines())]


def listen(on_gpu: OnGpu, bundle: Path, **settings: object) -> tuple[CompletedProcess[str], list[str]]:
    return on_gpu("listen", bundle, "--input", SOUND, "--gate", "energy", "--json", **settings)


def test_every_verb(gpu_bundle: Path, on_gpu: OnGpu) -> None:
    on_cpu, _ = listen(on_gpu, gpu_bundle, count=0)
    said = {
        "compile": on_gpu("compile", gpu_bundle, "--target", "tensorrt", "--precision", "fp32", "--json"),
        "inspect": on_gpu("inspect", gpu_bundle),
        "listen": listen(on_gpu, gpu_bundle),
        "bench": on_gpu("bench", gpu_bundle, "--seconds", "5"),
        "doctor": on_gpu("doctor"),
    }
    for verb, (done, faults) in said.items():
        assert (done.returncode, faults) == (0, []), (verb, done.stderr)
    assert json.loads(said["compile"][0].stdout)["gpu"]["chosen"] == "fp32"
    assert len(re.findall("fits this device, chosen", said["inspect"][0].stdout)) == 3
    assert "runs on the GPU (fp32)" in said["listen"][0].stderr
    assert turns(said["listen"][0]) == turns(on_cpu)
    assert "runs_on GPU (fp32)" in said["bench"][0].stdout
    assert re.search(r"ok +GPU +Orin, compute capability 8.7, CUDA 12.6\n", said["doctor"][0].stdout)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fail": "cuMemAlloc_v2:3:2"}, r"CPU: the GPU refused cuMemAlloc_v2 \(out of memory, 2\)"),
        ({"fail": "cuInit:0:803"}, r"CPU: the GPU cannot be used \(system has unsupported display driver.*803\): the driver's parts are of different versions"),
        ({"fail": "cuInit:0:999"}, r"CPU: the GPU cannot be used \(unknown error, 999\): restart this machine"),
        ({"fail": "cuDevicePrimaryCtxRetain:0:2"}, r"CPU: the GPU refused cuDevicePrimaryCtxRetain \(out of memory, 2\)"),
        ({"fault": "no-cuda"}, "CPU: TensorRT 10.3.0 does not start on Orin .*update the NVIDIA driver"),
        ({"fault": "refused-shape"}, r"CPU: encoder refused the shape .*outside the profile"),
        ({"fault": "refused-address"}, r"CPU: encoder refused the address of"),
        ({"count": 0}, "CPU: the engines in .* need an NVIDIA GPU, and there is none here"),
    ],
)  # fmt: skip
def test_a_gpu_that_does_not_start(gpu_bundle: Path, on_gpu: OnGpu, settings: dict[str, object], words: str) -> None:
    """listen goes to the CPU with a sentence, inspect and doctor stay whole."""
    assert on_gpu("compile", gpu_bundle, "--target", "tensorrt", "--precision", "fp32")[0].returncode == 0
    done, faults = listen(on_gpu, gpu_bundle, **settings)
    assert (done.returncode, faults, "Traceback" in done.stderr) == (0, [], False), done.stderr
    assert re.search(f"runs on the {words}", done.stderr)
    assert turns(done)
    for verb in (("inspect", gpu_bundle), ("doctor",)):
        again, _ = on_gpu(*verb, **settings)
        assert (again.returncode, again.stderr) == (0, "")


def test_a_gpu_that_fails_in_mid_stream(gpu_bundle: Path, on_gpu: OnGpu) -> None:
    """The CPU goes on where it stopped: no segment is lost, it is said once, and counted."""
    assert on_gpu("compile", gpu_bundle, "--target", "tensorrt", "--precision", "fp32")[0].returncode == 0
    whole, _ = listen(on_gpu, gpu_bundle, count=0)
    done, _ = listen(on_gpu, gpu_bundle, fail="cuStreamSynchronize:60:700")
    assert done.returncode == 0, done.stderr
    assert "runs on the GPU (fp32)" in done.stderr
    told = (
        "edge-lupi: the GPU failed, and the CPU goes on (the GPU refused cuStreamSynchronize (an illegal memory access"
    )
    assert done.stderr.count(told) == 1
    assert "1 failures of the GPU" in done.stderr.splitlines()[-1]
    assert turns(done) == turns(whole)
