"""The command that adds an extra holds wherever edge-lupi came from: a checkout, a wheel, a repository, nobody knows where."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_lupi.errors import MissingExtra
from edge_lupi.installed import install_command

ROOT = Path(__file__).resolve().parents[1]
METADATA = """Metadata-Version: 2.1
Name: edge-lupi
Version: 0.1.0
Requires-Dist: numpy>=2.0
Requires-Dist: av>=14; extra == "media"
Provides-Extra: media
Requires-Dist: mediapipe<0.10.32,>=0.10.30; platform_machine != "aarch64" and extra == "video"
Requires-Dist: av>=14; extra == "video"
"""


def _words(site: Path, extra: str, noted: dict[str, object] | None, cwd: Path) -> list[str]:
    """What an installation in this folder says, as a shell takes it, after `pip install`."""
    (site / "edge_lupi").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "edge_lupi" / "installed.py", site / "edge_lupi")
    (site / "edge_lupi" / "__init__.py").touch()
    (site / "edge_lupi-0.1.0.dist-info").mkdir(exist_ok=True)
    (site / "edge_lupi-0.1.0.dist-info" / "METADATA").write_text(METADATA)
    (site / "edge_lupi-0.1.0.dist-info" / "direct_url.json").write_text(json.dumps(noted or {}))
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from edge_lupi.installed import install_command as c; print(c({extra!r}))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    pip, verb, *words = shlex.split(done.stdout)
    assert (Path(pip).name, verb) == ("pip", "install")
    assert pip == "pip" or Path(pip).exists()
    return words


def test_from_a_checkout_it_is_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert " install -e '.[serve]'" in install_command("serve")
    monkeypatch.chdir(tmp_path)
    assert f" install -e '{ROOT}[train]'" in install_command("train")
    said = str(MissingExtra("on a .m4a file", "PyAV", "media", instead="convert it"))
    assert said == f"edge-lupi on a .m4a file needs PyAV (0.1 GB; or convert it): {install_command('media')}"


def test_from_a_wheel_or_a_folder_it_is_that_while_it_is_there(tmp_path: Path) -> None:
    wheel = tmp_path / "a wheel" / "edge_lupi-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    noted = {"url": wheel.as_uri(), "archive_info": {}}
    assert _words(tmp_path / "site", "media", noted, tmp_path) == [f"{wheel}[media]"]
    wheel.unlink()
    assert _words(tmp_path / "site", "media", noted, tmp_path) == ["av>=14"]


def test_from_a_repository_it_is_the_repository(tmp_path: Path) -> None:
    noted = {"url": "https://example.org/edge-lupi.git", "vcs_info": {"vcs": "git", "commit_id": "0"}}
    assert _words(tmp_path / "site", "media", noted, tmp_path) == [
        "edge-lupi[media] @ git+https://example.org/edge-lupi.git"
    ]


def test_from_nowhere_it_is_what_the_extra_needs(tmp_path: Path) -> None:
    assert _words(tmp_path / "site", "video", None, tmp_path) == ["mediapipe<0.10.32,>=0.10.30", "av>=14"]
    assert _words(tmp_path / "site", "unheard-of", None, tmp_path) == ["edge-lupi[unheard-of]"]
