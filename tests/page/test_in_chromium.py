"""The live page in real Chromium, on real speech. EDGE_LUPI_SCREENSHOTS=FOLDER keeps pictures of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_lupi.runtime.speakers.gallery import Gallery
from tests.page.running import Running, running

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


def keep_picture(page: Any, name: str) -> None:
    """Where somebody asked for pictures."""
    folder = os.environ.get("EDGE_LUPI_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def opened(browser: Any, listener: Running, **options: Any) -> tuple[Any, list[str], list[str]]:
    """The page; what it asks for; what its console says."""
    page = browser.new_page(**options)
    asked, complaints = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(listener.url)
    page.wait_for_selector(".lane canvas")
    return page, asked, complaints


def lanes(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".lane .who bdi").all_inner_texts()]


def test_two_people_on_the_timeline(browser: Any, tmp_path: Path) -> None:
    with running(tmp_path, "--task", "speaker,emotion") as listener:
        listener.wait_for_end()
        page, asked, complaints = opened(browser, listener)
        page.wait_for_function("document.querySelector('#connection').textContent == 'the sound has ended'")
        assert lanes(page) == ["speaker 1", "speaker 2", "emotion"]
        spoke = page.locator(".lane canvas").first.get_attribute("aria-label")
        assert spoke.startswith("speaker 1 spoke for ")
        assert page.locator("#dropped").inner_text() == "0"
        assert page.locator("#algorithm").inner_text() == "2.03 s"
        assert "ms, p99" in page.locator("#computer").inner_text()
        keep_picture(page, "ended")
        assert complaints == []
        assert [url for url in asked if not url.startswith(listener.url)] == []
        page.close()
        listener.stop()
        assert len(listener.events) > 100
