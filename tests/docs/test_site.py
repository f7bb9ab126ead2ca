"""The site of `make docs`: built without a warning, no link into nothing, and nothing that is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

from tests.docs.test_pages import script

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")
ROOT = Path(__file__).resolve().parents[2]
LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}
STYLES = re.compile(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//")


@dataclass
class Page(HTMLParser):
    """What one page leads to, what it loads, and the places in it that can be led to."""

    leads: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.places |= {named[name] for name in ("id", "name") if name in named}
        if tag == "a" and "href" in named:
            self.leads.add(named["href"])
        self.loads |= {value for name, value in named.items() if (tag, name) in LOADS}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    apart = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env=apart, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("WARNING|ERROR", done.stdout + done.stderr)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Every page, by its path in the site."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        found[path.relative_to(site).as_posix()] = page = Page()
        page.feed(path.read_text(encoding="utf-8"))
    return found


def test_every_page_of_the_repository_is_there(pages: dict[str, Page]) -> None:
    docs = {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    assert docs | {"index.html", "train/index.html", "runtime/index.html", "benchmarks/index.html"} <= pages.keys()


def test_links_lead_somewhere(site: Path, pages: dict[str, Page]) -> None:
    broken, inside, outside = list[str](), 0, set[str]()
    for name, page in pages.items():
        for link in page.leads | page.loads:
            if re.match(r"[a-z]+:", link):
                outside.add(link)
                continue
            path, place = urldefrag(urljoin(f"/{name}", link))
            path = unquote(path).lstrip("/")
            path = path if path and not path.endswith("/") else f"{path}index.html"
            inside += 1
            known = pages[path].places if path in pages else set()
            if name == "404.html":  # which a server shows at any address
                continue
            if not (site / path).is_file() or (place and path in pages and unquote(place) not in known):
                broken.append(f"{name}: {link}")
    print(f"{inside} links inside {len(pages)} pages lead somewhere; {len(outside)} lead out and were not followed")
    assert broken == []
    assert inside > 500


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    assert [url for page in pages.values() for url in page.loads if re.match("(https?:)?//", url)] == []
    styles = [path for path in site.rglob("*") if path.suffix in (".css", ".svg")]
    assert len(styles) >= 3
    assert [path for path in styles if STYLES.search(path.read_text(encoding="utf-8"))] == []


def test_a_browser_asks_nobody_else(site: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    if not shutil.which("chromium"):
        pytest.skip("no Chromium")
    asked, failed = list[str](), list[str]()
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        for name in ("index.html", "docs/how_it_works.html", "docs/api.html"):
            page.goto((site / name).as_uri(), wait_until="load")
            page.wait_for_timeout(300)  # what scripts ask for comes after
        browser.close()
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert [url for url in failed if "search_index" not in url] == []


def test_links_hold_in_the_repository_too() -> None:
    site_pages = script("site_pages")
    everywhere = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.md")}
    pages = {page for page in everywhere if not re.search(r"(^|/)(\.|node_modules/)", page)}
    broken = [
        f"{page}: {link}"
        for page in sorted(pages)
        for link in site_pages.links(page)
        if not (ROOT / page).parent.joinpath(unquote(link)).exists()
    ]
    assert broken == []
    assert len(pages) > 25
