"""Reports as one HTML file: what they say, that nothing leaves them or gets in, and how real Chromium shows them."""

import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi import shipped_bundle
from edge_lupi.evaluate.html_report.html import POLICY
from edge_lupi.evaluate.html_report.plane import Plane, plane, turned_towards
from edge_lupi.evaluate.html_report.worst import SNIPPET_SECONDS, snippet
from edge_lupi.metrics.confidence import calibration_error, reliability
from edge_lupi.metrics.wilson import wilson

Cli = Callable[..., CompletedProcess[str]]
TRAP = "<img src=x onerror=alert(1)>"  # for whoever prints a name as HTML
CHROMIUM = shutil.which("chromium")
EMOTIONS = {"01": "neutral", "03": "happy", "05": "angry"}


@pytest.fixture(scope="module")
def hostile_corpus(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three emotions of two RAVDESS actors whom training has not heard, one of them by a name that is HTML."""
    root = tmp_path_factory.mktemp("moods <b>")
    for actor, name in (("02", "ann"), ("05", TRAP)):
        for path in sorted((data_root / "ravdess_av").rglob(f"03-01-*-01-0?-0?-{actor}.flac")):
            if (label := EMOTIONS.get(path.name.split("-")[2])) is not None:
                folder = root / label / name
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / f"{len(list(folder.iterdir()))}{'&' if name == TRAP else ''}.flac")
    return root


@pytest.fixture(scope="module")
def emotion_report(cli: Cli, hostile_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "new" / "report"
    other = folder.parent / "copy.lupi"
    shutil.copytree(shipped_bundle("emotion"), other)
    words = ("--pattern", "{label}/{speaker}/*", "--report", folder, "--beside", other)
    done = cli("evaluate", shipped_bundle("emotion"), "--data", hostile_corpus, *words)
    assert done.returncode == 0, done.stderr
    assert f"{folder}/report.html: open it in a browser" in done.stderr
    assert "UAR" in done.stdout
    assert (folder / "report.html").stat().st_mode & 0o777 == 0o600
    return folder / "report.html"


@pytest.fixture(scope="module")
def speaker_report(cli: Cli, hostile_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices")
    words = ("--pattern", "{label}/{speaker}/*", "--report", folder, "--json")
    done = cli("evaluate", shipped_bundle("speaker"), "--data", hostile_corpus, *words)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return folder / "report.html"


@pytest.mark.real_speech
def test_what_a_report_says(emotion_report: Path, speaker_report: Path) -> None:
    emotion, speaker = emotion_report.read_text(), speaker_report.read_text()
    for text, words in (
        (
            emotion,
            (
                "Which is taken for which",
                "voices with those that validated",
                "Confusion matrix",
                "Models side by side",
                "Reliability: said",
                "recall",
                "non-commercial use",
            ),
        ),
        (speaker, ("Detection error trade-off", "Cosines of trials: median", "trials of one voice", "CC BY 4.0")),
    ):
        assert [word for word in words if word not in text] == []
        assert "edge-lupi evaluate " in text
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]", text)
        assert "onnxruntime" in text
        assert text.count("<audio") in range(1, 21)
        assert re.search(r"\d\.\d to \d\.\d s", text)
        assert len(text) < 4_000_000
    assert emotion.count("% of the variance") == 2


@pytest.mark.real_speech
def test_names_are_words_and_nothing_is_fetched(emotion_report: Path, speaker_report: Path) -> None:
    for text in (emotion_report.read_text(), speaker_report.read_text()):
        assert "&lt;img src=x onerror=alert(1)&gt;" in text
        assert "<img" not in text
        assert "<script" not in text
        assert set(re.findall(r"""(?:src|href)=["']([a-z]+:)""", text)) == {"data:"}
        assert re.findall(r"url\(|@import|xlink", text) == []
        assert "default-src &#x27;none&#x27;" not in text
        assert """content="default-src 'none';""" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


@pytest.mark.real_speech
@pytest.mark.parametrize("kind", ["emotion", "speaker"])
def test_in_chromium(browser: Any, kind: str, request: pytest.FixtureRequest) -> None:
    """No complaint, no request, no dialog; nothing is wider than a phone; sounds can be played, also by night."""
    file = request.getfixturevalue(f"{kind}_report")
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    said, asked = list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(120_000)
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"
    assert page.locator("h1").count() == 1
    assert page.evaluate("[...document.querySelectorAll('svg')].every((s) => s.ariaLabel || s.ariaHidden)")
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every((t) => t.caption && t.querySelector('th[scope=row]'))"
    )
    play = "document.querySelector('audio').play().then(() => document.querySelector('audio').duration)"
    assert 0.3 < page.evaluate(play) <= SNIPPET_SECONDS + 0.1
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    page.close()


