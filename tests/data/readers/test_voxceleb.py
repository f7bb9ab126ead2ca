"""VoxCeleb as people unpack it: with and without dev/ and test/, wav or m4a, face tracks beside some of it. Nothing is opened."""

import gzip
from pathlib import Path

import pytest

from edge_lupi.data.readers.corpora import corpus_kind, read_corpus
from edge_lupi.data.splits import split
from edge_lupi.data.trials import missing_files, read_trials
from edge_lupi.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def splits(root: Path) -> dict[str, str | None]:
    return {u.name: u.split for u in read_corpus(root).utterances}


def test_the_first_with_its_forty_test_speakers(tmp_path: Path) -> None:
    root = touch(tmp_path, "wav/id10001/Y8h/00001.wav", "wav/id10001/a-_B/00002.wav", "wav/id10270/5r0/00001.wav")
    corpus = read_corpus(root)
    assert (corpus.name, corpus.labels, corpus.speakers) == ("voxceleb", ("id10001", "id10270"), ("id10001", "id10270"))
    assert splits(root) == {"id10001/Y8h/00001": "train", "id10001/a-_B/00002": "train", "id10270/5r0/00001": "test"}
    assert "CC BY 4.0" in corpus.licence
    assert corpus.utterances[0].audio == root / "wav/id10001/Y8h/00001.wav"
    assert [u.name for u in split(corpus, "test").test] == ["id10270/5r0/00001"]


def test_the_second_with_faces(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        "dev/aac/id00012/21U/00001.m4a",
        "dev/aac/id00012/21U/00002.m4a",
        "dev/mp4/id00012/21U/00002.mp4",
        "test/aac/id00017/01d/00001.m4a",
    )
    one, two, three = read_corpus(root, task="speaker").utterances
    assert (one.split, two.split, three.split) == ("train", "train", "test")
    assert one.video is three.video is None
    assert two.video is not None
    assert two.video.is_raw
    assert two.video.path == root / "dev/mp4/id00012/21U/00002.mp4"


def test_test_archives_unpack_beside_dev(tmp_path: Path) -> None:
    root = touch(tmp_path, "dev/aac/id00012/21U/00001.m4a", "aac/id00017/01d/00001.m4a")
    assert splits(root) == {"id00012/21U/00001": "train", "id00017/01d/00001": "test"}


def test_what_was_converted_counts_once(tmp_path: Path) -> None:
    root = touch(tmp_path, "aac/id00012/21U/00001.m4a", "wav/id00012/21U/00001.wav")
    assert [u.audio.suffix for u in read_corpus(root).utterances] == [".wav"]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    names = (
        "wav/id10001/Y8h/00001.flac",
        "wav/id10001/Y8h/notes.txt",
        "wav/id10001/Y8h/.00002.wav",
        "wav/lost+found/x",
    )
    assert len(read_corpus(touch(tmp_path, *names, "wav/id10001/.cache/00001.wav", "wav/id10001/list.txt"))) == 1


def test_folders_that_are_something_else(tmp_path: Path) -> None:
    assert corpus_kind(touch(tmp_path / "a", "wav/alice.wav")) == "folder"
    (tmp_path / "b/wav/id10001/Y8h").mkdir(parents=True)
    with pytest.raises(InputError, match="expected clips idNNNNN/video"):
        read_corpus(tmp_path / "b")


def test_the_trials_name_its_files(tmp_path: Path) -> None:
    root = touch(tmp_path, "wav/id10270/x6u/00001.wav", "wav/id10300/ize/00003.wav")
    line = b"0 id10270/x6u/00001.wav id10300/ize/00003.wav\n"
    (tmp_path / "voxceleb1_O.txt.gz").write_bytes(gzip.compress(line))
    assert not missing_files(read_trials(tmp_path / "voxceleb1_O.txt.gz", root / "wav"))


def test_the_forty_are_those_of_the_list(data_root: Path) -> None:
    trials = read_trials(data_root / "voxceleb_lists/voxceleb1_O_cleaned.txt.gz", "/")
    speakers = {path.parts[1] for trial in trials for path in (trial.enrol, trial.test)}
    assert speakers == {f"id{number}" for number in range(10_270, 10_310)}
