"""Provenance of trained weights: corpus, licence, voices heard. A student.pt's, a teacher.pt's and a manifest's `training`.

Read from plain content that a stranger may have written; every key may be absent, as in files of older versions, and what
this version does not know is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from edge_lupi.words import number

__all__ = ["UNKNOWN_LICENCE", "Provenance"]

UNKNOWN_LICENCE = "unknown: ask whoever trained these weights"
Plain = Mapping[str, Any]  # what JSON holds


@dataclass(frozen=True)
class Provenance:
    """None, or an empty collection, is what nobody said.

    `corpus` are the names of all that training heard, in a sentence; `corpora` the same one by one, where they are several.
    `training_speakers` and `training_names` are whom and what training, validation and threshold have heard, by speaker, or
    by recording where voices are on both sides (`speaker_dependent`). `distilled` says whether a teacher had a part in it.
    `started_from` are the students whose weights it began with, the latest first, `sha256` the digest of such a file.
    `branches` hold the provenance of each task, where they were taught one after the other. `recipe`, `qat`, `wccn`, `threshold` and
    `temperature` are the recipe, and what the stages found, as plain content. `more` is what is not known here.
    """

    recipe: Plain | None = None
    corpus: str | None = None
    corpora: tuple[str, ...] | None = None
    licence: str | None = None
    training_utterances: int | None = None
    training_speakers: tuple[str, ...] | None = None
    speaker_dependent: bool | None = None
    training_names: tuple[str, ...] | None = None
    edge_lupi: str | None = None
    torch: str | None = None
    faces: str | None = None
    distilled: bool | None = None
    sha256: str | None = None
    started_from: tuple[Provenance, ...] | None = None
    threshold: Plain | None = None
    temperature: Plain | None = None
    qat: Plain | None = None
    wccn: Plain | None = None
    branches: Mapping[str, Provenance] | None = None
    more: Plain = field(default_factory=dict)

    @classmethod
    def read(cls, content: object) -> Provenance:
        """From plain content. Raises ValueError where what others rely on is of another type."""
        values = dict(_checked(content))
        for key in ("corpora", "training_speakers", "training_names"):
            if key in values:
                values[key] = tuple(values[key])
        if "started_from" in values:
            values["started_from"] = tuple(map(cls.read, values["started_from"]))
        if "branches" in values:
            values["branches"] = {task: cls.read(one) for task, one in values["branches"].items()}
        known = {item.name for item in fields(cls)} - {"more"}
        own = {key: value for key, value in values.items() if key in known}
        return cls(**own, more={key: value for key, value in values.items() if key not in known})

    def plain(self) -> dict[str, Any]:
        """As `read` takes it: dicts, lists, words and numbers, without what nobody said."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "more"}
        said = {key: _plain(value) for key, value in values.items() if value is not None}
        return {**said, **self.more}

    def of(self, task: str) -> Provenance:
        """Of one task: its branch's own, or the student's where all were taught at once."""
        return (self.branches or {}).get(task, self)

    @property
    def licences(self) -> dict[str, str]:
        """The licence of each branch, by its task; empty where all were taught at once."""
        return {task: one.licence or UNKNOWN_LICENCE for task, one in (self.branches or {}).items()}

    @property
    def trainings(self) -> tuple[Provenance, ...]:
        """Itself, and the students that it began with."""
        return (self, *(self.started_from or ()))

    def section(self, name: str) -> Plain:
        """A section of the recipe, empty where there is none."""
        found = (self.recipe or {}).get(name, {})
        return found if isinstance(found, Mapping) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Provenance):
        return value.plain()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, Mapping) else value


_KINDS = {
    "corpus": str,
    "corpora": list,
    "licence": str,
    "training_utterances": int,
    "training_speakers": list,
    "training_names": list,
    "speaker_dependent": bool,
    "recipe": dict,
}


def _checked(content: object) -> Plain:
    if not isinstance(content, Mapping):
        raise ValueError("expected an object to say where it comes from")
    for key, kind in _KINDS.items():
        value = content.get(key, kind())
        if not _is_of(kind, value):
            raise ValueError(f"expected {key!r} as {kind.__name__}, got {type(value).__name__}")
    before = content.get("started_from", [])
    if not isinstance(before, (list, tuple)) or any(not _says_origin(one) for one in before):
        raise ValueError("expected 'started_from' to list where the first weights come from")
    branches = content.get("branches", {})
    if not isinstance(branches, Mapping) or ("branches" in content and not branches):
        raise ValueError("expected 'branches' to say for each task where it comes from")
    if any(isinstance(one, Mapping) and "branches" in one for one in branches.values()):
        raise ValueError("expected a branch without branches of its own")
    segments = content.get("recipe", {}).get("segments", {})
    if not isinstance(segments, Mapping):
        raise ValueError("expected the recipe's 'segments' to be an object")
    number(segments.get("trim_db", 0.0), 0, 1000)
    return content


def _says_origin(one: object) -> bool:
    """Whether it is a training before, which began with none itself: their list is flat."""
    if not isinstance(one, Mapping) or {"started_from", "branches"} & one.keys():
        return False
    return all(_is_of(kind, one.get(key, kind())) for key, kind in _KINDS.items())


def _is_of(kind: type, value: object) -> bool:
    if kind is list:
        return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)
    return type(value) is kind
