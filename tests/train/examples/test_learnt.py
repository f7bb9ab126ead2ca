"""What a training learns from is part of what it is: other labels, sound or video never get the old weights."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from edge_lupi.data.digest import digest_of
from edge_lupi.data.utterance import Utterance, Video

Cli = Callable[..., CompletedProcess[str]]
RECIPE = """name = "t"
[data]
root = "{root}"
task = "emotion"
test = "test"
[student]
size = "pico"
epochs = 1
"""


@pytest.fixture
def corpus(data_root: Path, tmp_path: Path) -> Path:
    """A table of six actors' sad and happy clips, whose splits are spelt as people do; and a recipe for it, beside it."""
    with (data_root / "ravdess_av" / "labels.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if int(r["actor"]) <= 6 and r["emotion"] in ("happy", "sad")]
    side = {"1": "test", "2": "dev", "3": "Train"}
    lines = ["audio,label,speaker,split"]
    for row in rows:
        source = data_root / "ravdess_av" / row["audio"]
        shutil.copy(source, tmp_path / source.name)
        lines.append(f"{source.name},{row['emotion']},{row['actor']},{side.get(row['actor'], 'training')}")
    (tmp_path / "c.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "r.toml").write_text(RECIPE.format(root=tmp_path / "c.csv"))
    return tmp_path / "c.csv"


def test_other_labels_or_sound_are_another_training(corpus: Path, cli: Cli) -> None:
    run = ("train", "student", corpus.parent / "r.toml", "--out", corpus.parent / "run")
    first = cli(*run)
    assert first.returncode == 0, first.stderr
    assert "96 utterances: 64 train, 16 validate, 16 are held out to test\n" in first.stderr
    again = cli(*run)
    assert "student  already trained on exactly this; train afresh to train again (--fresh)" in again.stderr
    rows = corpus.read_text()
    sounds = sorted(corpus.parent.glob("*.flac")) or sorted(corpus.parent.glob("*.wav"))
    trained = (corpus.parent / "run" / "student.pt").read_bytes()
    corpus.write_text(rows.replace("happy", "angry").replace("sad", "happy").replace("angry", "sad"))
    relabelled = cli(*run)
    corpus.write_text(rows)
    shutil.copy(sounds[-1], sounds[-2])
    resounded = cli(*run)
    for done in (relabelled, resounded):
        assert (done.returncode, done.stdout) == (1, "")
        assert "belongs to another recipe, seed or corpus: start over" in done.stderr
    for file in sounds:
        file.write_bytes(b"nobody reads me")
    changed = cli(*run, "--set", "seed=9")
    assert (changed.returncode, changed.stderr.splitlines()[-1].endswith("(--fresh, --out)")) == (1, True)
    assert "belongs to another recipe: start over" in changed.stderr
    assert (corpus.parent / "run" / "student.pt").read_bytes() == trained


def test_one_training_utterance_is_refused(corpus: Path, cli: Cli) -> None:
    rows = corpus.read_text().splitlines()
    kept = [rows[0], *(row for row in rows if row.endswith(",test")), next(r for r in rows if r.endswith(",training"))]
    corpus.write_text("\n".join(kept) + "\n")
    done = cli("train", "student", corpus.parent / "r.toml", "--out", corpus.parent / "run")
    assert done.returncode == 1
    assert "expected at least 2 utterances to train on" in done.stderr
    assert not (corpus.parent / "run" / "student.pt").exists()


def test_a_folder_that_cannot_be_made_is_said_before_the_work(corpus: Path, cli: Cli) -> None:
    done = cli("train", "student", corpus.parent / "r.toml", "--out", corpus / "below")
    assert done.returncode == 1
    assert "cannot make the folder" in done.stderr
    assert "epoch" not in done.stderr


def test_whatever_is_learnt_from_is_in_the_digest(tmp_path: Path) -> None:
    sound, seen = tmp_path / "a.wav", tmp_path / "a.npy"
    sound.write_bytes(b"sound")
    seen.write_bytes(b"seen")
    video = Video(path=seen)
    found = {
        json.dumps(str(utterance)): digest_of([utterance], ("a", "b"))
        for utterance in (
            Utterance("n", sound, "a", "s"),
            Utterance("n", sound, "b", "s"),
            Utterance("n", sound, "a", "t"),
            Utterance("n", sound, "a", "s", split="train"),
            Utterance("n", sound, "a", "s", start_seconds=1.0),
            Utterance("n", sound, "a", "s", Video(features=(1.0,))),
            Utterance("n", sound, "a", "s", Video(features=(2.0,))),
            Utterance("n", sound, "a", "s", video),
        )
    }
    assert len(set(found.values())) == 8
    before = digest_of([Utterance("n", sound, "a", "s", video)], ("a",))
    seen.write_bytes(b"SEEN")
    assert digest_of([Utterance("n", sound, "a", "s", video)], ("a",)) != before
