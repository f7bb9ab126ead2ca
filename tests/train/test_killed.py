"""A training that is killed as it writes leaves whole files alone, and the same command goes on to the same end."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_lupi.disk import TEMPORARY, unpacked_arrays
from edge_lupi.models.files import load_student
from edge_lupi.train.distil.embeddings import kept_scale

KILLS = 3


def begin(recipe: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_lupi.cli", "train", "student", str(recipe), "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def kill_as_it_writes(process: subprocess.Popen[str], folder: Path) -> None:
    """At the first file that is being written: the teacher's cache, a checkpoint, the student."""
    until = time.monotonic() + 60
    while process.poll() is None and not any(path.name.startswith(TEMPORARY) for path in folder.iterdir()):
        assert time.monotonic() < until
        time.sleep(1e-4)
    process.kill()
    process.communicate()


def test_killed_as_it_writes(mood_chain: Any, tmp_path: Path) -> None:
    shutil.copy(mood_chain.folder / "teacher.pt", tmp_path)
    for _ in range(KILLS):
        kill_as_it_writes(begin(mood_chain.recipe, tmp_path), tmp_path)
        for path in tmp_path.glob("*.npz"):
            assert unpacked_arrays(path.read_bytes(), 1 << 30)
        for path in tmp_path.glob("*.checkpoint"):
            assert torch.load(path, weights_only=True)["epoch"]
    last = begin(mood_chain.recipe, tmp_path)
    _, said = last.communicate()
    assert last.returncode == 0, said
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(TEMPORARY)]
    wanted = load_student(mood_chain.folder / "student.pt").student.state_dict()
    for name, value in load_student(tmp_path / "student.pt").student.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5, msg=name)


def test_half_a_cache_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "teacher.pt").write_bytes(b"weights")
    name = f"teacher_embeddings.{hashlib.sha256(b'weights').hexdigest()[:12]}"
    (tmp_path / f"{name}.0.77.npz").write_bytes(b"PK\x03\x04 and no more")  # as edge-lupi left it before
    assert kept_scale(tmp_path / "teacher.pt") is None
    arrays = {key: np.zeros((2, 3), np.float32) for key in ("segments", "starts", "utterances", "scores", "scale")}
    np.savez(tmp_path / f"{name}.1.npz", fingerprint=np.array("key"), **arrays)
    scale = kept_scale(tmp_path / "teacher.pt")
    assert scale is not None
    assert scale.shape == (2, 3)
