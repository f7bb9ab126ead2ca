"""Every parser of files that may come from a stranger: how it is called, and small valid files to begin from.

A parser either gives something or raises one of our own errors; any other exception is a defect. `test_parsers.py` runs
each briefly with hypothesis, `run.py` (`make fuzz`) at length with atheris, which follows the lines that are reached.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.calibration import Calibration, Point, load_calibration
from edge_lupi.bundle.engines import LIST, read_engines
from edge_lupi.bundle.graph_bounds import check_graph
from edge_lupi.bundle.manifest import MANIFEST
from edge_lupi.compile.request import read_profile
from edge_lupi.data.readers.table import read_table
from edge_lupi.data.trials import read_trials
from edge_lupi.disk import unpacked_arrays
from edge_lupi.errors import EdgeLupiError
from edge_lupi.frames import Segmentation
from edge_lupi.models.files import TrainedStudent, load_student, save_student
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.rttm import read_rttm
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.task import Task
from edge_lupi.train.recipe import load_recipe
from edge_lupi.words import folder_word, json_text, printable

from .trees import edited_tree

FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # a file a call: memory is ten times as fast as a disk
LARGEST_ARRAYS = 1 << 24
RECIPES = Path(__file__).resolve().parents[2] / "train"
PROFILES = Path(__file__).resolve().parents[2] / "compile"


@dataclass(frozen=True)
class Parser:
    """`read` takes the bytes of a file; `seeds` are valid ones. `native` where a library in C does the work."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    native: bool = False
    refusals: tuple[type[Exception], ...] = (EdgeLupiError,)

    def survives(self, data: bytes) -> None:
        """Read the bytes; an exception that is none of ours goes up."""
        with suppress(*self.refusals):
            self.read(data)


def parsers() -> dict[str, Parser]:
    """All of them, by name."""
    made = (*_of_the_device(), *_of_the_workstation(), *_of_sound(), *_of_words(), *_of_the_home())
    trees = (_by_tree(parser) for parser in made if parser.seeds[0][:1] == b"{")
    return {parser.name: parser for parser in (*made, *trees)}


