"""How many trainings would show that sight itself helps? Variance of the gain split into actors, seeds and trainings.

    python benchmarks/lupi_power.py                                  # from results/lupi_gain.json and lupi_variants.json
    python benchmarks/lupi_power.py --results runs/emotion_sight --pairs true/shuffled,true/heard

A gain is a difference of two students, in points of UAR: d[actor, seed] = gain + actor + seed + the rest (training and the
60 clips of an actor). Actors and seeds are both drawn, and crossed, so the variance of the mean over n actors and s seeds is

    actor / n + seed / s + rest / (n s)

and its unbiased estimate (MS actors + MS seeds - MS rest) / (n s): Cornfield and Tukey 1956, with Satterthwaite's degrees
of freedom. The pigeonhole bootstrap of the tables counts the rest up to three times (Owen 2007): it is safe, and blunt.
The kept summaries have no actors, but a fold's gain with seed 0 and with all seeds: how much these differ is the rest, of
the 4.8 actors of a fold; what the folds differ beyond it are actors.
"""

import argparse
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

HERE = Path(__file__).parent / "results"
STUDENTS = ("audio", "embed-mse", "soft", "shuffled")
ACTORS, FOLDS = 24, 5
WANTED = 1.4  # points: true less shuffled video, as it was found
POWER = 0.8
TRIALS = 1000
TRIED = (*range(4, 24, 2), 24, 32, 48, 64, 100)


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a gain, in points: between actors, between seeds, and of one actor with one seed."""

    actor: float
    seed: float
    rest: float

    def error(self, seeds: float, actors: int = ACTORS) -> float:
        """Standard error of the mean over so many."""
        return float(np.sqrt(self.actor**2 / actors + self.seed**2 / seeds + self.rest**2 / (actors * seeds)))

    def blunt_error(self, seeds: float, actors: int = ACTORS) -> float:
        """What the pigeonhole bootstrap takes it for."""
        return float(np.sqrt(self.actor**2 / actors + self.seed**2 / seeds + 3 * self.rest**2 / (actors * seeds)))


def power(spread: Spread, seeds: int, effect: float = WANTED) -> float:
    """Chance that the 95 % interval lies above zero: that of the test itself, tried on drawn gains."""
    draw = np.random.default_rng(seeds)
    found = 0
    for _ in range(TRIALS):
        by_actor, by_seed = draw.normal(0, spread.actor, (ACTORS, 1)), draw.normal(0, spread.seed, (1, seeds))
        found += crossed(effect + by_actor + by_seed + draw.normal(0, spread.rest, (ACTORS, seeds)))[1] > 0
    return found / TRIALS


def kept_spread(pairs: list[tuple[str, str]]) -> Spread:
    """Of one pair, or pooled over several, from the summaries that were kept."""
    whole = json.loads((HERE / "lupi_gain.json").read_text())
    first = json.loads((HERE / "lupi_variants.json").read_text())
    seeds = len(whole["audio"]["seeds"])
    rest, actor, seed = [], [], []
    for one, other in pairs:
        mean, early = (
            np.array([100 * (t[one]["by_fold"][f] - t[other]["by_fold"][f]) for f in t[one]["by_fold"]])
            for t in (whole, first)
        )
        later = (seeds * mean - early) / (seeds - 1)
        fold = np.var(early - later, ddof=1) / (1 + 1 / (seeds - 1))  # variance of a fold's gain with one seed
        rest.append(fold * ACTORS / FOLDS)
        actor.append((np.var(mean, ddof=1) - fold / seeds) * ACTORS / FOLDS)
        by_seed = 100 * (np.array(whole[one]["by_seed"]) - np.array(whole[other]["by_seed"]))
        seed.append(np.var(by_seed, ddof=1) - fold / FOLDS)
    return Spread(*(float(np.sqrt(max(0.0, np.mean(values)))) for values in (actor, seed, rest)))


def gains(trainings: list[dict], one: str, other: str) -> np.ndarray:
    """UAR of one arm less another's, in points [actors, seeds], over those seeds that both have on every fold."""
    seeds = sorted({training["seed"] for training in trainings})
    tables = [
        [by_actor([t for t in trainings if t["arm"] == arm and t["seed"] == seed]) for seed in seeds]
        for arm in (one, other)
    ]
    actors = sorted({speaker for training in trainings for speaker in training["speakers"]})
    whole = [n for n in range(len(seeds)) if all(len(table[n]) == len(actors) for table in tables)]
    return np.array([[tables[0][n][actor] - tables[1][n][actor] for n in whole] for actor in actors])


