"""What becomes of a transcript: what the name of who spoke is written into, and who is let through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter

from edge_lupi.errors import InputError
from edge_lupi.home.wyoming.heard import Spoken
from edge_lupi.words import composed, printable

__all__ = ["Policy"]

NOT_KNOWN = "unknown"


@dataclass(frozen=True)
class Policy:
    """`say` is a template as `{speaker}: {text}`, `only` are the people who are let through; None: nothing of the kind.

    Raises InputError for a template that is none of the `tasks`.
    """

    say: str | None = None
    only: frozenset[str] | None = None
    tasks: tuple[str, ...] = ("speaker",)

    def __post_init__(self) -> None:
        if self.say is not None:
            _check_template(self.say, ("text", *self.tasks))

    @property
    def holds_back(self) -> bool:
        """Whether no sound may be passed on before it is known who spoke."""
        return self.only is not None

    @property
    def passes_pieces(self) -> bool:
        """Whether pieces of a transcript may be passed on as they come: nothing is changed in them, nobody left out."""
        return self.say is None and self.only is None

    def admits(self, spoken: Spoken) -> bool:
        """Whether somebody who may was heard."""
        return self.only is None or spoken.person in self.only

    def text(self, text: str, spoken: Spoken) -> str:
        """The transcript as it is passed on. An empty one stays empty."""
        if self.say is None or not text.strip():
            return text
        labels = {task: str(value or NOT_KNOWN) for task, value in spoken.fields().items()}
        return self.say.format_map({**dict.fromkeys(self.tasks, NOT_KNOWN), **labels, "text": text})


def people_let_through(wanted: Sequence[str], enrolled: Sequence[str]) -> frozenset[str]:
    """The names, or everybody enrolled where none is given. Raises InputError for one that is not."""
    names = [composed(name) for name in wanted]
    strange = [name for name in names if name not in enrolled]
    if strange or not enrolled:
        known = ", ".join(enrolled[:20]) or "nobody"
        raise InputError(
            f"expected people who are enrolled ({printable(known)}), got {printable(strange[0])[:60] if strange else 'nobody'}: "
            "edge-lupi enroll NAME"
        )
    return frozenset(names or enrolled)


def _check_template(template: str, names: Sequence[str]) -> None:
    try:
        fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError:
        fields = [("", "", None)]
    wrong = [name for name, specification, conversion in fields if name not in names or specification or conversion]
    if wrong or ("text", "", None) not in fields:
        raise InputError(
            f"expected a template with {{text}} and any of {', '.join(f'{{{name}}}' for name in names[1:])}, "
            f"got {printable(template)[:80]!r}: write it as '{{{names[1]}}}: {{text}}'",
            options=("say",),
        )
