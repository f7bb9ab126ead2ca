"""The unmodified command line on a pretended GPU: late streams, forbidden memory, and one fault at a time."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

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
    assert len(re.findall("fits this device, chosen", said["inspect"][0].stdout)) == 1
    assert "runs on the GPU (fp32)" in said["listen"][0].stderr
    assert turns(said["listen"][0]) == turns(on_cpu)
    assert "runs_on GPU (fp32)" in said["bench"][0].stdout
    assert re.search(r"ok +GPU +Orin, compute capability 8.7, CUDA 12.6\n", said["doctor"][0].stdout)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fail": "cuMemAlloc_v2:1:2"}, r"CPU: the GPU refused cuMemAlloc_v2 \(out of memory, 2\)"),
        ({"fail": "cuInit:0:803"}, r"CPU: the GPU cannot be used \(system has unsupported display driver.*803\): the driver's parts are of different versions"),
        ({"fail": "cuInit:0:999"}, r"CPU: the GPU cannot be used \(unknown error, 999\): restart this machine"),
        ({"fail": "cuDevicePrimaryCtxRetain:0:2"}, r"CPU: the GPU refused cuDevicePrimaryCtxRetain \(out of memory, 2\)"),
        ({"fault": "no-cuda"}, "CPU: TensorRT 10.3.0 does not start on Orin .*update the NVIDIA driver"),
        ({"fault": "refused-shape"}, r"CPU: encoder refused the shape .*outside the profile"),
        ({"fault": "refused-address"}, r"CPU: encoder refused the address of"),
        ({"count": 0}, "CPU: the engines in .* need an NVIDIA GPU, and there is none here"),
    ],
)  # fmt: skip
def test_a_gpu_that_does_not_start(built_bundle: Path, on_gpu: OnGpu, settings: dict[str, object], words: str) -> None:
    """listen goes to the CPU with a sentence, inspect and doctor stay whole."""
    done, faults = listen(on_gpu, built_bundle, **settings)
    assert (done.returncode, faults, "Traceback" in done.stderr) == (0, [], False), done.stderr
    assert re.search(f"runs on the {words}", done.stderr)
    assert turns(done)
    for verb in (("inspect", built_bundle), ("doctor",)):
        again, _ = on_gpu(*verb, **settings)
        assert (again.returncode, again.stderr) == (0, "")


def test_a_gpu_that_fails_in_mid_stream(built_bundle: Path, on_gpu: OnGpu) -> None:
    """The CPU goes on where it stopped: no segment is lost, it is said once, and counted."""
    whole, _ = listen(on_gpu, built_bundle, count=0)
    done, _ = listen(on_gpu, built_bundle, fail="cuStreamSynchronize:60:700")
    assert done.returncode == 0, done.stderr
    assert "runs on the GPU (fp32)" in done.stderr
    told = (
        "edge-lupi: the GPU failed, and the CPU goes on (the GPU refused cuStreamSynchronize (an illegal memory access"
    )
    assert done.stderr.count(told) == 1
    assert "1 failures of the GPU" in done.stderr.splitlines()[-1]
    assert turns(done) == turns(whole)


def compiled_auto(on_gpu: OnGpu, bundle: Path, *words: str, **settings: object) -> dict[str, Any]:
    done, faults = on_gpu("compile", bundle, "--target", "tensorrt", "--json", *words, **settings)
    assert (done.returncode, faults) == (0, []), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_slow_gpu_is_not_taken(gpu_bundle: Path, on_gpu: OnGpu) -> None:
    """The CPU stands in the same table, and a stream of one segment a hop decides."""
    found = compiled_auto(on_gpu, gpu_bundle)
    assert found["gpu"]["chosen"] == "CPU"
    assert set(found["gpu"]["precisions"]) == {"fp32", "fp16", "int8", "CPU"}
    assert re.match(
        r"the CPU is as fast here \([\d.]+ ms a segment against [\d.]+ ms of \w+ on the GPU, [\d.]+ times as fast "
        r"\(95 % [\d.]+ to [\d.]+\)\); provisional, ",
        found["gpu"]["why"],
    )
    done, _ = listen(on_gpu, gpu_bundle)
    assert "runs on the CPU: no engine in" in done.stderr
    assert "(another was faster or truer when it was built)" in done.stderr


def test_a_fast_gpu_is_taken_for_many_streams(gpu_bundle: Path, on_gpu: OnGpu) -> None:
    found = compiled_auto(on_gpu, gpu_bundle, "--max-batch", "64", fast=1, delay_us=0)
    assert found["gpu"]["chosen"] in ("fp32", "fp16", "int8")
    assert "runs on the GPU" in listen(on_gpu, gpu_bundle)[0].stderr


@pytest.mark.parametrize(("most", "ranges"), [(4, [(1, 1, 4)]), (16, [(1, 1, 16)]), (64, [(1, 1, 16), (17, 64, 64)])])
def test_large_batches_have_a_profile_of_their_own(
    gpu_bundle: Path, on_gpu: OnGpu, most: int, ranges: list[tuple[int, int, int]]
) -> None:
    """So that a stream's single segment keeps the kernels that were tuned for it; both give what the CPU gives."""
    words = ("--target", "tensorrt", "--precision", "fp32", "--max-batch", str(most), "--json")
    done, faults = on_gpu("compile", gpu_bundle, *words)
    assert (done.returncode, faults) == (0, []), done.stderr
    said = json.loads(done.stdout)
    assert said["gpu"]["precisions"]["fp32"]["cosine_worst"] > 0.9999  # of single segments, and of the largest batch
    _, profiles = pickle.loads((gpu_bundle / said["engines"][0]["file"]).read_bytes()[len("pretended plan ") :])
    assert [tuple(shape[0] for shape in profile["log_mel"]) for profile in profiles] == ranges


