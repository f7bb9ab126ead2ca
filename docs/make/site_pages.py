"""MkDocs hook: pages keep the paths that they have in the repository, so that one link serves there and on the site.

MkDocs takes pages from docs/ alone. Here docs/x.md becomes the page `docs/x.md`, every other page of `nav` is read from where it
lies, and what a page links to (a recipe, a picture, a program) is copied beside it; a folder stands for its README.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
CODE = re.compile(r"^(?:```.*?^```|(?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"[a-z]+:")


def on_config(config: Any) -> Any:
    """Pages of `nav` that are not there are left out of it."""
    config.nav = _there(config.nav)
    return config


def on_files(files: Files, config: Any) -> Files:
    """The pages and what they link to, each by its path in the repository, beside the theme's files."""
    ours = [file for file in files if file.src_dir == config.docs_dir]
    named = set(_pages(config.nav)) | {f"docs/{file.src_uri}" for file in ours if not file.inclusion.is_excluded()}
    pages = [_file(path, config, InclusionLevel.INCLUDED) for path in sorted(named)]
    linked = [_file(path, config, InclusionLevel.NOT_IN_NAV) for path in sorted(reached(named) - named)]
    return Files([*(file for file in files if file not in ours), *pages, *linked])


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A link to a folder leads to its README."""
    for link in links(page.file.src_uri):
        if (ROOT / page.file.src_uri).parent.joinpath(link).is_dir():
            markdown = re.sub(rf"\]\({re.escape(link)}(#[^)\s]*)?\)", rf"]({link.rstrip('/')}/README.md\1)", markdown)
    return markdown


def links(page: str) -> list[str]:
    """The links of a page that lead into the repository, as written."""
    text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return sorted({link for link in LINK.findall(text) if not ELSEWHERE.match(link)})


def reached(pages: set[str]) -> set[str]:
    """Every file of the repository that one comes to from these pages, by path from ROOT, the pages among them."""
    found: set[str] = set()
    ahead = set(pages)
    while ahead:
        page = ahead.pop()
        found.add(page)
        if page.endswith(".md"):
            ahead |= {target for link in links(page) if (target := _target(page, link))} - found
    return found


def _target(page: str, link: str) -> str:
    """The file that a link leads to, by its path from ROOT; "" if there is none in the repository."""
    path = (ROOT / page).parent.joinpath(link).resolve()
    path = path / "README.md" if path.is_dir() else path
    return path.relative_to(ROOT).as_posix() if path.is_file() and path.is_relative_to(ROOT) else ""


def _file(path: str, config: Any, inclusion: InclusionLevel) -> File:
    return File.generated(config, path, abs_src_path=str(ROOT / path), inclusion=inclusion)


def _pages(nav: Any) -> list[str]:
    """The paths in a tree of lists and dictionaries."""
    if isinstance(nav, str):
        return [nav]
    return [path for part in (nav.values() if isinstance(nav, dict) else nav) for path in _pages(part)]


def _there(nav: Any) -> Any:
    if isinstance(nav, list):
        return [_there(part) for part in nav if not isinstance(part, str) or (ROOT / part).is_file()]
    return {title: _there(part) for title, part in nav.items()} if isinstance(nav, dict) else nav