def by_actor(trainings: list[dict]) -> dict[str, float]:
    """UAR of every actor who is tested in these trainings, %."""
    found: dict[str, dict[int, list[bool]]] = {}
    for training in trainings:
        for actor, truth, said in zip(training["speakers"], training["truth"], training["said"]["clean"], strict=True):
            found.setdefault(actor, {}).setdefault(truth, []).append(truth == said)
    return {
        actor: 100 * float(np.mean([np.mean(hits) for hits in classes.values()])) for actor, classes in found.items()
    }


def crossed(table: np.ndarray) -> tuple[float, float, float, float, Spread]:
    """Mean of gains [actors, seeds], its 95 % interval, two-sided p, and how they spread."""
    actors, seeds = table.shape
    mean = float(table.mean())
    rows, columns = table.mean(1), table.mean(0)
    rest = table - rows[:, None] - columns[None] + mean
    squares = np.array(
        [seeds * np.var(rows, ddof=1), actors * np.var(columns, ddof=1), (rest**2).sum() / ((actors - 1) * (seeds - 1))]
    )
    free = np.array([actors - 1, seeds - 1, (actors - 1) * (seeds - 1)])
    total = max(squares[0] + squares[1] - squares[2], squares[2])  # a negative component counts as none
    freedom = max(1.0, total**2 / float((squares**2 / free).sum()))
    error = float(np.sqrt(total / (actors * seeds)))
    reach = float(stats.t.ppf(0.975, freedom)) * error
    spread = Spread(
        *(
            float(np.sqrt(max(0.0, v)))
            for v in ((squares[0] - squares[2]) / seeds, (squares[1] - squares[2]) / actors, squares[2])
        )
    )
    return mean, mean - reach, mean + reach, float(2 * stats.t.sf(abs(mean) / error, freedom)), spread


def seeds_needed(spread: Spread) -> str:
    """How many seeds of five folds show +1.4 points with a power of 80 %."""
    return next((str(seeds) for seeds in TRIED if power(spread, seeds) >= POWER), f"not with {TRIED[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path)
    parser.add_argument("--pairs", default="true/shuffled")
    asked = parser.parse_args()
    lines = measured(asked.results, asked.pairs) if asked.results else estimated()
    print("\n".join(lines))


def measured(folder: Path, pairs: str) -> list[str]:
    """Tables of what a sweep has done so far: every arm, and the pairs over the seeds of which both arms have every fold."""
    trainings = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*/result.json"))]
    lines = ["| arm | trainings | UAR, % |", "|---|---|---|"]
    for arm in dict.fromkeys(training["arm"] for training in trainings):
        found = [np.mean(list(by_actor([t]).values())) for t in trainings if t["arm"] == arm]
        lines.append(f"| {arm} | {len(found)} | {np.mean(found):.1f} |")
    lines += [
        "",
        "| pair | seeds | gain, points (95 %) | p | sd: actor, seed, rest | seeds for +1.4 |",
        "|---|---|---|---|---|---|",
    ]
    for one, other in (pair.split("/") for pair in pairs.split(",")):
        table = gains(trainings, one, other)
        if min(table.shape) < 2:
            continue  # not two seeds yet
        mean, low, high, p, s = crossed(table)
        lines.append(
            f"| {one} less {other} | {table.shape[1]} | {mean:+.2f} ({low:+.2f} to {high:+.2f}) | {p:.3f} "
            f"| {s.actor:.1f}, {s.seed:.1f}, {s.rest:.1f} | {seeds_needed(s)} |"
        )
    return lines


def estimated() -> list[str]:
    all_pairs = list(itertools.combinations(STUDENTS, 2))
    rows = {
        "true less shuffled": kept_spread([("embed-mse", "shuffled")]),
        "six pairs of students, pooled": kept_spread(all_pairs),
    }
    pooled = rows["six pairs of students, pooled"]
    rows |= {f"pooled, actors differing by {a:g}": Spread(a, pooled.seed, pooled.rest) for a in (2.0, 3.0)}
    lines = [
        "| spread from | sd: actor, seed, rest | seeds x 5 folds for +1.4 | power with 3, 8, 16 seeds | smallest gain that 8 seeds show |",
        "|---|---|---|---|---|",
    ]
    for name, s in rows.items():
        shown = next(effect for effect in np.arange(1.4, 10, 0.2) if power(s, 8, effect) >= POWER)
        lines.append(
            f"| {name} | {s.actor:.1f}, {s.seed:.1f}, {s.rest:.1f} | {seeds_needed(s)} "
            f"| {', '.join(f'{100 * power(s, n):.0f} %' for n in (3, 8, 16))} | {shown:.1f} |"
        )
    three = rows["true less shuffled"]
    lines += [
        "",
        f"Standard error of true less shuffled with 3 seeds: {three.error(3):.2f} points, as the pigeonhole bootstrap sees it {three.blunt_error(3):.2f} (its interval of -0.8 to +3.7 says 1.15).",
    ]
    return lines


if __name__ == "__main__":
    main()