def test_teacher_float_and_int8_student_stand_side_by_side(mood_chain: Any, cli: Cli, tmp_path: Path) -> None:
    folder = mood_chain.folder
    models = [word for name in ("student.pt", "teacher.pt") for word in ("--beside", folder / name)]
    bundle = next(folder.glob("*.lupi"))
    done = cli("evaluate", bundle, "--data", mood_chain.corpus, "--report", tmp_path, "--all", *models)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.html").read_text()
    assert re.findall(r"<figcaption><b>(\S+)</b>: \d+% of the variance", text) == [
        bundle.name,
        "student.pt",
        "teacher.pt",
    ]
    assert "The training of teacher.pt has heard" in text


@pytest.mark.real_speech
def test_what_cannot_be_written_is_said_before_the_work(cli: Cli, hostile_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as it was")
    asked = ("evaluate", shipped_bundle("emotion"), "--data", hostile_corpus, "--pattern", "{label}/{speaker}/*")
    nothing = cli("evaluate", shipped_bundle("emotion"), "--data", tmp_path / "none", "--report", tmp_path / "made")
    assert nothing.returncode == 1
    assert not (tmp_path / "made").exists()
    taken = cli(*asked, "--report", tmp_path / "file")
    assert taken.returncode == 1
    assert taken.stderr.startswith(
        f"edge-lupi: cannot make the folder {tmp_path}/file (File exists): choose another --report"
    )
    alone = cli(*asked, "--beside", tmp_path / "x.lupi")
    assert alone.returncode == 1
    assert "expected --report DIR with --beside, got none" in alone.stderr


def _small_files_only() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))


@pytest.mark.real_speech
def test_a_full_disk_leaves_the_old_report(cli: Cli, hostile_corpus: Path, tmp_path: Path) -> None:
    """And takes no figure with it: they are told before."""
    before = f"as it was {POLICY}"
    (tmp_path / "report.html").write_text(before)
    words = ("--pattern", "{label}/{speaker}/*", "--report", tmp_path)
    done = cli("evaluate", shipped_bundle("emotion"), "--data", hostile_corpus, *words, preexec_fn=_small_files_only)
    assert done.returncode == 1
    assert "could not write" in done.stderr
    assert "UAR" in done.stdout
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", before)]


@pytest.mark.real_speech
def test_a_report_of_somebody_else_is_left_alone(cli: Cli, hostile_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<h1>my own</h1>")
    words = ("--pattern", "{label}/{speaker}/*", "--report", tmp_path)
    done = cli("evaluate", shipped_bundle("emotion"), "--data", hostile_corpus, *words)
    assert done.returncode == 1
    assert "report.html exists and is no report of edge-lupi, so it is left alone" in done.stderr
    assert (tmp_path / "report.html").read_text() == "<h1>my own</h1>"


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 30), (7, 30), (29, 30), (500, 1000)])
def test_wilson_is_scipys(hits: int, count: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    found = wilson(hits, count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_bins_add_up_to_the_calibration_error() -> None:
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(4), 200)
    truth = draw.integers(4, size=200)
    bins = reliability(probabilities, truth)
    assert sum(one.count for one in bins) == 200
    error = sum(abs(one.count * one.probability - one.right) for one in bins) / 200
    assert error == pytest.approx(calibration_error(probabilities, truth))


def test_the_map_is_scikit_learns_and_maps_are_turned_together() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = np.random.default_rng(0).normal(size=(50, 7))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = decomposition.PCA(2).fit(units)
    found = plane(vectors.astype(np.float32))
    assert found.share == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-5)
    assert np.abs(found.places) == pytest.approx(np.abs(expected.transform(units)), abs=1e-5)
    mirrored = Plane(found.places @ np.array([[0.0, 1.0], [1.0, 0.0]]), found.share)
    assert turned_towards(mirrored, found).places == pytest.approx(found.places)
    assert plane(np.ones((1, 3), np.float32)).places.tolist() == [[0, 0]]
    assert plane(np.ones((4, 1), np.float32)).share == 1


def test_a_snippet_is_the_loudest_and_bounded(sound_file: Any, voice: Any) -> None:
    samples = np.concatenate([0.01 * voice(0, 5.0), 0.5 * voice(1, 2.0), 0.01 * voice(0, 5.0)])
    heard = snippet(sound_file("a.wav", samples))
    assert 4.0 <= heard.start_seconds <= 5.0
    assert heard.end_seconds - heard.start_seconds == pytest.approx(SNIPPET_SECONDS)
    assert len(heard.sound) < 150_000
    assert snippet(Path("nowhere.wav")).sound == ""
    short = sound_file("b.wav", voice(0, 0.6))
    assert snippet(short).end_seconds == pytest.approx(0.6)
    assert soundfile.info(short).frames == 9600
