"""Energy per hop: a Jetson's power rails as Linux shows them, in a tree of files; nothing where there are none."""

import time
from pathlib import Path

import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.device.bench.energy import Meter, rails
from edge_lupi.device.bench.hops import measure


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        new = folder / f"{name}.new"
        new.write_text(f"{value}\n")
        new.replace(folder / name)  # a reader never meets an empty file, as sensors have none


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """hwmon, as on an Orin NX: the fourth label is the sum of shunts."""
    sensor = tmp_path / "class/hwmon/hwmon1"
    write(sensor, name="ina3221", in1_label="VDD_IN", in1_input=5000, curr1_input=1200)
    write(
        sensor,
        in2_label="VDD_CPU_GPU_CV",
        in2_input=5000,
        curr2_input=300,
        in7_label="sum of shunt voltages",
        in7_input=1,
    )
    write(tmp_path / "class/hwmon/hwmon0", name="nvme", in1_label="x", in1_input=1, curr1_input=1)
    return tmp_path


def test_rails_by_hwmon(orin: Path) -> None:
    assert {name: watts() for name, watts in rails(orin).items()} == {"VDD_IN": 6.0, "VDD_CPU_GPU_CV": 1.5}


def test_rails_by_iio(tmp_path: Path) -> None:
    write(
        tmp_path / "bus/iio/devices/iio:device0",
        rail_name_0="GPU",
        in_power0_input=900,
        rail_name_1="CPU",
        in_power1_input=600,
    )
    assert {name: watts() for name, watts in rails(tmp_path).items()} == {"GPU": 0.9, "CPU": 0.6}


def test_energy_per_hop_above_idle(orin: Path) -> None:
    by_name = rails(orin)
    meter = Meter(by_name, idle_seconds=0.2)
    with meter.running():
        write(orin / "class/hwmon/hwmon1", curr1_input=2200)
        time.sleep(1.0)
    found = meter.energy(10)
    assert found is not None
    assert found.idle_watts == pytest.approx(6.0)
    assert found.watts == pytest.approx(11.0, rel=0.1)  # the first reading may be before the change
    assert found.joules_per_hop == pytest.approx(found.watts * 0.1, rel=0.5)  # seconds by the clock, on a busy machine
    assert found.joules_per_hop_above_idle < found.joules_per_hop
    assert "mJ a hop" in found.text()


def test_a_rail_without_a_total_counts_with_the_others(tmp_path: Path) -> None:
    write(
        tmp_path / "bus/iio/devices/iio:device0",
        rail_name_0="GPU",
        in_power0_input=900,
        rail_name_1="CPU",
        in_power1_input=600,
    )
    meter = Meter(rails(tmp_path), idle_seconds=0.1)
    with meter.running():
        time.sleep(0.2)
    found = meter.energy(1)
    assert found is not None
    assert found.watts == pytest.approx(1.5)


def test_in_a_report(orin: Path) -> None:
    found = measure(Bundle.load(shipped_bundle("speaker")), None, 5.0, meter=Meter(rails(orin), idle_seconds=0.1))
    assert found.plain()["energy"]["watts"] == pytest.approx(6.0)
    assert "energy " in found.text()


def test_nothing_to_read(tmp_path: Path) -> None:
    assert rails(tmp_path) == {}
    meter = Meter({})
    with meter.running():
        pass
    assert meter.energy(1) is None


def test_a_sensor_that_stops_answering(orin: Path) -> None:
    by_name = rails(orin)
    (orin / "class/hwmon/hwmon1/curr1_input").write_text("")
    meter = Meter(by_name, idle_seconds=0.1)
    with meter.running():
        pass
    assert meter.energy(1) is None
