"""A teacher's view: the video of an utterance -> what its eye gets per segment, float32 [S, V] or uint8 [S, N, H, W]."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.data.faces import FACE_MODEL, face_model
from edge_lupi.data.sight import Sight
from edge_lupi.data.utterance import Utterance, Video
from edge_lupi.data.video import read_frames
from edge_lupi.disk import plain_array, read_bounded
from edge_lupi.errors import InputError
from edge_lupi.frames import Segmentation
from edge_lupi.models.faces import face_sight
from edge_lupi.models.teacher import TeacherConfig
from edge_lupi.settings import make

__all__ = ["as_seen", "same_faces", "sight_of_training", "video_of"]

LARGEST_FEATURES_BYTES = 1 << 28  # of a clip's video
BY_RECIPE = ("frame_size", "frames_per_second", "region", "face_model")


def sight_of_training(config: TeacherConfig, provenance: Provenance) -> Sight:
    """What a trained teacher was shown, by its file. Raises InputError where that says something impossible."""
    told = provenance.section("teacher")
    chosen = {key: told[key] for key in BY_RECIPE if key in told}
    content = {"kind": config.video, "segmentation": asdict(config.segmentation), **chosen}
    return make(Sight, content, "the trained file", "teacher.")


def same_faces(sight: Sight, provenance: Provenance, named: str) -> Sight:
    """The same, with the model of faces where it lies by now, if it is `named`. Raises InputError where it is another model."""
    moved = replace(sight, face_model=named or sight.face_model)
    if (digest := moved.face_digest()) and digest != provenance.faces:
        raise InputError(
            f"expected the model of faces that the teacher has learnt with, got another at {face_model(moved.face_model)}: name that one by teacher.face_model or {FACE_MODEL}"
        )
    return moved


def video_of(utterance: Utterance, segments: int, sight: Sight, speed: float = 1.0) -> Tensor:
    """What the eye gets per segment: features float32 [S, V], or frames uint8 [S, N, H, W]; at a speed that of the sound."""
    if sight.finds_faces:
        return face_sight(utterance, segments, sight, speed)
    video = utterance.video
    if video is None:
        raise InputError(
            f'expected video beside {utterance.name}, got none: set teacher.video = "none" or add it to the corpus'
        )
    if sight.kind == "frames":
        return _frames(utterance, video, segments, sight, speed)
    if video.is_raw:
        raise InputError(
            f'expected video features for {utterance.name}, got a file: set teacher.video = "face" or "frames"'
        )
    if video.path is not None:
        return _features(utterance, video, segments, sight.segmentation, speed)
    return torch.tensor(video.features, dtype=torch.float32).expand(segments, -1)


def as_seen(video: Tensor) -> Tensor:
    """What an eye takes: frames uint8 as float32 in [0, 1], features as they are."""
    return video.float() / 255 if video.dtype == torch.uint8 else video


def _features(utterance: Utterance, video: Video, segments: int, cut: Segmentation, speed: float) -> Tensor:
    """A .npy with features float [N, V] per frame -> their mean in every segment [S, V]; a short file's last row stands still."""
    assert video.path is not None
    try:
        packed = read_bounded(video.path, LARGEST_FEATURES_BYTES, "features float [N, V]")
        rows = plain_array(packed).astype(np.float32)
    except ValueError as error:
        raise InputError(f"expected features float [N, V] in {video.path}, got something else ({error})") from error
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise InputError(f"expected finite features float [N, V] in {video.path}, got shape {rows.shape} or NaN")
    fps = video.frames_per_second
    starts = [round((utterance.start_seconds + s * cut.hop_seconds * speed) * fps) for s in range(segments)]
    length = max(1, round(cut.seconds * speed * fps))
    return torch.from_numpy(np.stack([rows[min(s, len(rows) - 1) : s + length].mean(0) for s in starts]))


def _frames(utterance: Utterance, video: Video, segments: int, sight: Sight, speed: float) -> Tensor:
    if video.path is None or not video.is_raw:
        raise InputError(f'expected a video file for {utterance.name}, got features: set teacher.video = "features"')
    per_segment, fps, starts = sight.segment_frames, sight.frames_per_second, sight.starts(range(segments))
    seconds = (starts[-1] + per_segment) / fps * speed
    frames = read_frames(
        video.path,
        start_seconds=utterance.start_seconds,
        end_seconds=utterance.start_seconds + seconds,
        size=sight.frame_size,
        fps=fps / speed,
        region=sight.region,
    )
    return torch.from_numpy(np.stack([frames[start : start + per_segment] for start in starts]))