def test_a_precision_that_is_not_built_is_named(gpu_bundle: Path, on_gpu: OnGpu) -> None:
    found = compiled_auto(on_gpu, gpu_bundle, fault="no-build:int8")
    assert [one["precision"] for one in found["engines"]] == ["fp32", "fp16"]
    assert found["not_built"].keys() == {"int8"}
    assert "Could not find any implementation" in found["not_built"]["int8"]
    asked, _ = on_gpu("compile", gpu_bundle, "--target", "tensorrt", "--precision", "int8", fault="no-build:int8")
    assert (asked.returncode, "could not build encoder (int8)" in asked.stderr) == (1, True)


def test_an_engine_that_is_wrong_on_batches_is_not_taken(gpu_bundle: Path, on_gpu: OnGpu) -> None:
    found = compiled_auto(on_gpu, gpu_bundle, fault="wrong-batch")
    assert found["gpu"]["chosen"] == "CPU"
    assert found["gpu"]["why"].startswith("nothing is close enough to the float student; fp32 strays")


def test_one_of_several_gpus(gpu_bundle: Path, on_gpu: OnGpu) -> None:
    asked = ("--target", "tensorrt", "--precision", "fp32", "--gpu", "1")
    assert on_gpu("compile", gpu_bundle, *asked, count=2)[0].returncode == 0
    assert "runs on the CPU: no engine" in listen(on_gpu, gpu_bundle, count=2)[0].stderr
    heard, _ = on_gpu("listen", gpu_bundle, "--input", SOUND, "--gate", "energy", "--gpu", "1", count=2)
    assert "runs on the GPU (fp32)" in heard.stderr
    absent, _ = on_gpu("listen", gpu_bundle, "--input", SOUND, "--gate", "energy", "--gpu", "7", count=2)
    assert (absent.returncode, "there is no GPU 7: nvidia-smi -L lists them" in absent.stderr) == (0, True)


def test_a_damaged_list_of_engines(built_bundle: Path, on_gpu: OnGpu) -> None:
    """Listening goes to the CPU, inspect says it, and compile builds anew."""
    (built_bundle / "engines" / "engines.json").write_text("{")
    done, _ = listen(on_gpu, built_bundle)
    assert (done.returncode, len(turns(done)) > 20) == (0, True)
    assert re.search("runs on the CPU: .*engines.json is not a list of engines", done.stderr)
    assert "engines.json is not a list of engines" in on_gpu("inspect", built_bundle)[0].stdout
    words = ("--target", "tensorrt", "--precision", "fp32")
    assert on_gpu("compile", built_bundle, *words)[0].returncode == 0
    assert "runs on the GPU (fp32)" in listen(on_gpu, built_bundle)[0].stderr


def test_one_orin_is_not_another(built_bundle: Path, on_gpu: OnGpu) -> None:
    """All are called Orin, with SM 8.7; an engine of the one is not run on the other."""
    for other in ({"sms": 16}, {"memory": 64 << 30}):
        done, _ = listen(on_gpu, built_bundle, **other)
        assert "built on Orin (8 multiprocessors, 7 GiB); here Orin (" in done.stderr
        assert "runs on the CPU" in done.stderr
