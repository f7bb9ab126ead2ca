"""The example of a page that listens by itself, in real Chromium: the events are those of the package."""

import functools
import http.server
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi import Listener, SoundFile, shipped_bundle

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "browser"


class Folder(http.server.SimpleHTTPRequestHandler):
    """The example, with the shipped bundle beside it and the sound to hear."""

    sound: Path

    def translate_path(self, path: str) -> str:
        name = path.split("?")[0]
        if name == "/sound.f32":
            return str(self.sound)
        if name.startswith("/speaker.lupi/"):
            return str(shipped_bundle("speaker") / name.removeprefix("/speaker.lupi/"))
        return super().translate_path(path)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty seconds of two voices, as a WAV."""
    samples, rate_hz = soundfile.read(ROOT / "examples" / "two_voices.flac", dtype="float32")
    path = tmp_path_factory.mktemp("browser") / "sound.wav"
    soundfile.write(path, np.tile(samples, 2)[: 60 * rate_hz], rate_hz, "PCM_16")
    return path


@pytest.fixture(scope="module")
def told(sound: Path) -> dict[str, Any]:
    """What the page says, and how long each hop took."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None or not (EXAMPLE / "node_modules").is_dir():
        pytest.skip("no Chromium, or examples/browser is not installed: bash tests/install_browser.sh")
    subprocess.run(["npx", "tsc"], cwd=EXAMPLE, check=True)
    Folder.sound = sound.with_suffix(".f32")
    soundfile.read(sound, dtype="float32")[0].tofile(Folder.sound)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Folder, directory=str(EXAMPLE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium)
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.wait_for_function("() => Boolean(window.listenTo)")
        answer = page.evaluate("async () => listenTo(new Float32Array(await (await fetch('sound.f32')).arrayBuffer()))")
        browser.close()
    server.shutdown()
    server.server_close()
    return {**answer, "asked": asked, "port": server.server_port}


def test_events_are_those_of_the_package(told: dict[str, Any], sound: Path) -> None:
    listener = Listener(shipped_bundle("speaker"), gallery=None, gate="energy")
    wanted = list(listener.listen(SoundFile(sound)))
    assert len(wanted) > 50
    assert {event.label for event in wanted} == {"speaker 1", "speaker 2"}
    events = told["events"]
    assert [(e["time"], e["start"], e["label"]) for e in events] == [(w.time, w.start, w.label) for w in wanted]
    assert max(abs(e["score"] - (w.score or 0)) for e, w in zip(events, wanted, strict=True)) < 0.02
    assert np.median(told["hopMs"]) < 250  # half of a hop
    print(json.dumps({"events": len(events), "hop_ms": float(np.median(told["hopMs"]))}))


def test_nothing_is_asked_of_anybody_else(told: dict[str, Any]) -> None:
    elsewhere = [
        url for url in told["asked"] if not url.startswith((f"http://127.0.0.1:{told['port']}/", "blob:", "data:"))
    ]
    assert elsewhere == []
