"""VoxCeleb 1 and 2: interviews, sound and face tracks. Folder -> Corpus whose labels are the speakers.

    ROOT/[dev/|test/] wav/|aac/  id00012/  21Uxsk56VDQ/  00001.wav|.m4a|.flac
    ROOT/[dev/|test/] mp4/       id00012/  21Uxsk56VDQ/  00001.mp4              # the face, where it is there

The split is `train` or `test`: by the folders dev/ and test/ (beside dev/, what lies in ROOT itself is test), and where
there are none by name: the forty speakers of VoxCeleb1-O are test. Folders are listed and nothing is opened, so a million
clips are a few minutes. Nagrani et al. 2017 (arXiv 1706.08612), Chung et al. 2018 (arXiv 1806.05622).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from edge_lupi.data.utterance import Corpus, Utterance, Video
from edge_lupi.errors import InputError

__all__ = ["TASKS", "is_voxceleb", "read_voxceleb"]

TASKS = ("speaker",)
LICENCE = "VoxCeleb: lists CC BY 4.0; sound and video remain their owners' (YouTube), so check your right to use them"
SOUNDS = ("wav", "aac")  # in this order: who has converted the one to the other means the first
SUFFIXES = frozenset({".flac", ".m4a", ".wav"})
SPEAKER = re.compile(r"id\d{5}")
TEST_SPEAKERS = range(10_270, 10_310)  # of VoxCeleb1-O


def is_voxceleb(root: Path) -> bool:
    """Whether the folder is laid out as above."""
    return bool(_levels(root))


def read_voxceleb(root: Path, task: str = "speaker") -> Corpus:
    """Every clip, named speaker/video/clip; label and speaker are the speaker's id; a clip's face track is its video."""
    utterances = tuple(
        utterance
        for folder, sounds, split in _levels(root)
        for speaker in _folders(folder / sounds, SPEAKER)
        for utterance in _of_speaker(folder, sounds, speaker, split)
    )
    if not utterances:
        raise InputError(f"expected clips idNNNNN/video/NNNNN.wav or .m4a in {root}, got none: unpack them there")
    return Corpus("voxceleb", utterances, LICENCE, tuple(sorted({u.label for u in utterances})), root)


def _levels(root: Path) -> list[tuple[Path, str, str | None]]:
    """(folder, name of its folder of sounds, split where the place tells it) of every part that is there."""
    unnamed = "test" if _sounds(root / "dev") else None
    places = ((root / "dev", "train"), (root / "test", "test"), (root, unnamed))
    return [(folder, sounds, split) for folder, split in places if (sounds := _sounds(folder))]


def _sounds(folder: Path) -> str:
    """wav or aac, whichever holds speakers; empty where neither does."""
    return next((name for name in SOUNDS if next(_names(folder / name, SPEAKER), None)), "")


def _of_speaker(folder: Path, sounds: str, speaker: str, split: str | None) -> Iterator[Utterance]:
    split = split or ("test" if int(speaker[2:]) in TEST_SPEAKERS else "train")
    for video in _folders(folder / sounds / speaker):
        faces = folder / "mp4" / speaker / video
        seen = set(_files(faces, {".mp4"}))
        for clip in _files(folder / sounds / speaker / video, SUFFIXES):
            stem = clip.rpartition(".")[0]
            face = Video(path=faces / f"{stem}.mp4") if f"{stem}.mp4" in seen else None
            audio = folder / sounds / speaker / video / clip
            yield Utterance(f"{speaker}/{video}/{stem}", audio, speaker, speaker, face, split)


def _folders(folder: Path, pattern: re.Pattern[str] | None = None) -> list[str]:
    return sorted(_names(folder, pattern))


def _names(folder: Path, pattern: re.Pattern[str] | None) -> Iterator[str]:
    """Names of the folders in a folder, as the disk has them; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                wanted = pattern.fullmatch(entry.name) if pattern else not entry.name.startswith(".")
                if wanted and entry.is_dir():
                    yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unlisted(folder, error) from error


def _files(folder: Path, suffixes: frozenset[str] | set[str]) -> list[str]:
    """Names of the files with such an ending, sorted; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if os.path.splitext(entry.name)[1] in suffixes and not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unlisted(folder, error) from error


def _unlisted(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be listed ({error.strerror}): check its permissions")
