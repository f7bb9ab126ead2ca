"""Every corpus is known by what is there, and every fault in one is a sentence with its line."""

from pathlib import Path

import pytest

from edge_lupi.data.readers.corpora import KINDS, read_corpus
from edge_lupi.data.readers.grid import digit_window, fold_of
from edge_lupi.errors import InputError

RAVDESS = "clip,audio,actor,emotion,emotion_id,fold\nx-01,a.wav,3,sad,1,0\nx-02,b.wav,12,happy,0,4\n"
UNITS = "clip,AU01_r,AU02_c\nx-01,0.5,1\nx-02,0.25,0\n"
GRID = "clip,digit,word_times_s\nclips/a.mp4,two,bin:0.95-1.18 two:1.64-1.89 now:1.89-2.12\n"
READERS = "audio,speaker,role\na.wav,103,train\nb.wav,9,held_out\n"


def write(root: Path, **files: str) -> Path:
    """Files by name (`labels__csv` is labels.csv), and the sounds that they name, empty."""
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    (root / "clips").mkdir(exist_ok=True) if "clips/" in "".join(files.values()) else None
    for name in ("a.wav", "b.wav") + (("clips/a.mp4",) if (root / "clips").is_dir() else ()):
        (root / name).touch()
    return root


def sentence(*args: object, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        read_corpus(*args, **options)
    assert str(caught.value).startswith("expected")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_ravdess(tmp_path: Path) -> None:
    root = write(tmp_path, labels__csv=RAVDESS, video_au_mean35__csv=UNITS)
    corpus = read_corpus(root)
    assert (corpus.name, corpus.labels, corpus.speakers) == ("ravdess", ("happy", "sad"), ("actor_03", "actor_12"))
    first = corpus.utterances[0]
    assert (first.name, first.label, first.split, first.audio) == ("x-01", "sad", "fold0", root / "a.wav")
    assert first.video is not None
    assert first.video.features == (0.5, 1.0)
    assert "NC" in corpus.licence
    assert read_corpus(root, task="speaker").labels == ("actor_03", "actor_12")
    assert "emotion, speaker" in sentence(root, task="digit")


def test_librispeech(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path, utterances__csv=READERS))
    assert (corpus.name, corpus.labels) == ("librispeech", ("103", "9"))
    assert [(u.name, u.label, u.speaker, u.split) for u in corpus.utterances] == [
        ("a", "103", "103", "train"),
        ("b", "9", "9", "held_out"),
    ]
    assert "speaker for librispeech" in sentence(tmp_path, task="emotion")


def test_grid(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path, labels__csv=GRID))
    only = corpus.utterances[0]
    assert corpus.speaker_dependent
    assert len(corpus.labels) == 10
    assert (only.label, only.speaker, only.start_seconds, only.end_seconds) == ("two", "s1", 1.265, 2.265)
    assert only.video is not None
    assert only.video.path == only.audio == tmp_path / "clips/a.mp4"
    assert only.split == fold_of("a")


