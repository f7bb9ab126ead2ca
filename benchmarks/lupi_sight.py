"""Does sight itself help a student that only hears? Many small trainings in one process, as lupi_sight_plan.md says. -> JSON.

    python train/sight_outputs.py $EDGE_LUPI_DATA/ravdess_av runs/sight_outputs.npz
    python benchmarks/lupi_sight.py train --until 13:48          # whole seeds, taken up again after a kill; shows no figures
    python benchmarks/lupi_sight.py report                       # results/lupi_sight.json, lupi_sight.md and its plot
    python benchmarks/lupi_sight.py train --validation --seeds 1 # to choose by: speakers inside the training part

The recipe is train/emotion_sight.toml. What makes it cheap: all networks of a fold and seed learn side by side from the
same crops, which are drawn and disturbed once; the convolutions run in bfloat16; courses are shorter (EPOCHS).
"""

import argparse
import datetime
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch
from lupi_power import by_actor, crossed, gains
from matplotlib import pyplot
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.models.encoder import Encoder
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.models.teacher import Teacher, TeacherConfig
from edge_lupi.train.distil.embeddings import standardise
from edge_lupi.train.examples.augment import add_noise, disturb, mask, warp
from edge_lupi.train.examples.batch import Batch
from edge_lupi.train.examples.clips import Example, load_examples, segments_of, shuffled
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.epochs import Epochs, epoch_seed
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import AugmentRecipe, Recipe, load_recipe

HERE = Path(__file__).parent
RECIPE = HERE.parent / "train" / "emotion_sight.toml"
EPOCHS = {"teacher": 8, "student": 12}
FOLDS = 5
COLUMNS, HOP = 10, 50 / 16  # of a segment of 150 frames after the convolutions, and between two
CHUNK = 256  # segments that are embedded at once
TAUGHT_BY = {
    "audio": None,
    "heard": "heard",
    "true": "true",
    "shuffled": "shuffled",
    "weighted": "true",
    "weighted-shuffled": "shuffled",
}
WORDS = {
    "audio": "labels alone",
    "heard": "embeddings of a teacher that only hears",
    "true": "embeddings of a teacher that sees",
    "shuffled": "embeddings of a teacher that was shown other clips' video",
    "weighted": "of a teacher that sees, weighted by where sight knew better",
    "weighted-shuffled": "of a teacher that was shown other clips' video, weighted alike",
}
PAIRS = (
    "true/shuffled",
    "weighted/weighted-shuffled",
    "true/heard",
    "weighted/heard",
    "heard/audio",
    "true/audio",
    "weighted/true",
)
WEIGHTED_BY = {"weighted": "seen", "weighted-shuffled": "shuffled"}  # arrays of sight_outputs.npz
EXTRA = 1.0  # of the weight that clips have, where sight knew better


