"""Cold start: real processes, from their beginning to the first event."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.device.bench import cold
from edge_lupi.errors import DeviceError


@pytest.mark.parametrize("task", ["speaker", "emotion"])
def test_it_takes_longer_than_nothing(task: str) -> None:
    found = cold.cold_start([Bundle.load(shipped_bundle(task))], [task], runs=2)
    assert all(50 < ms < 60_000 for ms in found.times_ms)
    assert found.times.p50_ms is None  # two are too few
    assert found.plain()["max_ms"] == max(found.times_ms)
    assert "ms after the process began, 2 runs" in found.text()


def test_a_process_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle: Any = Bundle.load(shipped_bundle("speaker"))
    gone = SimpleNamespace(path=tmp_path / "gone.lupi", tasks=bundle.tasks, golden=bundle.golden, segmentation=bundle.segmentation)  # fmt: skip
    with pytest.raises(
        DeviceError, match=r"expected an event from edge-lupi listen, got none \(edge-lupi: .*gone.lupi"
    ):
        cold.cold_start([gone], ["speaker"], runs=1)  # type: ignore[list-item]