def _by_tree(parser: Parser) -> Parser:
    """The same parser, given its seed with places of the JSON tree replaced: the bytes say where and by what."""
    edit = functools.partial(edited_tree, parser.seeds[0])
    return replace(
        parser, name=f"{parser.name}, by its tree", read=lambda data: parser.read(edit(data)), seeds=(bytes(range(12)),)
    )


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of paths as one of bytes: they lie in one file, in a folder that is gone with the process."""
    folder = tempfile.TemporaryDirectory(prefix="edge-lupi-fuzz-", dir=FAST)
    file = Path(folder.name) / name

    def call(data: bytes, _folder: object = folder) -> object:
        file.write_bytes(data)
        return read(file)

    return call


def _of_the_device() -> tuple[Parser, ...]:
    shipped = Bundle.load(shipped_bundle("speaker"))
    fingerprint = shipped.fingerprint
    people = {"alice": [[1.0, 0.0]], "Zoë": [[0.6, 0.8], [0.0, 1.0]]}
    gallery = {"format": "edge-lupi speakers", "version": 1, "fingerprint": fingerprint, "people": people}
    engine = {
        "name": "encoder",
        "precision": "int8",
        "graph_sha256": "0" * 64,
        "max_batch": 16,
        "workspace_mib": 64,
        "device": {"tensorrt": "10.3.0", "capability": "8.7", "gpu": "Orin"},
        "file": "encoder.int8.8_7.plan",
        "sha256": "0" * 64,
        "bytes": 12,
        "chosen": True,
    }
    point = Point(seconds=2.0, threshold=0.4, low=0.3, high=0.5, impostor_trials=90)
    calibration = Calibration("speaker", fingerprint, 0.01, people=3, impostors=30, points=(point,)).plain()
    graphs = tuple(data for name, data in shipped.files.items() if name.startswith("aggregator"))
    return (
        Parser("graph", lambda data: check_graph(data, "graph"), graphs),
        Parser("bundle manifest", _manifest(shipped), ((shipped.path / MANIFEST).read_bytes(),)),
        Parser(
            "golden.npz and other arrays",
            lambda data: unpacked_arrays(data, LARGEST_ARRAYS),
            _arrays(),
            refusals=(ValueError,),
        ),
        Parser(
            "engines.json",
            _in_file(LIST, lambda path: read_engines(path.parent)),
            (_json({"version": 1, "engines": [engine]}),),
        ),
        Parser(
            "calibration",
            _in_file("calibration.speaker.json", lambda path: load_calibration(path.parent, fingerprint, "speaker")),
            (_json(calibration),),
        ),
        Parser("gallery", _in_file("speakers.json", Gallery.load), (_json(gallery),)),
        Parser("RTTM", _in_file("who.rttm", read_rttm), (b"SPEAKER a 1 0.5 1.25 <NA> <NA> alice <NA> <NA>\n;; b\n",)),
    )


def _of_the_workstation() -> tuple[Parser, ...]:
    trials = b"1 a.wav b.wav\n0 a.wav c.wav\n"
    table = b"audio,label,speaker,split\nparsers.py,happy,1,train\nrun.py,sad,2,test\n"
    return (
        Parser(
            "recipe",
            _in_file("r.toml", load_recipe),
            tuple(path.read_bytes() for path in sorted(RECIPES.glob("*.toml"))),
        ),
        Parser(
            "device profile",
            _in_file("p.toml", read_profile),
            tuple(path.read_bytes() for path in sorted(PROFILES.glob("*.toml"))),
        ),
        Parser("table of one's own", _in_file("t.csv", read_table), (table,)),
        Parser("student.pt", _in_file("student.pt", load_student), (_student(),), native=True),
        Parser("trial list", _in_file("t.txt", read_trials), (trials,)),
        Parser("trial list, gzipped", _in_file("t.txt.gz", read_trials), (gzip.compress(trials, mtime=0),)),
    )


def _of_sound() -> tuple[Parser, ...]:
    import soundfile

    from edge_lupi.sound.audio import read_audio
    from edge_lupi.sound.headers import wav_parts

    tone = (0.1 * np.sin(np.arange(3200) / 5)).astype(np.float32)
    seeds = []
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        packed = io.BytesIO()
        soundfile.write(packed, tone, 16_000, format=kind)
        seeds.append(packed.getvalue())
    return (
        Parser("header of a WAV", lambda data: wav_parts(io.BytesIO(data), len(data), "a.wav"), tuple(seeds[:1])),
        Parser("sound file", _in_file("a.wav", read_audio), tuple(seeds), native=True),
    )


def _of_words() -> tuple[Parser, ...]:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        assert printable(text).replace("\u200c", "").replace("\u200d", "").isprintable()
        assert json.loads(json_text(text)) == text
        folder_word(text, "a word")

    return (Parser("words", read, (b"fold-0", "Zoë".encode(), b"\x1b[2J")),)


def _of_the_home() -> tuple[Parser, ...]:
    """What comes over a socket, where the extra is installed."""
    if find_spec("wyoming") is None:
        return ()
    from edge_lupi.home.wyoming.protocol import MOST_HEADER_BYTES, NotWyoming, read_event
    from edge_lupi.home.wyoming.utterance import sound_format

    async def read(data: bytes) -> None:
        reader = asyncio.StreamReader(limit=MOST_HEADER_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        while event := await read_event(reader):
            if event.type == "audio-start":
                sound_format(event.data)

    start = {"type": "audio-start", "data": {"rate": 16_000, "width": 2, "channels": 1}}
    chunk = b'{"type": "audio-chunk", "data_length": 15, "payload_length": 4}\n{"rate": 16000}abcd'
    return (
        Parser(
            "Wyoming events",
            lambda data: asyncio.run(read(data)),
            (_json(start), _json(start) + b"\n" + chunk),
            refusals=(NotWyoming,),
        ),
    )


def _manifest(shipped: Bundle) -> Callable[[bytes], object]:
    """The shipped bundle with another manifest; its other files are linked, not copied."""
    folder = tempfile.TemporaryDirectory(prefix="edge-lupi-fuzz-", dir=FAST)
    for name in shipped.files:
        (Path(folder.name) / name).write_bytes(shipped.files[name])

    def read(data: bytes, _folder: object = folder) -> object:
        (Path(folder.name) / MANIFEST).write_bytes(data)
        return Bundle.load(folder.name)

    return read


def _student() -> bytes:
    config = StudentConfig("pico", "sequential", Segmentation(), (Task("speaker", "verification"),))
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        file = Path(folder) / "student.pt"
        save_student(file, TrainedStudent(Student(config)))
        return file.read_bytes()


def _arrays() -> tuple[bytes, ...]:
    made = []
    for save in (np.savez, np.savez_compressed):
        packed = io.BytesIO()
        save(
            packed,
            samples=np.arange(40, dtype=np.int16),
            embeddings=np.eye(3, dtype=np.float32),
            names=np.array(["a", "b"]),
        )
        made.append(packed.getvalue())
    return tuple(made)


def _json(content: object) -> bytes:
    return json.dumps(content).encode()
