"""A recipe says exactly what is wrong with it."""

from pathlib import Path

import pytest

from edge_lupi.errors import InputError
from edge_lupi.train.recipe import load_recipe, recipe_from_plain

SHORT = 'name = "x"\n[data]\nroot = "there"\ntask = "mood"\ntest = "fold0"\n'
RECIPES = Path(__file__).resolve().parents[3] / "train"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(SHORT)
    return path


def test_the_shortest_recipe_and_its_defaults(recipe: Path) -> None:
    found = load_recipe(recipe)
    assert (found.name, found.data.test, found.seed) == ("x", "fold0", 0)
    assert (found.student.size, found.segments.setting, found.augment.speeds) == ("nano", "sequential", (1.0,))


def test_changes_come_on_top(recipe: Path) -> None:
    changes = ["student.epochs=3", "augment.snr_db=[0, 10]", "segments.setting=sequential", "seed=7", "student.rate=1"]
    found = load_recipe(recipe, [*changes, "data.speaker_dependent=true"])
    assert (found.student.epochs, found.augment.snr_db, found.seed) == (3, (0.0, 10.0), 7)
    assert isinstance(found.student.rate, float)
    assert found.data.speaker_dependent is True


def test_fine_tuning_may_be_nothing_but_calibration(recipe: Path) -> None:
    assert load_recipe(recipe, ["qat.epochs=0"]).qat.epochs == 0


@pytest.mark.parametrize(("text", "test"), [("0.2", 0.2), ('["ann", "bob"]', ("ann", "bob")), ("fold3", "fold3")])
def test_what_to_hold_out(recipe: Path, text: str, test: object) -> None:
    assert load_recipe(recipe, [f"data.test={text}"]).data.test == test


def test_plain_and_back(recipe: Path) -> None:
    found = load_recipe(recipe, ['data.test=["ann", "bob"]'])
    assert recipe_from_plain(found.plain()) == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("student.epoch=3", "unknown key student.epoch: did you mean student.epochs?"),
        ("studnet.epochs=3", "unknown key studnet: did you mean student?"),
        ("student.zzz=3", "unknown key student.zzz: known are epochs, batch"),
        ("student.epochs=three", "expected a whole number as student.epochs in .*, got 'three'"),
        ("student.epochs=true", "a whole number as student.epochs in .*, got True"),
        ("student.epochs=2.5", "a whole number as student.epochs in .*, got 2.5"),
        ("augment.speeds=1", "expected a list, each of it a number, as augment.speeds in .*, got 1"),
        ("data.test=true", "expected text as data.test in .*, got True"),
        ("data=3", r"expected a section \[data\]"),
        ("student.epochs", "expected a change as section.key=value"),
        ("name.first=3", "expected a change of a section's key"),
        ("student.epochs=0", "expected epochs >= 1"),
        ("student.rate=0", "0 < rate <= 1"),
        ("segments.setting=parallel", "sequential or non-sequential, got 'parallel'"),
        ("segments.setting=non-sequential", "crop_seconds equal to segments.seconds"),
        ("segments.crop_seconds=0.5", "at least one segment"),
        ("augment.snr_db=[30, 5]", r"\[lowest, highest\], got \[30.0, 5.0\]"),
        ("augment.speeds=[0.9]", "with 1.0 among them"),
        ("augment.reverb_share=1.5", "shares between 0 and 1"),
        ("augment.mixup=-0.1", "mixup of at least 0"),
        ("augment.reverb_seconds=[0.6, 0.1]", r"\[shortest, longest\], got \[0.6, 0.1\]"),
        ("segments.every=0", "segments.every of at least 1, got 0"),
        ("distil.temperature=0", "a temperature above 0"),
        ("distil.soft=-1", "distil weights of at least 0"),
        ("distil.part=seen", "distil.part all, audible or beyond, got .seen."),
        ("distil.fast=-1", "distil.fast between 0"),
        ("qat.epochs=-1", "expected epochs >= 0"),
        ("student.rate=nan", "a finite number of some size for student.rate in .*, got nan"),
        ("augment.gain_db=inf", "for augment.gain_db in .*, got inf"),
        ("augment.snr_db=[-inf, 5.0]", "for augment.snr_db in .*, got -inf"),
        ("data.test=nan", "for data.test in .*, got nan"),
        (f"student.epochs={'9' * 400}", r"for student.epochs in .*, got 9{80}\.\.\.$"),
        (f"student.rate={'9' * 400}", "for student.rate"),
        (f"student.rate={'9' * 400}.0", "for student.rate in .*, got inf"),
        (f"student.epochs={'9' * 5000}", "a whole number as student.epochs in .*, got '9999"),
        (f"student.epochs=0x{'f' * 5000}", r"got one that is too long to tell \(int\)"),
        (f"student.epochs={'[' * 5000}", r"a whole number as student.epochs in .*, got '\[\["),
        (f"student.epochs={'[' * 90}{']' * 90}", r"a whole number as student.epochs in .*, got \[\["),
        ("student.epochs=1000001", "expected student.epochs between 1 and 1000000, got 1000001"),
        ("segments.crop_seconds=1e9", "expected segments.crop_seconds between 0.1 and 600"),
        ("segments.hop_seconds=0", "a hop of 0.01 s up to one segment"),
        ("segments.hop_seconds=-1.0", "a hop of 0.01 s up to one segment"),
        ("teacher.frame_size=1000000", "expected teacher.frame_size between 8 and 512"),
        ("augment.mel_mask=-1", "expected augment.mel_mask between 0 and 80, got -1"),
        ("augment.speeds=[1.0, 1.0]", "each once"),
        ("seed=-1", "expected a seed of 0 to 2147483647, got -1"),
        ("data.validation_speakers=-0.5", "expected data.validation_speakers between 0 and 1"),
    ],
)
def test_what_is_wrong_is_said(recipe: Path, change: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(recipe, [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name = ", "is not TOML"),
        (b"\xff\xfe\x00", "is not TOML"),
        (b"x = " + b"[" * 100_000, "is not TOML"),
        (b"x = " + b"9" * 100_000, "is not TOML"),
        (b"# " + b"x" * (1 << 20), "a recipe of at most 1048576 bytes"),
        (b'name = "x"', "lacks a key that is needed: 'data'"),
        (b'name = "x"\n[data]\nroot = "there"\n', r"lacks a key that is needed: data\..*'task' and 'test'"),
    ],
)
def test_a_file_that_is_no_recipe(recipe: Path, content: bytes, words: str) -> None:
    recipe.write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_recipe(recipe)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a recipe at .*none.toml, got no such file"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_along(path: Path) -> None:
    assert load_recipe(path).name == path.stem