@dataclass(frozen=True)
class Known:
    """Of a teacher: segment embeddings [sum S, D], where each clip's begin [N + 1], utterance embeddings [N, D]; weights [N]."""

    segments: Tensor
    starts: Tensor
    utterances: Tensor
    weights: Tensor

    def of(self, batch: Batch, count: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = list(batch.examples)
        first = self.starts[rows] + torch.tensor(batch.firsts)
        return self.segments[first[:, None] + torch.arange(count)], self.utterances[rows], self.weights[rows]


def encode(encoder: Encoder, squares: Tensor) -> Tensor:
    """`Encoder.forward` with its convolutions in bfloat16: squares [B, 4, 40, F / 2] -> [B, D]."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = encoder.blocks(encoder.stem(squares))
    return pooled_of(encoder, x.float())


def encode_crops(encoder: Encoder, squares: Tensor, count: int) -> Tensor:
    """The same of crops of `count` segments, whose convolutions go over what segments share once: -> [B * S, D]."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = encoder.blocks(encoder.stem(squares)).float()
    windows = torch.stack([x[..., round(HOP * n) : round(HOP * n) + COLUMNS] for n in range(count)], 1)
    return pooled_of(encoder, windows.flatten(0, 1))


def pooled_of(encoder: Encoder, x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, D]."""
    mean = x.mean(3, keepdim=True)
    deviation = ((x - mean).square().mean(3, keepdim=True) + 1e-5).sqrt()
    pooled = torch.cat([mean, deviation], 1).flatten(1)[:, :, None, None]
    return encoder.norm(encoder.project(pooled)).flatten(1)


def squares_of(segments: Tensor) -> Tensor:
    """Segments [B, 80, 1, F] as an encoder's stem takes them, bfloat16 [B, 4, 40, F / 2]."""
    entered = torch.relu(segments.transpose(1, 2) - math.log(1e-6))
    return F.pixel_unshuffle(entered, 2).contiguous(memory_format=torch.channels_last).bfloat16()


def hear(net: nn.Module, squares: Tensor, count: int, video: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Segment embeddings [B, S, D], utterance embeddings [B, D] and scores [B, C] of a teacher or student."""
    if isinstance(net, Student):
        embeddings, branch = encode_crops(net.encoder, squares, count), net.branch()
    else:
        senses = [encode_crops(net.ear, squares, count)]
        if net.eye is not None:
            senses.append(net.eye(video.flatten(0, 1)))
        sensed = torch.cat([scale(sense) for scale, sense in zip(net.scale, senses, strict=True)], 1)
        embeddings, branch = net.fuse(sensed), net.branch
    embeddings = embeddings.unflatten(0, (-1, count))
    utterance = branch.aggregator(embeddings)
    return embeddings, utterance, branch.header(utterance)


def disturbed(frames: Tensor, recipe: AugmentRecipe, draw: Draw) -> Tensor:
    """Crops [B, 80, 1, F] as a training step hears them: the recipe's warp, noise, level and masks; noise is drawn for those that get it."""
    frames = warp(frames, recipe, draw)
    (noisy,) = torch.where(draw.uniform(len(frames)) < recipe.noise_share)
    if len(noisy):
        low, high = recipe.snr_db
        frames[noisy] = add_noise(frames[noisy], low + (high - low) * draw.uniform(len(noisy)), draw)
    quiet = replace(recipe, noise_share=0.0)
    return mask(disturb(frames, quiet, draw), recipe, draw)


Loss = Callable[[nn.Module, Tensor, int, Batch], Tensor]


def fit(nets: dict[str, nn.Module], loss: dict[str, Loss], examples: list[Example], recipe: Recipe, stage: str) -> None:
    """Train all in place, side by side: the same crops, disturbed alike, in the same order."""
    course = replace(getattr(recipe, stage), epochs=EPOCHS[stage])
    epochs = Epochs(examples, recipe.segments, course.batch, recipe.seed)
    learners = {}
    for name, net in nets.items():
        net.to(memory_format=torch.channels_last).train()
        flat, others = [[p for p in net.parameters() if (p.ndim > 1) == many] for many in (True, False)]
        groups = [{"params": flat, "weight_decay": course.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=course.rate, eps=1e-6, fused=True)
        total = course.epochs * epochs.steps + 1
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate, total_steps=total, pct_start=0.1)
        learners[name] = (optimiser, schedule)
    for epoch in range(course.epochs):
        draw = Draw(epoch_seed(recipe.seed, epoch))
        for step, batch in enumerate(epochs(epoch)):
            frames = disturbed(batch.frames, recipe.augment, draw)
            squares, count = squares_of(frames), recipe.segments.segmentation.count(recipe.segments.crop_frames)
            for name, net in nets.items():
                torch.manual_seed(epoch_seed(recipe.seed, epoch) * 1000 + step)  # dropout, alike in all
                optimiser, schedule = learners[name]
                optimiser.zero_grad()
                loss[name](net, squares, count, batch).backward()
                nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                optimiser.step()
                schedule.step()
    for net in nets.values():
        net.eval()


@torch.no_grad()
def heard_of(net: nn.Module, clips: Sequence[Example], videos: Sequence[Tensor] | None, recipe: Recipe) -> list[Tensor]:
    """Of whole clips: segment embeddings [sum S, D], utterance embeddings [N, D] and scores [N, C]."""
    segments = torch.cat([segments_of(clip.frames, recipe.segments.segmentation)[0] for clip in clips])
    seen = None if videos is None else torch.cat(list(videos))
    encoder = net.encoder if isinstance(net, Student) else net.ear
    made = []
    for rows in torch.arange(len(segments)).split(CHUNK):
        sense = encode(encoder, squares_of(segments[rows]))
        if isinstance(net, Teacher):
            senses = [sense, *([net.eye(seen[rows])] if net.eye is not None else [])]
            sense = net.fuse(torch.cat([scale(s) for scale, s in zip(net.scale, senses, strict=True)], 1))
        made.append(sense)
    every = torch.cat(made)
    branch = net.branch() if isinstance(net, Student) else net.branch
    utterances = torch.cat([branch.aggregator(own[None]) for own in every.split([clip.segments for clip in clips])])
    return [every, utterances, branch.header(utterances)]


def known_of(net: Teacher, examples: list[Example], videos: Sequence[Tensor] | None, recipe: Recipe) -> Known:
    """A teacher's embeddings of the training clips, standardised over them."""
    segments, utterances, _ = heard_of(net, examples, videos, recipe)
    scaled = [standardise(v, torch.stack([v.mean(0), v.std(0).clamp_min(1e-4)])) for v in (segments, utterances)]
    starts = torch.tensor([0, *(e.segments for e in examples)]).cumsum(0)
    return Known(scaled[0], starts, scaled[1], torch.ones(len(examples)))


def teacher_loss(videos: Sequence[Tensor] | None) -> Loss:
    def loss(net: nn.Module, squares: Tensor, count: int, batch: Batch) -> Tensor:
        video = None if videos is None else torch.stack([videos[row][:count] for row in batch.examples])
        return F.cross_entropy(hear(net, squares, count, video)[2], batch.labels)

    return loss


def student_loss(known: Known | None, recipe: Recipe) -> Loss:
    def loss(net: nn.Module, squares: Tensor, count: int, batch: Batch) -> Tensor:
        embeddings, utterance, scores = hear(net, squares, count, None)
        label = F.cross_entropy(scores, batch.labels, label_smoothing=recipe.student.smoothing)
        if known is None:
            return label
        wanted, whole, weight = known.of(batch, count)
        far = (embeddings - wanted).square().mean((1, 2)), (utterance - whole).square().mean(1)
        return label + (weight * (recipe.distil.encoder * far[0] + recipe.distil.aggregator * far[1])).mean()

    return loss


def knew_better(outputs: Path, fold: int, examples: list[Example], sight: str) -> Tensor:
    """Weights [N], of mean 1: more where classifiers that do not know the speaker are right with `sight`, not by ear alone."""
    kept = np.load(outputs)
    place = {name: row for row, name in enumerate(kept["clip"].tolist())}
    rows, labels = [place[e.name] for e in examples], torch.tensor([e.label for e in examples])[:, None]
    right = {
        kind: torch.from_numpy(kept[kind][fold, rows]).softmax(1).gather(1, labels)[:, 0] for kind in (sight, "heard")
    }
    better = torch.relu(right[sight] - right["heard"])
    weights = 1 + EXTRA * better / better.mean()
    return weights / weights.mean()


def one_fold(recipe: Recipe, prepared: Prepared, fold: int, arms: Sequence[str], outputs: Path, tested: list) -> dict:
    """Teachers, then students; what every student says of the tested clips."""
    began = time.monotonic()
    examples = load_examples(prepared.split.train, prepared.classes, recipe, video="features")
    videos = {
        "true": [e.video for e in examples],
        "shuffled": [e.video for e in shuffled(examples, recipe.seed)],
        "heard": None,
    }
    wanted = {TAUGHT_BY[arm] for arm in arms} - {None}
    teachers = {name: make_teacher(recipe, prepared, videos[name]) for name in videos if name in wanted}
    fit(teachers, {n: teacher_loss(videos[n]) for n in teachers}, examples, recipe, "teacher")
    told = {n: known_of(net, examples, videos[n], recipe) for n, net in teachers.items()}
    known: dict[str, Known | None] = {arm: told.get(TAUGHT_BY[arm] or "") for arm in arms}
    for arm, sight in WEIGHTED_BY.items():
        if known.get(arm):
            known[arm] = replace(known[arm], weights=knew_better(outputs, fold, examples, sight))
    taught = time.monotonic() - began
    students = {arm: make_student(recipe, prepared) for arm in arms}
    fit(students, {a: student_loss(known[a], recipe) for a in arms}, examples, recipe, "student")
    clips = load_examples(tested, prepared.classes, recipe)
    said = {arm: heard_of(net, clips, None, recipe)[2].argmax(1).tolist() for arm, net in students.items()}
    trainings = [
        {
            "arm": arm,
            "fold": f"fold{fold}",
            "seed": recipe.seed,
            "names": [u.name for u in tested],
            "speakers": [u.speaker for u in tested],
            "truth": [clip.label for clip in clips],
            "said": {"clean": said[arm]},
        }
        for arm in arms
    ]
    return {"seconds": [taught, time.monotonic() - began], "trainings": trainings}


def make_teacher(recipe: Recipe, prepared: Prepared, videos: Sequence[Tensor] | None) -> Teacher:
    torch.manual_seed(recipe.seed)
    cutting = recipe.segments
    kind, width = ("none", 0) if videos is None else ("features", videos[0].shape[1])
    config = TeacherConfig(recipe.teacher.size, cutting.setting, cutting.segmentation, prepared.task, kind, width)
    teacher = Teacher(config)
    if videos is not None:
        teacher.eye.standardise(torch.cat([video[:1] for video in videos]))
    return teacher


def make_student(recipe: Recipe, prepared: Prepared) -> Student:
    torch.manual_seed(recipe.seed)
    cutting = recipe.segments
    return Student(StudentConfig(recipe.student.size, cutting.setting, cutting.segmentation, (prepared.task,)))


def train(asked: argparse.Namespace) -> None:
    """Every fold of every seed that is not there yet."""
    torch.set_num_threads(1)
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for fold in asked.folds:
            path = asked.out / f"seed{seed}" / f"fold{fold}.json"
            if path.exists():
                continue
            if asked.until and datetime.datetime.now().strftime("%H:%M") >= asked.until:
                return
            changes = [f"seed={seed}", f'data.test="fold{fold}"']
            changes += ["data.validation_speakers=0.25"] if asked.validation else []
            recipe = load_recipe(RECIPE, changes)
            prepared = prepare(recipe)
            tested = prepared.split.validation if asked.validation else prepared.split.test
            found = one_fold(recipe, prepared, fold, asked.arms.split(","), asked.outputs, tested)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text(json.dumps(found))
            path.with_suffix(".new").rename(path)
            print(
                f"{datetime.datetime.now():%H:%M:%S}  seed {seed} fold {fold}  {found['seconds'][0]:.0f} s of teachers, {found['seconds'][1]:.0f} s in all",
                flush=True,
            )


def kept_trainings(folder: Path) -> list[dict]:
    """Of every seed of which all folds are done."""
    found = []
    for place in sorted(folder.glob("seed*")):
        paths = [place / f"fold{fold}.json" for fold in range(FOLDS)]
        if all(path.exists() for path in paths):
            found += [training for path in paths for training in json.loads(path.read_text())["trainings"]]
    return found


def report(asked: argparse.Namespace) -> None:
    """Tables, figures and a picture."""
    trainings = kept_trainings(asked.out)
    if not trainings:
        raise SystemExit(f"expected a seed with all its folds in {asked.out}, got none: train first")
    of = {arm: [t for t in trainings if t["arm"] == arm] for arm in TAUGHT_BY}
    arms = {arm: arm_row(mine) for arm, mine in of.items() if mine}
    pairs = {pair: pair_row(trainings, *pair.split("/")) for pair in PAIRS if set(pair.split("/")) <= set(arms)}
    results = HERE / "results"
    kept = {"epochs": EPOCHS, "trainings": len(trainings), "arms": arms, "pairs": pairs}
    (results / "lupi_sight.json").write_text(json.dumps(kept) + "\n")
    (results / "lupi_sight.md").write_text("\n".join(page(arms, pairs, len(trainings))))
    plot(pairs, results / "lupi_sight.png")
    print("\n".join(page(arms, pairs, len(trainings))))


def arm_row(mine: list[dict]) -> dict:
    """UAR of an arm in %: mean, of every seed, fold and actor."""
    seeds, folds = sorted({t["seed"] for t in mine}), sorted({t["fold"] for t in mine})
    uar = {(t["seed"], t["fold"]): recall(t) for t in mine}
    actors = [by_actor([t for t in mine if t["seed"] == seed]) for seed in seeds]
    return {
        "uar": float(np.mean(list(uar.values()))),
        "by_seed": {str(s): float(np.mean([uar[s, f] for f in folds])) for s in seeds},
        "by_fold": {f: float(np.mean([uar[s, f] for s in seeds])) for f in folds},
        "by_actor": {a: float(np.mean([row[a] for row in actors])) for a in actors[0]},
    }


def recall(training: dict) -> float:
    """UAR of one training, %."""
    truth, said = np.array(training["truth"]), np.array(training["said"]["clean"])
    return 100 * float(np.mean([(said[truth == label] == label).mean() for label in np.unique(truth)]))


def pair_row(trainings: list[dict], one: str, other: str) -> dict:
    """The gain of one arm over another, in points: its interval for other actors and other seeds, and how it spreads."""
    table = gains(trainings, one, other)
    mean, low, high, p, spread = crossed(table)
    return {
        "gain": mean,
        "low": low,
        "high": high,
        "p": p,
        "sd": [spread.actor, spread.seed, spread.rest],
        "by_seed": table.mean(0).tolist(),
        "by_actor": table.mean(1).tolist(),
        "table": table.round(3).tolist(),
    }


def page(arms: dict, pairs: dict, count: int) -> list[str]:
    """lupi_sight.md."""
    seeds = sorted(int(s) for s in next(iter(arms.values()))["by_seed"])
    lines = [
        "# lupi_sight",
        "",
        f"RAVDESS, 8 emotions, five subject folds, 24 actors, seeds {seeds[0]} to {seeds[-1]} ({len(seeds)}), {count} students of"
        f" 0.20 M parameters, {EPOCHS['student']} epochs, under teachers of {EPOCHS['teacher']}."
        " What was to be run and said stands in [lupi_sight_plan.md](../lupi_sight_plan.md).",
        "",
        "| arm | UAR, % | by fold | sd of a seed |",
        "|---|---|---|---|",
    ]
    for arm, row in arms.items():
        folds = " ".join(f"{value:.1f}" for value in row["by_fold"].values())
        lines.append(
            f"| {WORDS[arm]} | {row['uar']:.1f} | {folds} | {np.std(list(row['by_seed'].values()), ddof=1):.1f} |"
        )
    lines += [
        "",
        "| pair | gain, points (95 %, other actors and other seeds) | p | seeds above 0 | actors above 0 | sd: actor, seed, rest |",
        "|---|---|---|---|---|---|",
    ]
    for pair, row in pairs.items():
        one, other = pair.split("/")
        above = [f"{sum(gain > 0 for gain in row[by])} of {len(row[by])}" for by in ("by_seed", "by_actor")]
        spread = ", ".join(f"{value:.1f}" for value in row["sd"])
        lines.append(
            f"| {one} less {other} | {row['gain']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f}) | {row['p']:.3f}"
            f" | {above[0]} | {above[1]} | {spread} |"
        )
    return [
        *lines,
        "",
        verdict(pairs[PAIRS[0]]),
        "",
        "![gains](lupi_sight.png)",
        "",
        "    python benchmarks/lupi_sight.py report",
        "",
    ]


def verdict(row: dict) -> str:
    """What the plan says is said of the one comparison that counts."""
    gain, bounds = f"{row['gain']:+.1f} points", f"({row['low']:+.1f} to {row['high']:+.1f})"
    if row["low"] > 0:
        return f"Sight itself helps, by {gain} {bounds}, on these terms."
    if row["high"] < 0:
        return f"Sight harms, by {gain} {bounds}, on these terms."
    return f"That sight itself helps is not shown: {gain}, and {bounds} bounds what it can be worth here."


def plot(pairs: dict, path: Path) -> None:
    """Every pair's interval, over dots that are its seeds."""
    figure, axis = pyplot.subplots(figsize=(7, 0.55 * len(pairs) + 1))
    for place, row in enumerate(pairs.values()):
        axis.plot(row["by_seed"], [place] * len(row["by_seed"]), "o", color="lightgrey", markersize=4)
        axis.errorbar(
            row["gain"], place, xerr=[[row["gain"] - row["low"]], [row["high"] - row["gain"]]], fmt="ko", capsize=3
        )
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_yticks(range(len(pairs)), [pair.replace("/", " less ") for pair in pairs])
    axis.invert_yaxis()
    axis.set_xlabel("gain in UAR, points (95 %; grey: seeds)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("train", "report"))
    parser.add_argument("--out", type=Path, default=Path("runs/lupi_sight"))
    parser.add_argument("--outputs", type=Path, default=Path("runs/sight_outputs.npz"))
    parser.add_argument("--arms", default="audio,heard,true,shuffled")
    parser.add_argument("--first-seed", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--folds", type=lambda text: [int(n) for n in text.split(",")], default=list(range(FOLDS)))
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--until", default="")
    asked = parser.parse_args()
    (train if asked.verb == "train" else report)(asked)


if __name__ == "__main__":
    main()
