"""The live page in real Chromium, on real speech. EDGE_LUPI_SCREENSHOTS=FOLDER keeps pictures of it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi.runtime.speakers.gallery import Gallery
from tests.page.running import TWO_VOICES, Running, running

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


def until(page: Any, expression: str, argument: Any = None, seconds: float = 60.0) -> None:
    """Wait for it. Playwright's own wait evaluates in the page, whose policy forbids that."""
    for _ in range(round(seconds * 10)):
        if page.evaluate(expression, argument):
            return
        time.sleep(0.1)
    raise AssertionError(f"{expression}\n{page.locator('body').inner_text()}")


def lanes(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".lane .who bdi").all_inner_texts()]


def test_two_people_on_the_timeline(browser: Any, tmp_path: Path) -> None:
    with running(tmp_path, "--task", "speaker,emotion") as listener:
        listener.wait_for_end()
        page, asked, complaints = opened(browser, listener)
        until(page, "document.querySelector('#connection').textContent == 'the sound has ended'")
        assert lanes(page) == ["speaker 1", "speaker 2", "emotion"]
        spoke = page.locator(".lane canvas").first.get_attribute("aria-label")
        assert spoke.startswith("speaker 1 spoke for ")
        assert page.locator("#dropped").inner_text() == "0"
        assert page.locator("#algorithm").inner_text() == "2.03 s"
        assert page.locator("#computer").inner_text().endswith(" ms")
        keep_picture(page, "ended")
        assert complaints == []
        assert [url for url in asked if not url.startswith(listener.url)] == []
        page.close()
        listener.stop()
        assert len(listener.events) > 100


TRAP = "<img src=x onerror=alert(1)>"  # for whoever prints a name as HTML
ENOUGH = "(who) => [...document.querySelectorAll('canvas')].some((one) => RegExp(`^${who} spoke for ([4-9]|[1-9][0-9])`).test(one.ariaLabel))"


def give(page: Any, label: str, name: str) -> None:
    """By keyboard alone."""
    until(page, ENOUGH, label)
    page.focus(f"button[aria-label='Give {label} a name']")
    page.keyboard.press("Enter")
    page.keyboard.type(name)
    page.keyboard.press("Enter")


def longer(folder: Path) -> Path:
    """The two voices, who go on: a browser on a busy machine needs its time to look."""
    samples, rate_hz = soundfile.read(TWO_VOICES, dtype="int16")
    path = folder / "longer.wav"
    soundfile.write(path, np.concatenate([samples, samples[15 * rate_hz :]]), rate_hz)
    return path


def test_numbers_get_names_and_are_forgotten(browser: Any, tmp_path: Path) -> None:
    with running(tmp_path, "--task", "speaker,emotion", "--paced", sound=longer(tmp_path)) as listener:
        page, _, complaints = opened(browser, listener)
        phone, _, _ = opened(browser, listener, viewport=PHONE)
        dark, _, _ = opened(browser, listener, color_scheme="dark")
        give(page, "speaker 2", "speaker 7")
        until(page, "document.querySelector('#naming-error').textContent.includes('expected a name')")
        page.fill("#naming-name", "Ann")
        keep_picture(page, "naming")
        page.keyboard.press("Enter")
        for one, picture in ((page, "two_talking"), (phone, "phone"), (dark, "dark")):
            until(one, "document.querySelector('#people').textContent.includes('Ann')")
            assert sorted(lanes(one)) == ["Ann", "emotion", "speaker 1"]
            until(one, "streams.get('').seconds > 24.5")
            until(one, "document.querySelector('.speaks').textContent.startsWith('Ann')")
            keep_picture(one, picture)
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert Gallery.load(tmp_path / "people.json").names == ["Ann"]
        give(page, "speaker 1", TRAP)
        for one in (page, phone, dark):
            until(one, "document.querySelectorAll('#people li').length == 2")
            assert sorted(lanes(one)) == [TRAP, "Ann", "emotion"]
            assert one.locator("img").count() == 0
        listener.wait_for_end()
        page.focus(f"button[aria-label='Forget {TRAP}']")
        page.keyboard.press("Enter")
        page.focus("#forgetting-yes")
        page.keyboard.press("Enter")
        until(page, "document.querySelectorAll('#people li').length == 1")
        assert Gallery.load(tmp_path / "people.json").names == ["Ann"]
        assert "is forgotten" in page.locator("#said").inner_text()
        until(page, "![...document.querySelectorAll('.lane')].some((one) => one.textContent.includes('img'))")
        assert complaints == ["Failed to load resource: the server responded with a status of 409 (Conflict)"]
        for one in (page, phone, dark):
            one.close()
        listener.stop()
        labels = [event["label"] for event in listener.events if event["task"] == "speaker"]
        assert "speaker 2" not in labels[labels.index("Ann") :]
        assert "speaker 1" not in labels[labels.index(TRAP) :]
        assert set(labels) == {"speaker 1", "speaker 2", "Ann", TRAP}


