"""Trial lists, plain and packed, of any length, with the line of a fault."""

import gzip
import os
import resource
import time
import zlib
from pathlib import Path

import pytest

from edge_lupi.data.trials import Trial, missing_files, read_trials, speakers_of
from edge_lupi.errors import InputError


def test_lines_become_trials(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("1 a/1.wav a/2.wav\n\n0\ta/1.wav  /b/1.wav\r\n")
    assert read_trials(tmp_path / "list.txt") == [
        Trial(True, tmp_path / "a/1.wav", tmp_path / "a/2.wav"),
        Trial(False, tmp_path / "a/1.wav", Path("/b/1.wav")),
    ]
    assert read_trials(tmp_path / "list.txt", "/voices")[0].enrol == Path("/voices/a/1.wav")


def test_packed_lists_read_alike(tmp_path: Path) -> None:
    (tmp_path / "list.txt.gz").write_bytes(gzip.compress(b"1 a.wav b.wav\n" * 40_000))
    assert len(read_trials(tmp_path / "list.txt.gz")) == 40_000


def test_missing_files_are_each_named_once(tmp_path: Path) -> None:
    (tmp_path / "there.wav").touch()
    (tmp_path / "list.txt").write_text("1 there.wav b.wav\n0 b.wav a.wav\n")
    assert missing_files(read_trials(tmp_path / "list.txt")) == [tmp_path / "a.wav", tmp_path / "b.wav"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got none"),
        (b"\n \n", "got none"),
        (b"1 a.wav b.wav\n1 a.wav\n", "line 2"),
        (b"1 a.wav b.wav c.wav\n", "line 1"),
        (b"yes a.wav b.wav\n", "line 1"),
        (b"a.wav b.wav 1\n", "line 1"),
        (b"\xff\xfe1 a b\n", "UTF-8"),
    ],
)
def test_lists_with_a_fault(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_trials(tmp_path / "list.txt")


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"1 a b\n" * 999)[:-9], gzip.compress(b"\xff")],
    ids=[
        "empty",
        "text",
        "cut off",
        "no text",
    ],  # packed bytes hold the time, and names must be the same in every process
)
def test_packed_lists_with_a_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.gz").write_bytes(content)
    with pytest.raises(InputError, match="expected"):
        read_trials(tmp_path / "list.gz")


@pytest.mark.parametrize("line", [b"\0", b"\n", b"1 a.wav b.wav\n"], ids=["zeros", "blank", "trials"])
def test_a_bomb_is_unpacked_only_as_far_as_it_is_read(tmp_path: Path, line: bytes) -> None:
    packer = zlib.compressobj(1, wbits=31)
    mebibyte = line * ((1 << 20) // len(line))
    (tmp_path / "list.gz").write_bytes(b"".join([packer.compress(mebibyte) for _ in range(256)]) + packer.flush())
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"expected a trial list of at most 750000 lines and 128 MiB"):
        read_trials(tmp_path / "list.gz")
    assert time.process_time() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("list.txt", "list.gz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=r"expected a trial list at .*, got something that is no plain file"):
            read_trials(tmp_path / name)


def test_lists_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.txt", tmp_path / "missing.gz"):
        with pytest.raises(InputError, match="check the path"):
            read_trials(path)


def test_real_lists(data_root: Path) -> None:
    voxceleb = read_trials(data_root / "voxceleb_lists/voxceleb1_O_cleaned.txt.gz")
    assert len(voxceleb) == 37_611
    assert len(missing_files(voxceleb)) == 4708  # no audio comes with it
    for name, targets, count in (
        ("librispeech_excerpts/trials_held_out.txt", 48, 2304),
        ("ravdess_av/sv_trials_actors17-24_neutral.txt", 128, 1024),
        ("ravdess_av/sv_trials_actors17-24_emotion_mismatch.txt", 1536, 7536),
    ):
        trials = read_trials(data_root / name)
        assert (sum(trial.target for trial in trials), len(trials)) == (targets, count)
        assert missing_files(trials) == []


def test_target_trials_tell_who_is_who() -> None:
    a, b, c, d, e = map(Path, "abcde")
    trials = [Trial(True, a, b), Trial(False, a, d), Trial(True, c, b), Trial(False, e, c), Trial(True, d, d)]
    found = speakers_of(trials)
    assert found[a] == found[b] == found[c]
    assert len({found[a], found[d], found[e]}) == 3
    assert sorted(set(found.values())) == [0, 1, 2]
    long = [Trial(True, Path(str(n)), Path(str(n + 1))) for n in range(20_000)]
    assert set(speakers_of(long).values()) == {0}
