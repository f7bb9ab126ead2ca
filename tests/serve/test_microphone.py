"""The browser's own microphone on the page of a service, in real Chromium, whose microphone is a recording of real speech."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import soundfile

from tests.page.test_in_chromium import keep_picture, until
from tests.serve.serving import BOTH, TWO_VOICES, serving

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


def test_the_browsers_own_microphone(tmp_path: Path) -> None:
    """From the page to the service and back: who speaks is on the timeline; nothing dropped; stopped, it has ended."""
    samples, rate = soundfile.read(TWO_VOICES, dtype="int16")
    soundfile.write(tmp_path / "microphone.wav", samples, rate)
    flags = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'microphone.wav'}",
    ]
    with serving(tmp_path) as served, sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        complaints = list[str]()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(served.address.url)
        until(page, "!document.querySelector('#own').hidden")
        page.focus("#microphone")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#own-said').textContent === 'is heard as browser'")
        until(page, "[...document.querySelectorAll('.who bdi')].some((one) => one.textContent === 'speaker 1')")
        until(page, "document.querySelector('.speaks').textContent.includes('speaker')")
        keep_picture(page, "browser_microphone")
        [stream] = served.service.streams
        assert (stream.name, stream.drops, stream.dropped) == ("browser", True, 0)
        page.click("#microphone")
        until(page, "document.querySelector('.speaks').textContent === 'has ended'")
        assert served.service.streams == []
        page.click("#microphone")
        until(page, "document.querySelector('.speaks').textContent !== 'has ended'")
        page.close()  # without a word
        for _ in range(200):
            time.sleep(0.1 if served.service.streams else 0)
        assert served.service.streams == []
        assert complaints == []
        browser.close()


def test_a_browser_that_gives_no_microphone_says_why(tmp_path: Path) -> None:
    with serving(tmp_path, bundles=BOTH[:1]) as served, sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_context(permissions=[]).new_page()
        page.goto(served.address.url)
        until(page, "!document.querySelector('#own').hidden")
        page.click("#microphone")
        until(page, "document.querySelector('#own-said').textContent.length > 5")
        assert page.locator("#microphone").get_attribute("aria-pressed") == "false"
        browser.close()