def test_a_token_opens_the_page_and_leaves_the_address(browser: Any, tmp_path: Path) -> None:
    with running(tmp_path, "--page-at", "0.0.0.0:0") as listener:
        listener.wait_for_end()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{listener.port}/?token={listener.token}")
        page.wait_for_selector(".lane canvas")
        assert listener.token not in page.url
        assert page.evaluate("document.cookie") == ""
        stranger = browser.new_context().new_page()
        assert stranger.goto(f"http://127.0.0.1:{listener.port}/").status == 401
        listener.stop()


def test_sound_that_stops_is_told(browser: Any, tmp_path: Path) -> None:
    """As where a microphone is lost; and it is told no more once sound comes again."""
    samples, rate_hz = soundfile.read(TWO_VOICES, dtype="int16", frames=12 * 16_000)
    with running(tmp_path, "--rate", f"{rate_hz}", sound="-") as listener:
        listener.write(samples[: 8 * rate_hz].tobytes())
        page, _, _ = opened(browser, listener)
        until(page, "!document.querySelector('#notice').hidden")
        assert "is the microphone still there?" in page.locator("#notice").inner_text()
        until(page, "document.querySelector('.level .dim').textContent === '–'")  # nor any level
        keep_picture(page, "no_sound")
        page.click("button[aria-label='Give speaker 1 a name']")
        page.fill("#naming-name", "Ann")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#naming-error').textContent.includes('hears no sound at the moment')")
        page.keyboard.press("Escape")
        listener.write(samples[8 * rate_hz :].tobytes())
        until(page, "document.querySelector('#notice').hidden")
        listener.close()
        listener.wait_for_end()
        listener.stop()
        page.close()


def speak(listener: Running, samples: Any) -> None:
    """As a microphone does, a tenth of a second at a time."""
    began = time.monotonic()
    for number, block in enumerate(np.array_split(samples, len(samples) // 1600)):
        listener.write(block.tobytes())
        time.sleep(max(0.0, began + (number + 1) / 10 - time.monotonic()))


def test_who_speaks_is_enrolled(browser: Any, tmp_path: Path) -> None:
    """From the sound that is heard, while it is heard."""
    samples, rate_hz = soundfile.read(TWO_VOICES, dtype="int16")
    alone = np.concatenate(
        [samples[: 4 * rate_hz], samples[9 * rate_hz : 13 * rate_hz], samples[18 * rate_hz : 23 * rate_hz]]
    )
    with running(tmp_path, "--rate", f"{rate_hz}", sound="-") as listener:
        speaking = threading.Thread(
            target=speak, args=(listener, np.concatenate([samples[: 5 * rate_hz], alone, alone]))
        )
        speaking.start()
        page, _, _ = opened(browser, listener)
        page.click("#enrol")
        page.fill("#enrolling-name", "Ann")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#enrolling-progress').value > 40")
        keep_picture(page, "enrolling")
        until(page, "document.querySelector('#people').textContent.includes('Ann')")
        speaking.join()
        assert Gallery.load(tmp_path / "people.json").names == ["Ann"]
        listener.write(samples.tobytes())
        listener.close()
        listener.wait_for_end()
        listener.stop()
        page.close()
        last = [event["label"] for event in listener.events[-50:]]
        assert last.count("Ann") > 20
        assert set(last) <= {"Ann", "speaker 1", "speaker 2", "unknown"}
        assert last.count("speaker 1") <= 4  # her number of before: a soft beginning may be told by it
