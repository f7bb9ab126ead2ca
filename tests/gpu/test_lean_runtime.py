"""NVIDIA's own lean runtime of TensorRT 11, which ends the process where the driver is of an older CUDA: edge-lupi does not start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lupi.bundle.engines import FOLDER

VERSION = "11.4.0.106"
SOUND = Path(__file__).parents[2] / "examples" / "two_voices.flac"
STARTS = """
import tensorrt
from edge_lupi.runtime.engines.cuda import find_gpu
find_gpu()
runtime = tensorrt.Runtime(tensorrt.Logger())
print("made", flush=True)
runtime.deserialize_cuda_engine(b"plan" * 100)
print("alive")
"""


@pytest.fixture(scope="module")
def lean(tensorrt_builder: dict[str, str]) -> Path:
    """A folder that has it under the name `tensorrt`."""
    return Path(tensorrt_builder["PYTHONPATH"]).parent / "lean"


def test_it_is_not_started(
    lean: Path,
    gpu_bundle: Path,
    on_gpu: Callable[..., object],
    pretended_gpu: dict[str, str],
    cli: Callable[..., object],
) -> None:
    done, _ = on_gpu("compile", gpu_bundle, "--target", "tensorrt", "--precision", "fp32", version=VERSION)
    assert done.returncode == 0, done.stderr
    environment = {**pretended_gpu, "PYTHONPATH": f"{lean}:{pretended_gpu['PYTHONPATH']}"}
    crash = subprocess.run([sys.executable, "-c", STARTS], env={**os.environ, **environment}, capture_output=True)
    assert crash.returncode < 0, "the lean runtime now survives an older driver"
    assert (gpu_bundle / FOLDER).is_dir()
    said = "TensorRT 11.4.0.106 is built for CUDA 13, and this NVIDIA driver knows CUDA 12.6: update the driver"
    heard = cli("listen", gpu_bundle, "--input", SOUND, "--gate", "energy", env=environment)
    assert (heard.returncode, heard.stderr.count(said)) == (0, 1), heard.stderr
    doctor = cli("doctor", env=environment)
    assert (doctor.returncode, doctor.stdout.count(said)) == (0, 1)
    automatic = cli("inspect", gpu_bundle, env=environment)
    assert automatic.returncode == 0, automatic.stderr
    asked = cli("compile", gpu_bundle, "--target", "tensorrt", env=environment)
    assert (asked.returncode, asked.stderr.count(said), "Traceback" in asked.stderr) == (1, 1, False)
