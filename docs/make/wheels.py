"""What the edge install brings along, on a 64-bit Arm board: versions, sizes, licences, and the C libraries inside.

python docs/make/wheels.py python3.10 python3.11 python3.13 > docs/edge_dependencies.md     # the interpreters to ask for

Each interpreter's own pip downloads the wheels that it would install on Linux for aarch64, and no sources: where one is
missing, pip says so and nothing is written.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLIBC_MINORS = (17, 26, 27, 28, 31, 34, 35)  # up to 2.35, JetPack 6's; Debian 12 has 2.36
INTRODUCTION = """# What the edge install brings along

`pip install .` on a 64-bit Arm board, a Jetson or a Raspberry Pi: for each of these there is a wheel, so nothing is compiled there.
Asked on {date} by `python docs/make/wheels.py {asked}`, with each interpreter's pip. Sizes are of the wheel, and unpacked.
What `make dist` makes names the same things, as installed on that day, in a CycloneDX bill of materials.

| package | {heads} | MB, unpacked MB | licence, as the package says | C libraries inside |
|---|{lines}|---|---|---|
"""
END = """
{totals}

`sounddevice` calls the PortAudio of the system (`libportaudio2`, MIT). What is LGPL (libsndfile inside soundfile, and soxr) lies in
files of its own, which may be replaced. Lowest versions that are allowed: `dependencies` in [pyproject.toml](../pyproject.toml);
`make distcheck` installs exactly those on the oldest Python, and listens.

## What the extras download

Disk taken on x86-64 with Python 3.11, everything that comes along counted. None of it is needed on a device.

| `pip install` | disk |
|---|---|
| `.` | 0.2 GB |
| `'.[serve]'` | 2 MB more |
| `'.[mqtt]'`, `'.[wyoming]'` | 0.4 and 0.3 MB more |
| `'.[media]'` | 0.1 GB more |
| `'.[train]'` | 5.3 GB: torch 2.11 with NVIDIA's CUDA libraries and Triton (4.5 GB), whether or not there is a GPU |
| `'.[train,video,dev]'`, as `make install` and `make test` do | 6.0 GB |
| `'.[docs]'` | 0.1 GB more |
"""


@dataclass(frozen=True)
class Wheel:
    """A wheel as downloaded: bytes packed and unpacked, its licence, and the shared libraries that it carries."""

    name: str
    version: str
    size: int
    unpacked: int
    licence: str
    libraries: tuple[str, ...]


def main(interpreters: list[str]) -> None:
    """Print the page for these interpreters."""
    by_python = {_version(python): _wheels(python) for python in interpreters}
    names = sorted({name for wheels in by_python.values() for name in wheels}, key=str.lower)
    heads = " | ".join(by_python)
    today = datetime.date.today().isoformat()
    asked = " ".join(f"python{version}" for version in by_python)
    print(INTRODUCTION.format(date=today, asked=asked, heads=heads, lines="|".join("---" for _ in by_python)), end="")
    for name in names:
        print(_row(name, [wheels.get(name) for wheels in by_python.values()]))
    totals = (
        f"{version}: {_mb(w.size for w in wheels.values())} MB to download, {_mb(w.unpacked for w in wheels.values())} MB on the disk"
        for version, wheels in by_python.items()
    )
    print(END.format(totals="Together, by Python: " + "; ".join(totals) + "."), end="")


def _row(name: str, wheels: list[Wheel | None]) -> str:
    newest = [wheel for wheel in wheels if wheel][-1]
    versions = " | ".join(wheel.version if wheel else "–" for wheel in wheels)
    size = f"{_mb([newest.size])}, {_mb([newest.unpacked])}"
    return f"| {name} | {versions} | {size} | {newest.licence} | {', '.join(newest.libraries)} |"


def _version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _wheels(python: str) -> dict[str, Wheel]:
    """What that interpreter's pip takes for aarch64, by name."""
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC_MINORS)]
    with tempfile.TemporaryDirectory() as folder:
        target = ["--only-binary", ":all:", *(word for name in platforms for word in ("--platform", name))]
        command = [python, "-m", "pip", "download", "--quiet", "--dest", folder, *target, *_needed(_version(python))]
        subprocess.run(command, check=True, stdout=sys.stderr)
        found = [_read(path) for path in sorted(Path(folder).glob("*.whl"))]
    return {wheel.name: wheel for wheel in found}


def _needed(version: str) -> list[str]:
    """The edge dependencies of pyproject.toml that this Python takes."""
    import tomllib

    lines = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    minor = int(version.split(".")[1])
    older = {line: re.search(r"python_version < '3\.(\d+)'", line) for line in lines}
    return [line.split(";")[0] for line, bound in older.items() if not bound or minor < int(bound[1])]


def _read(path: Path) -> Wheel:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = Parser().parsestr(wheel.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode())
        unpacked = sum(part.file_size for part in wheel.infolist())
    carried = {Path(name).name for name in names if re.search(r"(\.libs|_data)/[^/]+\.so[.\d]*$", name)}
    libraries = tuple(sorted({re.split(r"[-.]|_aarch64", name)[0] for name in carried}))
    name, version = str(metadata["Name"]), str(metadata["Version"])
    return Wheel(name, version, path.stat().st_size, unpacked, _licence(metadata), libraries)


def _licence(metadata: Message) -> str:
    """In the package's own words: its expression, else one line, else its classifiers."""
    classified = [
        line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License :: ")
    ]
    said = metadata["License-Expression"] or metadata["License"] or ""
    return str(said) if said and len(said) < 80 and "\n" not in said else "; ".join(classified) or "not said"


def _mb(sizes: Iterable[int]) -> str:
    megabytes = sum(sizes) / 1e6
    return f"{megabytes:.1f}" if megabytes >= 0.05 else "< 0.1"


if __name__ == "__main__":
    main(sys.argv[1:])
