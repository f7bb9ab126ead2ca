"""Subtitles and events as files, beside RTTM; and what they hold of two real turns."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from edge_lupi.errors import InputError
from edge_lupi.rttm import read_rttm
from edge_lupi.runtime.outputs.asked_files import asked_files
from edge_lupi.runtime.outputs.rttm import RttmFile
from edge_lupi.runtime.outputs.subtitles import SrtFile, VttFile
from edge_lupi.runtime.outputs.turns import Turn

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
TWO_VOICES = EXAMPLES / "two_voices.flac"
Cli = Callable[..., CompletedProcess[str]]
HOSTILE = "<b>a\n\n2\n00:00 --> & {\\an8}"


def _turn(start: float, end: float, label: str, stream: str = "", task: str = "speaker") -> Turn:
    return Turn(start, end, label, "score", 0.7, task, stream)


def _written(kind: type[SrtFile] | type[VttFile], path: Path, *turns: Turn) -> str:
    with kind(path, ["call.wav"], "speaker") as file:
        file.passed("", 1.0)
        for turn in turns:
            file.turn(turn)
    return path.read_text()


def test_subrip_to_the_letter(tmp_path: Path) -> None:
    turns = _turn(0.25, 4.2504, "Anna Maria"), _turn(9.0, 9.5, "calm", task="emotion"), _turn(3661.0, 3662.5, "b")
    assert _written(SrtFile, tmp_path / "a.srt", *turns) == (
        "1\n00:00:00,250 --> 00:00:04,250\nAnna Maria\n\n2\n01:01:01,000 --> 01:01:02,500\nb\n\n"
    )


def test_webvtt_to_the_letter(tmp_path: Path) -> None:
    assert _written(VttFile, tmp_path / "a.vtt", _turn(0.25, 4.25, "Ann & Bob")) == (
        "WEBVTT\n\n00:00:00.250 --> 00:00:04.250\n<v Ann &amp; Bob>Ann &amp; Bob</v>\n\n"
    )
    assert _written(VttFile, tmp_path / "empty.vtt") == "WEBVTT\n\n"


def test_a_name_cannot_end_a_cue_or_open_a_tag(tmp_path: Path) -> None:
    srt = _written(SrtFile, tmp_path / "a.srt", _turn(0, 1, HOSTILE))
    vtt = _written(VttFile, tmp_path / "a.vtt", _turn(0, 1, HOSTILE))
    for text in (srt, vtt):
        assert len(re.findall(r"^\d.* --> ", text, re.MULTILINE)) == 1
        assert text.count("\n\n") == 1 + text.startswith("WEBVTT")
    assert not set("<{") & set(srt)
    assert re.findall("<[^>]*>", vtt.replace("-->", ""))[1:] == ["</v>"]


def test_cues_of_several_streams_are_in_the_order_of_their_beginnings(tmp_path: Path) -> None:
    text = _written(SrtFile, tmp_path / "a.srt", _turn(5, 6, "b", "1"), _turn(1, 9, "a", "0"))
    assert re.findall(r"^(?:\d+|call.*)$", text, re.MULTILINE) == ["1", "call:0: a", "2", "call:1: b"]


def test_a_kind_of_its_own_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"got .*a.srt twice: choose another name"):
        asked_files(["mic"], "speaker", srt=tmp_path / "a.srt", vtt=tmp_path / "b" / ".." / "a.srt")
    people = tmp_path / "people.json"
    people.write_text("{}")
    with pytest.raises(InputError, match=r"exists and is not named .jsonl, so it is left alone: choose another name"):
        asked_files(["mic"], "speaker", events=people)


@pytest.mark.parametrize("link", [None, Path.symlink_to, Path.hardlink_to])
def test_what_is_heard_is_never_written_over(
    cli: Cli, tmp_path: Path, link: Callable[[Path, Path], None] | None
) -> None:
    """Not even where the recording has an ending of ours, or another name."""
    for verb, option, ending in (("listen", "--events", ".jsonl"), ("bench", "--plot", ".svg")):
        recording = out = tmp_path / f"recording{ending}"
        recording.write_bytes(TWO_VOICES.read_bytes())
        if link:
            out = tmp_path / f"out{ending}"
            link(out, recording)
        done = cli(verb, option, out, "--input", recording)
        assert done.returncode == 1
        assert "which is read: choose another name" in done.stderr
        assert recording.read_bytes() == TWO_VOICES.read_bytes()


def test_one_file_by_two_names_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.srt").touch()
    (tmp_path / "a.vtt").hardlink_to(tmp_path / "a.srt")
    with pytest.raises(InputError, match=r"got .*a.srt twice"):
        asked_files(["mic"], "speaker", srt=tmp_path / "a.srt", vtt=tmp_path / "a.vtt")


def test_what_a_second_look_writes_is_where_the_first_was_and_as_private(tmp_path: Path) -> None:
    private, link = tmp_path / "private.rttm", tmp_path / "link.rttm"
    private.touch(0o600)
    link.symlink_to(private)
    (file,) = asked_files(["call.wav"], "speaker", rttm=link)
    with file:
        file.passed("", 1.0)
        file.turn(_turn(0, 1, "a"))
    assert isinstance(file, RttmFile)
    file.revise([_turn(0, 1, "b")])
    assert link.is_symlink()
    assert " b " in private.read_text()
    assert private.stat().st_mode & 0o777 == 0o600


def test_all_files_of_one_run_say_the_same(cli: Cli, tmp_path: Path) -> None:
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("rttm", "srt", "vtt", "jsonl")}
    options = [w for kind, path in paths.items() for w in (f"--{kind}".replace("jsonl", "events"), path)]
    done = cli("listen", "--input", TWO_VOICES, "--task", "speaker,emotion", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert paths["jsonl"].read_text() == done.stdout
    assert {json.loads(line)["task"] for line in done.stdout.splitlines()} == {"speaker", "emotion"}
    (turns,) = read_rttm(paths["rttm"]).values()
    labels = [turn.label.replace("_", " ") for turn in turns]
    assert re.findall("^speaker .*", paths["srt"].read_text(), re.MULTILINE) == labels
    assert re.findall("<v (speaker .*?)>", paths["vtt"].read_text()) == labels
