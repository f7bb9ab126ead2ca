"""The arms of a sweep: what a recipe's [arms.*] and [sweep] say. TOML -> Plan; every arm, fold and seed a Job.

    [sweep]
    reference = "audio"                 # gains are against this arm
    snr_db = [0.0, -10.0]               # measured in noise, too
    pairs = [["embed-mse", "soft"]]     # differences of two arms that a second table tells
    measure = "validation"              # on data.validation_speakers: for choosing among arms without a look at the test

    [arms.teacher]
    stage = "teacher"
    [arms.audio]
    [arms.embed-mse]
    under = ["teacher"]                 # arms that must be there before: teachers of a student, or one that it begins from; the student of qat
    set = ["distil.distance=mse"]       # changes of the recipe
    against = "audio"                   # its gain is over this arm, where that is not the sweep's reference

Arms of one fold and seed begin with the same weights and see the same crops, disturbed alike, in the same order.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.errors import InputError
from edge_lupi.settings import make, read_toml, within
from edge_lupi.train.recipe import Recipe, load_recipe
from edge_lupi.words import folder_word

__all__ = ["LOCK", "STAGES", "Arm", "Job", "Plan", "load_plan", "trained_file"]

LOCK = "lock"  # a file in a sweep's folder, held while the sweep runs
STAGES = ("teacher", "student", "qat")


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    stage: str = "student"
    under: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    against: str = ""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise InputError(f"expected an arm's stage of {', '.join(STAGES)}, got {self.stage!r}")


@dataclass(frozen=True)
class Sweep:
    """What all arms share: the arm that gains are against, pairs to be compared, and what they are measured on."""

    reference: str = ""
    pairs: tuple[tuple[str, ...], ...] = ()
    snr_db: tuple[float, ...] = ()
    measure: str = "test"

    def __post_init__(self) -> None:
        if self.measure not in ("test", "validation"):
            raise InputError(f"expected sweep.measure test or validation, got {self.measure!r}")
        within(self, "sweep", snr_db=(-100, 200))
        if any(len(pair) != 2 for pair in self.pairs):
            raise InputError('expected sweep.pairs of two arms each, as [["taught", "soft"]]')


@dataclass(frozen=True)
class Job:
    """One training: `key` changes with whatever its result depends on; with the data where the plan was told of them."""

    arm: str
    fold: str
    seed: int
    stage: str
    recipe: Recipe
    under: tuple[Job, ...]
    sweep: Sweep
    key: str
    inputs: str = ""  # digest of the data; nothing where the plan was not told of them

    @property
    def place(self) -> Path:
        """Where its files are, inside the sweep's folder."""
        return Path(self.fold) / f"seed{self.seed}" / self.arm

    @property
    def teachers(self) -> tuple[Job, ...]:
        """Those it learns from; of fine-tuning those of its student."""
        return self.under[0].teachers if self.stage == "qat" else tuple(j for j in self.under if j.stage == "teacher")

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """Their arms."""
        return tuple(job.arm for job in self.teachers)

    @property
    def start(self) -> Job | None:
        """The student whose weights a student begins with."""
        found = [job for job in self.under if self.stage == job.stage == "student"]
        return found[0] if found else None

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.arm}, {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A recipe file with its arms."""

    path: Path
    recipe: Recipe
    changes: tuple[str, ...]
    arms: dict[str, Arm]
    references: dict[str, str]
    sweep: Sweep

    def jobs(
        self,
        arms: Sequence[str],
        folds: Sequence[str],
        seeds: Sequence[int],
        inputs: Callable[[Recipe], str] | None = None,
    ) -> list[Job]:
        """Every training that these arms need, those that others wait for first.

        `inputs` says of a recipe, as a digest, what it learns from: see `edge_lupi.train.examples.learnt`.
        """
        made: dict[tuple[str, str, int], Job] = {}
        for seed in seeds:
            for fold in folds:
                for arm in arms:
                    self._add(arm, fold, seed, inputs, made)
        return list(made.values())

    def _add(
        self,
        name: str,
        fold: str,
        seed: int,
        inputs: Callable[[Recipe], str] | None,
        made: dict[tuple[str, str, int], Job],
    ) -> Job:
        """The job, made with all that it waits for unless it is among `made`."""
        if (name, fold, seed) in made:
            return made[name, fold, seed]
        arm = self.arms[name]
        under = tuple(self._add(other, fold, seed, inputs, made) for other in arm.under)
        folder_word(fold, "a fold's name")  # it becomes a folder
        recipe = load_recipe(self.path, [*self.changes, *arm.set, f'data.test="{fold}"', f"seed={seed}"])
        digest = inputs(recipe) if inputs is not None else ""
        key = _key(name, arm, recipe, under, self.sweep, digest)
        job = Job(name, fold, seed, arm.stage, recipe, under, self.sweep, key, digest)
        made[name, fold, seed] = job
        return job


def _key(name: str, arm: Arm, recipe: Recipe, under: tuple[Job, ...], sweep: Sweep, inputs: str) -> str:
    """sha256 of all that a job's result depends on."""
    content = [name, arm.stage, recipe.chosen(), [job.key for job in under], sweep.snr_db]
    if sweep.measure != "test":
        content.append(sweep.measure)
    if inputs:
        content.append(inputs)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_plan(path: str | Path, changes: Sequence[str] = ()) -> Plan:
    """Read a recipe's arms; `changes` come on top of the recipe, below those of an arm."""
    content = read_toml(path)
    recipe = load_recipe(path, changes)
    sweep = make(Sweep, content.get("sweep", {}), str(path), "sweep.")
    told = content.get("arms", {})
    if not isinstance(told, dict) or not told:
        raise InputError(f"expected arms in {path}, got none: write [arms.NAME] sections as in train/emotion_lupi.toml")
    arms = {name: make(Arm, arm, str(path), f"arms.{name}.") for name, arm in told.items()}
    for name, arm in arms.items():
        _check(name, arm, arms, path)
    references = {name: arm.against or sweep.reference or next(iter(arms)) for name, arm in arms.items()}
    unknown = {*references.values(), *(arm for pair in sweep.pairs for arm in pair)} - set(arms)
    if unknown:
        raise InputError(
            f"expected sweep.reference, sweep.pairs and against of {', '.join(arms)} in {path}, got {', '.join(sorted(unknown))}"
        )
    return Plan(Path(path), recipe, tuple(changes), arms, references, sweep)


def _check(name: str, arm: Arm, arms: dict[str, Arm], path: str | Path) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", folder_word(name, "an arm's name")):
        raise InputError(f"expected an arm's name of small letters, digits and '-' in {path}, got {name!r}")
    order = list(arms)
    unknown = [other for other in arm.under if other not in order[: order.index(name)]]
    if unknown:
        raise InputError(f"expected arms.{name}.under of arms that stand before it in {path}, got {', '.join(unknown)}")
    stages = [arms[other].stage for other in arm.under]
    fits = {
        "teacher": not stages,
        "student": set(stages) <= {"teacher", "student"} and stages.count("student") <= 1,
        "qat": len(stages) == 1 and stages[0] == "student",
    }
    if not fits[arm.stage]:
        raise InputError(
            f"expected arms.{name}.under of {'nothing' if arm.stage == 'teacher' else 'teachers, or a student to begin from,' if arm.stage == 'student' else 'one student'} in {path}, got {', '.join(arm.under) or 'nothing'}"
        )


def trained_file(stage: str) -> str:
    """What a stage writes into its folder."""
    return {"teacher": "teacher.pt", "student": "student.pt", "qat": "student.int8.pt"}[stage]
