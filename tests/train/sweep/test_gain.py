"""UAR, gain and interval of arms, from results whose answer is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lupi.metrics.bootstrap import Interval
from edge_lupi.metrics.classification import uar
from edge_lupi.train.sweep.gain import Over, distance_to_teacher, summarise
from edge_lupi.train.sweep.report import table, write_summary
from edge_lupi.train.sweep.result import Result

LABELS = ("plain", "bright")
AGAINST = {"audio": "audio", "taught": "audio", "other": "audio"}


def results(rates: dict[str, float], speakers: int = 12) -> list[Result]:
    """Three seeds, two folds; an arm is right with its rate, and where a worse arm is right so is a better one."""
    found = []
    for seed in range(3):
        for fold in range(2):
            draw = np.random.default_rng([seed, fold])
            truth = np.arange(speakers * 10) % 2
            luck = draw.random(len(truth))
            for arm, rate in rates.items():
                said = np.where(luck < rate, truth, 1 - truth)
                names = [f"f{fold}u{n}" for n in range(len(truth))]
                who = [f"f{fold}s{n % speakers}" if speakers > 1 else "one" for n in range(len(truth))]
                found.append(
                    Result(
                        key=f"{arm} {fold} {seed}",
                        arm=arm,
                        stage="student",
                        fold=f"fold{fold}",
                        seed=seed,
                        labels=LABELS,
                        names=tuple(names),
                        speakers=tuple(who),
                        truth=tuple(truth.tolist()),
                        said={"clean": tuple(said.tolist())},
                        distance=None,
                        seconds=1.0,
                    )
                )
    return found


def test_the_figure_is_the_mean_over_seeds_of_all_folds_together() -> None:
    found = results({"audio": 0.6})
    row = summarise(found, AGAINST)["clean"]["audio"]
    by_seed = []
    for seed in range(3):
        truth = np.concatenate([r.truth for r in found if r.seed == seed])
        said = np.concatenate([r.said["clean"] for r in found if r.seed == seed])
        by_seed.append(uar(truth, said))
    assert row.by_seed == pytest.approx(by_seed)
    assert row.uar.value == pytest.approx(np.mean(by_seed))
    assert row.uar.low < row.uar.value < row.uar.high
    assert row.gain == Interval(0.0, 0.0, 0.0)
    assert row.utterances == 240


def test_a_paired_gain_is_seen_where_unpaired_intervals_overlap() -> None:
    arms = summarise(results({"audio": 0.60, "taught": 0.66}), AGAINST)["clean"]
    assert arms["taught"].uar.low < arms["audio"].uar.high
    assert 0.02 < arms["taught"].gain.low < 0.06 < arms["taught"].gain.high < 0.12


def test_no_gain_has_zero_inside() -> None:
    found = [*results({"audio": 0.6})]
    for r in results({"other": 0.6}):
        draw = np.random.default_rng([r.seed, 9])
        found.append(replace(r, said={"clean": tuple(draw.permutation(r.said["clean"]).tolist())}))
    gain = summarise(found, AGAINST)["clean"]["other"].gain
    assert gain.low < 0 < gain.high or abs(gain.value) > 0.05


def test_with_one_speaker_utterances_are_drawn() -> None:
    row = summarise(results({"audio": 0.6}, speakers=1), AGAINST)["clean"]["audio"]
    assert row.uar.low < row.uar.value < row.uar.high


@pytest.mark.filterwarnings("error")
def test_seeds_may_have_speakers_of_their_own() -> None:
    """As where validation speakers are drawn anew with every seed."""
    found = [
        replace(
            r,
            speakers=tuple(f"seed{r.seed}{who}" for who in r.speakers),
            names=tuple(f"seed{r.seed}{name}" for name in r.names),
        )
        for r in results({"audio": 0.6, "taught": 0.66})
    ]
    apart, together = summarise(found, AGAINST)["clean"], summarise(results({"audio": 0.6, "taught": 0.66}), AGAINST)
    for arm, row in apart.items():
        assert row.uar.value == pytest.approx(together["clean"][arm].uar.value)
        assert 0.5 < row.uar.low < row.uar.value < row.uar.high < 0.8
    assert 0.02 < apart["taught"].gain.low < 0.06 < apart["taught"].gain.high < 0.12


def test_pairs_of_arms_are_compared_as_gains_are() -> None:
    found = [
        replace(r, distance={"audio": None, "soft": 0.5, "taught": 0.6 - 0.1 * r.seed}[r.arm], teachers=("teacher",))
        for r in results({"audio": 0.5, "soft": 0.6, "taught": 0.66})
    ]
    summary = summarise(
        found, dict.fromkeys(("audio", "soft", "taught"), "audio"), [["taught", "soft"], ["taught", "gone"]]
    )
    against_soft = summarise(found, dict.fromkeys(("audio", "soft", "taught"), "soft"))["clean"]["taught"].gain
    assert summary["clean"]["soft"].over == {}
    assert summary["clean"]["taught"].over == {"soft": Over(against_soft, 2, 6)}
    assert f"| taught | soft | {100 * against_soft.value:+.1f} (" in table(summary)
    assert "| 2 of 6 |" in table(summary)

    found = [replace(r, teachers=(f"teacher of {r.arm}",)) for r in found]
    apart = summarise(found, dict.fromkeys(("audio", "soft", "taught"), "audio"), [["taught", "soft"]])
    assert apart["clean"]["taught"].over == {"soft": Over(against_soft)}, "to another teacher each"


def test_distance_is_in_the_teachers_own_spread() -> None:
    teacher = np.random.default_rng(0).normal(3, 2, (50, 4))
    scale = np.stack([teacher.mean(0), teacher.std(0)])
    assert distance_to_teacher(np.zeros((50, 4)), teacher, scale) == pytest.approx(1)
    assert distance_to_teacher((teacher - scale[0]) / scale[1], teacher, scale) == pytest.approx(0)
    assert distance_to_teacher(np.zeros((50, 5)), teacher, scale) is None


def test_the_summary_is_written_whole(tmp_path: Path) -> None:
    found = results({"audio": 0.6, "taught": 0.7})
    write_summary(summarise(found, AGAINST), found, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gain.png", "results.json", "table.md"]
    assert "| taught | 67.5 (" in table(summarise(found, AGAINST))
    assert (tmp_path / "gain.png").read_bytes().startswith(b"\x89PNG")
    whole = json.loads((tmp_path / "results.json").read_text())
    row = whole["summary"]["clean"]["taught"]
    assert list(row) == ["uar", "low", "high", "gain", "against", "over", "by_seed", "by_fold", "recall", "distance", "seeds", "folds", "utterances", "seconds"]  # fmt: skip
    assert list(row["gain"]) == ["value", "low", "high"]
    assert list(whole["trainings"][0]) == ["key", "arm", "stage", "fold", "seed", "labels", "names", "speakers", "truth", "said", "distance", "seconds", "teachers"]  # fmt: skip
