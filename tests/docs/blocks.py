"""Commands as the pages print them: code blocks of a shell, fenced or indented, with what stands before and after them.

A block is run, unless a comment in the line before says what it needs: `<!-- needs: a microphone -->`. `<!-- fails -->` says
that its commands end with exit code 1. A block of ```text right after it is what they print, whatever the digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("sh", "bash", "console")
COMMANDS = re.compile(
    r"(edge-lupi|edge/bin/|python3?|pip|sudo|make|export|cp|for|arecord|dask|npm|torchrun|CUDA_\w+=\S+ \w+|\.) "
)
MARK = re.compile(r"<!-- (needs: (?P<needs>.+)|(?P<fails>fails)) -->")
OF_A_WHOLE_PAGE = {  # what commands need that bear no mark of their own
    "docs/serve.md": "a service that goes on; its own tests",
    "docs/home.md": "a broker or a voice satellite; its own tests",
    "docs/triton.md": "a server with Triton; its own tests",
}
ELSEWHERE = ("docs/map.md", "CHANGELOG.md")  # pages without commands to type


@dataclass(frozen=True)
class Block:
    """Some lines for a shell. `needs` is why they are not run here, "" where they are; `prints` what they must print."""

    page: str
    line: int
    text: str
    needs: str = ""
    fails: bool = False
    prints: tuple[str, ...] = ()

    @property
    def commands(self) -> list[str]:
        """One a line, joined where a backslash breaks them; no comments, and here a `for` is one."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = [re.sub(r"\s+# .*|^#.*", "", line).strip() for line in joined.splitlines()]
        return [line for line in lines if line]


def pages() -> list[str]:
    """Every page that people read, by its path in the repository."""
    names = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "train/OWN_DATA.md", "examples/browser/README.md"]
    workbenches = [f"{room}/README.md" for room in ("train", "compile", "runtime", "benchmarks")]
    docs = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))]
    return [name for name in [*names, *workbenches, *docs] if name not in ELSEWHERE]


def blocks(page: str) -> list[Block]:
    """The shell blocks of a page, in order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found = list(_code(lines))
    made = []
    for place, (first, after, kind, text) in enumerate(found):
        if kind not in SHELLS and not (kind == "indented" and any(map(COMMANDS.match, text))):
            continue
        mark = _mark(lines, first)
        next_first, _, next_kind, next_text = found[place + 1] if place + 1 < len(found) else (0, 0, "", [])
        near = next_kind == "text" and not any(line.strip() for line in lines[after:next_first])
        prints = tuple(line for line in next_text if line.strip()) if near else ()
        needs, fails = (mark["needs"] or "", bool(mark["fails"])) if mark else (OF_A_WHOLE_PAGE.get(page, ""), False)
        made.append(Block(page, first + 1, "\n".join(text), needs, fails, prints))
    return made


def _mark(lines: list[str], first: int) -> re.Match[str] | None:
    """The comment above the block, blank lines between them or none."""
    above = [line for line in lines[max(0, first - 2) : first] if line.strip()]
    return MARK.fullmatch(above[-1].strip()) if above else None


def _code(lines: list[str]) -> Iterator[tuple[int, int, str, list[str]]]:
    """Code blocks: the index of the first line, that after the last, its language or "indented", its lines."""
    at = 0
    while at < len(lines):
        fence = re.match(r"```(\w*)", lines[at])
        indented = lines[at].startswith("    ") and (
            at == 0 or not lines[at - 1].strip() or lines[at - 1].startswith("<!--")
        )
        if fence:
            end = next(i for i in range(at + 1, len(lines)) if lines[i].startswith("```"))
            yield at, end + 1, fence[1], lines[at + 1 : end]
            at = end + 1
        elif indented:
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text = [line[4:] for line in lines[at:end]]
            while text and not text[-1].strip():
                text, end = text[:-1], end - 1
            yield at, end, "indented", text
            at = end
        else:
            at += 1
