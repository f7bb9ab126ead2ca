"""Arms of a recipe: what each changes, what it waits for, and when its result is still good."""

from pathlib import Path

import pytest

from edge_lupi.errors import InputError
from edge_lupi.train.sweep.plan import load_plan

RECIPE = """
name = "x"
[data]
root = "there"
task = "mood"
test = "a"
[student]
epochs = 5
[sweep]
reference = "audio"
[arms.teacher]
stage = "teacher"
[arms.audio]
[arms.taught]
under = ["teacher"]
set = ["distil.distance=cosine"]
[arms.int8]
stage = "qat"
under = ["taught"]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(RECIPE)
    return path


def test_an_arm_brings_those_it_waits_for(recipe: Path) -> None:
    jobs = load_plan(recipe).jobs(["audio", "int8"], ["a", "b"], [0, 1])
    assert [job.arm for job in jobs[:4]] == ["audio", "teacher", "taught", "int8"]
    assert len({job.key for job in jobs}) == len(jobs) == 16
    assert [job.arm for job in jobs[3].under] == ["taught"]


def test_folds_and_seeds_before_arms(recipe: Path) -> None:
    job = load_plan(recipe, ["student.epochs=7"]).jobs(["taught"], ["b"], [3])[-1]
    found = job.recipe
    assert (found.data.test, found.seed, found.student.epochs, found.distil.distance) == ("b", 3, 7, "cosine")
    assert job.place == Path("b/seed3/taught")


def test_a_key_changes_with_the_recipe_and_with_what_came_before(recipe: Path) -> None:
    def keys(changes: list[str]) -> dict[str, str]:
        return {job.arm: job.key for job in load_plan(recipe, changes).jobs(["audio", "int8"], ["a"], [0])}

    once = keys([])
    assert keys([]) == once
    assert all(keys(["student.epochs=6"])[arm] != key for arm, key in once.items())
    recipe.write_text(RECIPE.replace("distance=cosine", "distance=mse"))
    changed = keys([])
    assert {arm for arm in once if changed[arm] != once[arm]} == {"taught", "int8"}


def test_a_student_may_begin_from_another(recipe: Path) -> None:
    more = '[arms.further]\nunder = ["taught"]\n[arms.further-int8]\nstage = "qat"\nunder = ["further"]\n'
    recipe.write_text(RECIPE + more)
    jobs = {job.arm: job for job in load_plan(recipe).jobs(["further-int8"], ["a"], [0])}
    assert jobs["further"].start is jobs["taught"]
    assert not jobs["further"].teachers
    assert jobs["taught"].start is jobs["further-int8"].start is None
    assert [job.arm for job in jobs["taught"].teachers] == ["teacher"]
    recipe.write_text(RECIPE + more.replace('["taught"]', '["taught", "audio"]'))
    with pytest.raises(InputError, match=r"teachers, or a student to begin from, in .* got taught, audio"):
        load_plan(recipe)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("[arms.audio]", "[arms.Audio]", "small letters"),
        ('under = ["teacher"]', 'under = ["int8"]', "stand before it"),
        ('under = ["taught"]', 'under = ["teacher"]', "of one student"),
        ('stage = "qat"', 'stage = "boil"', "teacher, student, qat"),
        ('reference = "audio"', 'reference = "silence"', "sweep.pairs and against of teacher, audio"),
        ("set = [", "sets = [", "did you mean arms.taught.set"),
    ],
)
def test_a_wrong_arm_is_one_sentence(recipe: Path, before: str, after: str, says: str) -> None:
    recipe.write_text(RECIPE.replace(before, after))
    with pytest.raises(InputError, match=says):
        load_plan(recipe)


def test_a_recipe_without_arms_says_so(recipe: Path) -> None:
    recipe.write_text(RECIPE.partition("[sweep]")[0])
    with pytest.raises(InputError, match="got none: write"):
        load_plan(recipe)


def test_pairs_are_of_two_known_arms(recipe: Path) -> None:
    def pairs(content: str) -> tuple[tuple[str, ...], ...]:
        recipe.write_text(RECIPE.replace('reference = "audio"', f'reference = "audio"\npairs = {content}'))
        return load_plan(recipe).sweep.pairs

    assert pairs('[["taught", "audio"]]') == (("taught", "audio"),)
    with pytest.raises(InputError, match=r"expected sweep\.pairs of two arms each"):
        pairs('[["taught"]]')
    with pytest.raises(InputError, match=r"sweep\.pairs and against of teacher, audio, taught, int8 .* got loud"):
        pairs('[["taught", "loud"]]')