def test_a_folder_by_the_names_of_its_files(tmp_path: Path) -> None:
    for name in ("anna/happy/1.wav", "anna/sad/1.WAV", "ben/sad/2.flac", "ben/sad/notes.txt", "ben/.cache/x/3.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    corpus = read_corpus(tmp_path, task="emotion", pattern="{speaker}/{label}/*")
    assert [(u.name, u.label, u.speaker) for u in corpus.utterances] == [
        ("anna/happy/1.wav", "happy", "anna"),
        ("anna/sad/1.WAV", "sad", "anna"),
        ("ben/sad/2.flac", "sad", "ben"),
    ]
    assert corpus.labels == ("happy", "sad")
    assert read_corpus(tmp_path, task="speaker", pattern="{speaker}/*/*").labels == ("anna", "ben")
    assert "expected {label} in the pattern for task emotion" in sentence(
        tmp_path, task="emotion", pattern="{speaker}/*/*"
    )
    assert "got no sound file so deep" in sentence(tmp_path, task="speaker", pattern="{speaker}/*")
    odd = sentence(tmp_path, task="speaker", pattern="a{speaker}/*/*")
    assert "got 1 of 3 sound files that do not (ben/sad/2.flac)" in odd


@pytest.mark.parametrize(
    ("times", "window"),
    [
        ("two:0.1-0.3", (0.0, 1.0)),
        ("x:1-2 two:2.8-3.0", (2.0, 3.0)),
        ("two:1.4-1.6 z:2-3", (1.0, 2.0)),
        ("twofold:1-2", None),
        ("", None),
    ],
)
def test_the_window_stays_inside_the_clip(times: str, window: tuple[float, float] | None) -> None:
    assert digit_window(times, "two") == window


def test_folds_of_names_are_even() -> None:
    folds = [fold_of(f"clip{number}") for number in range(1000)]
    assert {folds.count(fold) // 100 for fold in set(folds)} <= {1, 2}
    assert len(set(folds)) == 5


def test_folder(tmp_path: Path) -> None:
    for name in ("bob/2.wav", "bob/1.FLAC", "alice/1.wav", "alice/notes.txt", ".hidden/1.wav", "empty/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    corpus = read_corpus(tmp_path)
    assert corpus.labels == ("alice", "bob")
    assert [u.name for u in corpus.utterances] == ["alice/1.wav", "bob/1.FLAC", "bob/2.wav"]
    assert corpus.speakers == ()
    assert read_corpus(tmp_path, task="speaker").speakers == ("alice", "bob")


def table(root: Path, text: str | bytes) -> Path:
    path = write(root) / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_table(tmp_path: Path) -> None:
    (tmp_path / "face.mp4").touch()
    corpus = read_corpus(
        table(
            tmp_path,
            f"audio,label,speaker,video,split\na.wav,sad,alice,face.mp4,train\n\n{tmp_path}/b.wav, happy ,,,test\n",
        )
    )
    one, two = corpus.utterances
    assert (one.label, one.speaker, one.split, one.audio) == ("sad", "alice", "train", tmp_path / "a.wav")
    assert one.video is not None
    assert one.video.is_raw
    assert (two.label, two.speaker, two.video, two.split, two.audio) == (
        "happy",
        None,
        None,
        "test",
        tmp_path / "b.wav",
    )
    assert corpus.labels == ("happy", "sad")


def test_table_for_speakers_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = table(tmp_path, b"\xef\xbb\xbfaudio,label\r\na.wav,alice\r\n")
    assert read_corpus(path, task="speaker").speakers == ("alice",)
    assert read_corpus(path, task="emotion").speakers == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no audio, label"),
        ("audio,label\n", "at least one line"),
        ("audio,emotion\na.wav,sad\n", "no label"),
        ("audio,label,mood\na.wav,sad,low\n", "'mood'"),
        ("audio,label,label\na.wav,sad,sad\n", "once"),
        ("audio,label\na.wav,sad\nb.wav\n", "line 3"),
        ("audio,label\na.wav,sad,extra\n", "line 2"),
        ("audio,label\na.wav,\n", "line 2"),
        ("audio,label\nmissing.wav,sad\n", "line 2"),
        ("audio,label\n.,sad\n", "line 2"),
        ("audio,label\na.wav,sad\na.wav,happy\n", "line 3"),
        ("audio,label,video\na.wav,sad,missing.mp4\n", "line 2"),
        ('audio,label\n"a.wav,sad\n', "line"),
        ("audio,label\na\0.wav,sad\n", "line"),
        (b"audio,label\na.wav,\xff\xfe\n", "UTF-8"),
    ],
)
def test_tables_with_a_fault(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in sentence(table(tmp_path, text))


@pytest.mark.parametrize(
    ("labels", "units", "words"),
    [
        (RAVDESS.replace("3,sad", "three,sad"), UNITS, "line 2"),
        (RAVDESS.replace("b.wav", "c.wav"), UNITS, "line 3"),
        (RAVDESS.replace("fold", "part"), UNITS, "no fold"),
        (RAVDESS, UNITS.replace("0.25", "much"), "line 3"),
        (RAVDESS, UNITS.replace("0.25", "nan"), "finite"),
    ],
)
def test_ravdess_with_a_fault(tmp_path: Path, labels: str, units: str, words: str) -> None:
    assert words in sentence(write(tmp_path, labels__csv=labels, video_au_mean35__csv=units))


def test_grid_with_a_fault(tmp_path: Path) -> None:
    assert "line 2" in sentence(write(tmp_path, labels__csv=GRID.replace("two:1.64", "too:1.64")))
    assert "line 2" in sentence(write(tmp_path, labels__csv=GRID.replace("two", "ten")))


def test_places_that_are_no_corpus(tmp_path: Path) -> None:
    for kind in KINDS:
        assert f"{kind}: " in sentence(tmp_path)
        assert f"kind {kind}" in sentence(tmp_path, kind)
    assert "no such file" in sentence(tmp_path / "missing")
    assert "among ravdess" in sentence(tmp_path, "wikipedia")
    (tmp_path / "notes.txt").write_text("hello")
    assert "no kind" in sentence(tmp_path / "notes.txt")


def test_real_corpora(data_root: Path) -> None:
    emotion, readers, digits = (
        read_corpus(data_root / name) for name in ("ravdess_av", "librispeech_excerpts", "grid_s1_av")
    )
    assert (len(emotion), len(emotion.labels), len(emotion.speakers)) == (1440, 8, 24)
    assert emotion.labels[:3] == ("neutral", "calm", "happy")
    assert all(u.video is not None and len(u.video.features or ()) == 35 for u in emotion.utterances)
    assert (len(readers), len(readers.labels)) == (296, 248)
    assert (len(digits), len(digits.labels)) == (999, 10)
    assert all(0 <= u.start_seconds <= 2 and u.end_seconds is not None for u in digits.utterances)


@pytest.mark.real_speech
def test_emodb(data_root: Path) -> None:
    corpus = read_corpus(data_root / "emodb")
    assert (corpus.name, len(corpus), len(corpus.speakers)) == ("emodb", 535, 10)
    assert corpus.labels == ("angry", "bored", "disgust", "fearful", "happy", "neutral", "sad")
    folds = {u.split: {v.speaker for v in corpus.utterances if v.split == u.split} for u in corpus.utterances}
    assert sorted(map(len, folds.values())) == [2] * 5
    assert "non-commercial" in corpus.licence
    assert read_corpus(data_root / "emodb", task="speaker").labels == corpus.speakers
