"""Sharding: a recipe's corpus is cut into shards of log-mel, video and a little sound, once, for trainings that read from disk.

Which utterance lies in which shard is known before anything is read: several processes cut several shards, and what a
kill interrupted goes on with the shards that are not finished. An utterance that cannot be read is left out, and the
shard's table says why.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_lupi.data.digest import file_digest
from edge_lupi.data.shards import (
    COLUMNS,
    FORMAT,
    LOG_MEL,
    VERSION,
    Shards,
    array_bytes,
    open_shards,
    read_json,
    shard_path,
    speech_path,
    table_path,
    write_json,
)
from edge_lupi.data.speech import read_speech
from edge_lupi.data.utterance import Utterance
from edge_lupi.disk import clear_left_overs, kind_of, write_at_once, written_at_once
from edge_lupi.errors import InputError
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.models.teacher import FEATURES
from edge_lupi.train.examples.clips import Example, forget_sound, load_examples
from edge_lupi.train.examples.cut_settings import cut_settings
from edge_lupi.train.examples.keep import keeping
from edge_lupi.train.examples.prepared import Prepared
from edge_lupi.train.recipe import Recipe

__all__ = ["cut_shards"]

log = logging.getLogger(__name__)

SPEECH_PIECES = 10  # of training sound that are kept
VALIDATION_PIECES = 500
PIECE_SECONDS = 20  # at most, of each


@dataclass(frozen=True)
class _Work:
    """What every process that cuts must know."""

    recipe: Recipe
    classes: tuple[str, ...]
    speakers: tuple[str, ...]
    folder: Path
    fingerprint: str


def cut_shards(recipe: Recipe, prepared: Prepared, folder: Path, *, size: int = 1000, processes: int = 1) -> Shards:
    """Cut the training side into shards of up to `size` utterances, and open them."""
    prepared = prepared.in_memory("cutting it into shards")
    train = prepared.split.train
    mixed = [train[i] for i in np.random.default_rng(0).permutation(len(train))]
    shards = -(-len(mixed) // size)
    parts = [mixed[number::shards] for number in range(shards)]
    speakers = tuple(sorted({u.speaker for u in train if u.speaker}))
    work = _Work(recipe, prepared.classes, speakers, folder, _fingerprint(recipe, prepared, parts))
    with keeping(folder):
        folder.mkdir(exist_ok=True)
        left = [number for number in range(shards) if not _is_done(work, number)]
        began = time.monotonic()
        for done, _ in enumerate(_cut(work, parts, left, processes), 1):
            _say(shards - len(left) + done, shards, (time.monotonic() - began) / done * (len(left) - done))
        _write_index(work, prepared, shards)
    return open_shards(folder)


def _fingerprint(recipe: Recipe, prepared: Prepared, parts: Sequence[Sequence[Utterance]]) -> str:
    content = [
        VERSION,
        cut_settings(recipe),
        prepared.classes,
        [[_identity(u) for u in part] for part in parts],
        [u.name for u in prepared.split.validation],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _identity(utterance: Utterance) -> list[Any]:
    """Of its files only size and time of change: to read a large corpus twice would double the time of cutting it."""
    u, video = utterance, utterance.video
    files = [file for file in (u.audio, video and video.path) if file]
    seen = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, files)]
    return [u.name, u.label, u.speaker, u.start_seconds, u.end_seconds, video and video.features, seen]


def _say(done: int, count: int, seconds_left: float) -> None:
    log.info(f"shard {done}/{count}  {seconds_left / 60:.1f} min left")


def _is_done(work: _Work, number: int) -> bool:
    table, tar = table_path(work.folder, number), shard_path(work.folder, number)
    if kind_of(table) == "nothing":
        return False
    content = read_json(table)
    if content.get("fingerprint") != work.fingerprint:
        raise InputError(
            f"expected no shards of another recipe or corpus in {work.folder}, got some: choose another folder, or remove them",
            options=("out",),
        )
    return kind_of(tar) == "file" and tar.stat().st_size == content.get("bytes")


def _cut(work: _Work, parts: Sequence[Sequence[Utterance]], left: Sequence[int], processes: int) -> Iterator[None]:
    """Cut the shards that are left, and tell of each."""
    if processes == 1:
        for number in left:
            _cut_shard(work, number, parts[number])
            yield
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        try:
            for done in as_completed([pool.submit(_cut_shard, work, number, parts[number]) for number in left]):
                done.result()
                yield
        except BrokenProcessPool as error:
            raise InputError(
                "a process that cuts was killed, perhaps for memory: begin again with fewer processes",
                options=("processes",),
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _cut_shard(work: _Work, number: int, utterances: Sequence[Utterance]) -> None:
    """Write one shard, and then its table."""
    table = _packed(work, shard_path(work.folder, number), utterances)
    write_json(table_path(work.folder, number), {"fingerprint": work.fingerprint, **table})


def _packed(work: _Work, path: Path, utterances: Sequence[Utterance]) -> dict[str, object]:
    """Write a tar; gives its table."""
    from webdataset import TarWriter

    names: list[str] = []
    rows: list[list[int]] = []
    left_out: dict[str, str] = {}
    video: NDArray[Any] | None = None
    with written_at_once(path) as file, TarWriter(file, encoder=False, mtime=0) as writer:
        for example in _examples(work, utterances, left_out):
            video = _video(example, work.recipe)
            writer.write({"__key__": f"{len(rows):06d}", **_members(example, video)})
            speaker = -1 if example.speaker is None else work.speakers.index(example.speaker)
            names.append(example.name)
            rows.append([example.label, speaker, len(example.frames), 0, 0 if video is None else len(video), 0])
    _place(path, rows)
    return {
        "bytes": path.stat().st_size,
        "sha256": file_digest(path),
        "utterances": len(utterances) - len(left_out),
        "video_kind": None if video is None else {"dtype": str(video.dtype), "shape": video.shape[1:]},
        "names": names,
        **dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)),
        "left_out": left_out,
    }


def _examples(work: _Work, utterances: Sequence[Utterance], left_out: dict[str, str]) -> Iterator[Example]:
    """Every utterance at every speed, one after the other; those that cannot be read are left out, unless they are many."""
    for utterance in utterances:
        yield from _read(work, utterance, left_out)
        forget_sound()
    if 2 * len(left_out) > len(utterances):
        name, reason = next(iter(left_out.items()))
        raise InputError(
            f"{len(left_out)} of {len(utterances)} utterances of a shard cannot be used; of {name} it is said: {reason}"
        )


def _read(work: _Work, utterance: Utterance, left_out: dict[str, str]) -> list[Example]:
    try:
        return load_examples([utterance], work.classes, work.recipe, video=work.recipe.teacher.video)
    except InputError as error:
        left_out[utterance.name] = str(error)
        return []


def _video(example: Example, recipe: Recipe) -> NDArray[Any] | None:
    """The video of the segments [S, ...] as rows that follow each other: features [S, V], or frames [N, H, W] once each."""
    if example.video is None:
        return None
    content: NDArray[Any] = example.video.numpy()
    if recipe.teacher.video in FEATURES:
        return content.astype(np.float32)
    starts = recipe.sight().starts(range(len(content)))
    frames = np.zeros((starts[-1] + content.shape[1], *content.shape[2:]), np.uint8)
    for start, segment in zip(starts, content, strict=True):
        frames[start : start + len(segment)] = segment
    return frames


def _members(example: Example, video: NDArray[Any] | None) -> dict[str, bytes]:
    told = {"name": example.name, "label": example.label, "speaker": example.speaker}
    members = {"frames.npy": array_bytes(example.frames.astype(LOG_MEL.dtype)), "json": json.dumps(told).encode()}
    return members if video is None else {**members, "video.npy": array_bytes(video)}


def _place(tar: Path, rows: list[list[int]]) -> None:
    """Fill in where in the tar every array begins."""
    with tarfile.open(tar, "r:") as opened:
        for member in opened:
            key, _, what = member.name.partition(".")
            if what != "json":
                rows[int(key)][COLUMNS.index(f"{what.removesuffix('.npy')}_at")] = member.offset_data


def _write_index(work: _Work, prepared: Prepared, count: int) -> None:
    tables = [read_json(table_path(work.folder, number)) for number in range(count)]
    videos = {json.dumps(table["video_kind"]) for table in tables}
    if len(videos) > 1:
        raise InputError(f"expected as many video features for every utterance, got {' and '.join(sorted(videos))}")
    dependent = prepared.split.speaker_dependent
    held = prepared.split.validation
    index = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": work.fingerprint,
        "shards": count,
        "utterances": sum(table["utterances"] for table in tables),
        "left_out": sum(len(table["left_out"]) for table in tables),
        "corpus": prepared.corpus.name,
        "licence": prepared.corpus.licence,
        "labels": prepared.corpus.labels,
        "classes": work.classes,
        "speakers": work.speakers,
        "validation_speakers": sorted({u.speaker for u in held if u.speaker}),
        "validation_names": [u.name for u in held] if dependent else [],
        "speaker_dependent": dependent,
        "settings": cut_settings(work.recipe),
        "video": tables[0]["video_kind"],
        "speech": _keep_speech(prepared, work.folder),
    }
    clear_left_overs(work.folder, inside=True)
    write_json(work.folder / "index.json", index)
    if index["left_out"]:
        log.info(f"{index['left_out']} utterances are left out: train-*.json say which and why")


def _keep_speech(prepared: Prepared, folder: Path) -> dict[str, list[list[str | None]]]:
    """Write some sound of training, and of validation where it sets a threshold; name, label and speaker of each."""
    sides = {"train": _far_apart(prepared.split.train, SPEECH_PIECES), "validation": []}
    if prepared.task.verifies:
        voices: dict[str, list[Utterance]] = {}
        for utterance in prepared.split.validation:
            voices.setdefault(utterance.label, []).append(utterance)
        each = max(2, VALIDATION_PIECES // max(1, len(voices)))
        sides["validation"] = [u for spoken in voices.values() for u in _far_apart(spoken, each)]
    return {side: _keep(utterances, folder, side) for side, utterances in sides.items()}


def _far_apart(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    return list(utterances[:: max(1, len(utterances) // count)][:count])


def _keep(utterances: Sequence[Utterance], folder: Path, side: str) -> list[list[str | None]]:
    import soundfile

    kept: list[list[str | None]] = []
    for utterance in utterances:
        try:
            samples = read_speech(utterance)[0]
        except InputError:
            continue  # its shard says why
        path = speech_path(folder, side, len(kept))
        path.parent.mkdir(exist_ok=True)
        piece = io.BytesIO()
        soundfile.write(piece, samples[: PIECE_SECONDS * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ, format="FLAC")
        write_at_once(path, piece.getvalue())
        kept.append([utterance.name, utterance.label, utterance.speaker])
    return kept
