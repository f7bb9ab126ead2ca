"""`edge-lupi wyoming` between a real Wyoming client and a recogniser that speaks the protocol, on real speech."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from edge_lupi import Gallery, Listener, shipped_bundle
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.installed import install_command
from edge_lupi.runtime.enrolment.enrolment import enroll
from edge_lupi.runtime.sources.files import SoundFile
from tests.home.brokers import free_port
from tests.home.listening import ROOT, TWO_VOICES, environment

pytest.importorskip("wyoming")

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info

from edge_lupi.errors import InputError
from edge_lupi.home.wyoming.address import TcpAddress, tcp_address
from edge_lupi.home.wyoming.heard import Heard, Spoken
from edge_lupi.home.wyoming.policy import Policy
from edge_lupi.home.wyoming.server import MOST_CLIENTS, serve
from tests.home.recogniser import MODEL, WORDS, Recogniser, pcm, recogniser, say

Samples = NDArray[np.float32]
ONLY_ALICE = Policy(only=frozenset(["alice"]))


def stretch(start: float, seconds: float) -> Samples:
    """Of the example, in which a low and a high voice take turns."""
    samples, _ = soundfile.read(
        TWO_VOICES, dtype="float32", start=round(start * 16_000), frames=round(seconds * 16_000)
    )
    return np.asarray(samples)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of alice, who is the low voice; what she says to the service is not in it."""
    folder = tmp_path_factory.mktemp("people")
    soundfile.write(folder / "alice.wav", np.concatenate([stretch(18.36, 4.65), stretch(28.04, 4.85)]), 16_000)
    enroll("alice", Bundle.load(shipped_bundle("speaker")), folder / "people.json", [SoundFile(folder / "alice.wav")])
    return folder / "people.json"


@pytest.fixture(scope="module")
def listener(people: Path) -> Listener:
    bundles = [Bundle.load(shipped_bundle(name)) for name in ("speaker", "emotion")]
    return Listener(bundles, gallery=Gallery.load(people, bundles[0].fingerprint))


@pytest.fixture(scope="module")
def alice() -> Samples:
    return stretch(0.5, 3.39)


@pytest.fixture(scope="module")
def stranger() -> Samples:
    return stretch(4.39, 4.43)


class Service:
    """A running one: `port`, and what it told of each utterance."""

    def __init__(self) -> None:
        self.port = free_port()
        self.told = list[tuple[Spoken, bool]]()


@asynccontextmanager
async def service(listener: Listener, upstream: int, policy: Policy | None = None) -> AsyncIterator[Service]:
    one = Service()
    here, there = TcpAddress("127.0.0.1", one.port), TcpAddress("127.0.0.1", upstream)
    told: Callable[[Spoken, bool], None] = lambda spoken, is_admitted: one.told.append((spoken, is_admitted))  # noqa: E731
    policy = policy or Policy(tasks=("speaker", "emotion"))
    task = asyncio.create_task(serve(here, there, listener, policy, told))
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", one.port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        break
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task])


def through(
    listener: Listener,
    talk: Callable[[Service, Recogniser], Awaitable[Any]],
    *,
    policy: Policy | None = None,
    behaviour: str = "right",
) -> Any:
    """What a talk gives that has a service and a recogniser."""

    async def run() -> Any:
        async with recogniser(behaviour) as behind, service(listener, behind.port, policy) as before:
            return await talk(before, behind)

    return asyncio.run(run())


def test_the_transcript_comes_back_with_who_spoke(listener: Listener, alice: Samples, stranger: Samples) -> None:
    """Sound to the recogniser byte by byte, its transcript as it was, with a speaker beside it."""

    async def talk(before: Service, behind: Recogniser) -> None:
        got = await say(before.port, alice)
        assert [event.type for event in got] == [
            "transcript-start",
            "transcript-chunk",
            "transcript-stop",
            "transcript",
        ]
        assert behind.sound == pcm(alice)
        assert behind.types() == ["transcribe", "audio-start", "audio-chunk", "audio-stop"]
        assert behind.events[0].data["language"] == "en"
        data = got[-1].data
        assert Transcript.from_event(got[-1]) == Transcript(WORDS, {"id": 7}, "en")
        assert data["speaker"] == "alice"
        assert data["speaker_score"] > data["speaker_threshold"]
        assert data["emotion"] in (*listener.tasks[1].labels, "unsure")
        print("\nthrough us and back:", json.dumps(data))
        other = (await say(before.port, stranger))[-1].data
        assert (other["text"], other["speaker"]) == (WORDS, None)
        assert other["speaker_score"] < other["speaker_threshold"]
        assert [(spoken.person, is_admitted) for spoken, is_admitted in before.told] == [("alice", True), (None, True)]
        assert before.told[0][0].seconds == 3.39

    through(listener, talk)


def test_other_rates_are_heard_too(listener: Listener, alice: Samples) -> None:
    async def talk(before: Service, behind: Recogniser) -> None:
        thrice = np.repeat(alice, 3)
        got = await say(before.port, thrice, rate=48_000)
        assert got[-1].data["speaker"] == "alice"
        assert behind.sound == pcm(thrice)

    through(listener, talk)


def test_pieces_of_any_length(listener: Listener, alice: Samples) -> None:
    """Parts joined equal the whole, though samples are cut in two; after the end nothing is taken."""

    def heard(data: bytes, size: int, channels: int = 1) -> Spoken:
        one = Heard(listener, 16_000, channels)
        for start in range(0, len(data), size):
            one.hear(data[start : start + size])
        spoken = one.end()
        one.hear(data)
        assert one.end() is spoken
        return spoken

    whole = heard(pcm(alice), len(alice) * 2)
    assert whole.person == "alice"
    for size in (999, 4_096):
        assert heard(pcm(alice), size).fields() == whole.fields()
    assert heard(pcm(np.stack([alice, alice], 1)), 1_001, 2).fields() == whole.fields()
    assert heard(b"", 1) == Spoken()


def test_names_in_the_words_if_asked(listener: Listener, alice: Samples, stranger: Samples) -> None:
    async def talk(before: Service, behind: Recogniser) -> None:
        got = await say(before.port, alice)
        assert [event.type for event in got] == ["transcript"]  # pieces would be without the name
        assert got[0].data["text"] == f"alice: {WORDS}"
        assert (await say(before.port, stranger))[-1].data["text"] == f"unknown: {WORDS}"

    through(listener, talk, policy=Policy("{speaker}: {text}"))


def test_a_stranger_is_turned_away(listener: Listener, alice: Samples, stranger: Samples) -> None:
    """Not a byte of the stranger's reaches the recogniser; silence is nobody's."""

    async def talk(before: Service, behind: Recogniser) -> None:
        for sound in (stranger, stranger[:8_000], np.zeros(32_000, np.float32), alice[:0]):
            got = await say(before.port, sound)
            assert [event.type for event in got] == ["transcript"]
            assert Transcript.from_event(got[0]).text == ""
        assert behind.events == []
        print("\na stranger:", json.dumps(before.told[0][0].fields()), "admitted:", before.told[0][1])
        assert (await say(before.port, alice))[-1].data["text"] == WORDS
        assert behind.sound == pcm(alice)
        assert [is_admitted for _, is_admitted in before.told] == [False] * 4 + [True]

    through(listener, talk, policy=ONLY_ALICE)


def test_what_is_said_of_ourselves(listener: Listener) -> None:
    async def talk(before: Service, behind: Recogniser) -> None:
        async with AsyncTcpClient("127.0.0.1", before.port) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event
            (program,) = Info.from_event(event).asr
            assert program.name == "edge-lupi stand-in"
            assert program.models == [MODEL]
            assert (program.supports_transcript_streaming, program.requires_external_vad) == (True, False)
            await client.write_event(Event("ping", {"text": "x"}))
            assert await client.read_event() == Event("pong", {"text": "x"})

    through(listener, talk)

    async def held(before: Service, behind: Recogniser) -> None:
        async with AsyncTcpClient("127.0.0.1", before.port) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event
            (program,) = Info.from_event(event).asr
            assert (program.supports_transcript_streaming, program.requires_external_vad) == (False, True)

    through(listener, held, policy=ONLY_ALICE)


def test_a_recogniser_that_finds_the_end_itself(listener: Listener, alice: Samples) -> None:
    async def talk(before: Service, behind: Recogniser) -> None:
        got = await say(before.port, alice, pace=0.2)
        assert got[-1].data["text"] == WORDS

    through(listener, talk, behaviour="early")


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [("error", "out of memory"), ("gone", "it ended the connection"), ("garbage", "expected an event of the Wyoming")],
)
def test_a_recogniser_that_fails(
    listener: Listener, alice: Samples, behaviour: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence in the log, and an error event for the client."""

    async def talk(before: Service, behind: Recogniser) -> None:
        for _ in range(2):
            got = await say(before.port, alice, pace=0.05)
            assert [event.type for event in got] == ["error"]
            assert why in got[0].data["text"]
            assert got[0].data["code"] == "upstream"
        said = [line for line in capsys.readouterr().err.splitlines() if "cannot be used" in line]
        assert len(said) == 2
        assert all(why in line and str(behind.port) in line for line in said)

    through(listener, talk, behaviour=behaviour)


def test_no_recogniser_at_all(listener: Listener, alice: Samples, capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        async with service(listener, free_port()) as before:
            said = ""
            while "cannot be used" not in said:  # at the start
                said += capsys.readouterr().err
                await asyncio.sleep(0.02)
            got = await say(before.port, alice)
            assert [event.type for event in got] == ["error"]
            said = capsys.readouterr().err
            assert said.count("\n") == 1
            assert "see whether it runs, or name another" in said
            print("\n" + said.strip())
            async with AsyncTcpClient("127.0.0.1", before.port) as client:
                await client.write_event(Describe().event())
                event = await client.read_event()
                assert event
                assert event.type == "error"

    asyncio.run(run())


GARBAGE = [
    b"\x00\xff\x16\x03\x01" * 40 + b"\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"[" * 60_000 + b"\n",
    b"x" * 200_000,
    b'{"type": "audio-chunk", "payload_length": 999999999999}\n',
    b'{"type": "audio-chunk", "payload_length": -1}\n',
    b'{"type": "describe", "data_length": 1e9}\n',
    b'{"type": "describe", "data": [1]}\n',
    b'{"type": {}}\n',
    b"{}\n",
    b'{"type": "audio-start", "data": {"rate": 1e99, "width": 2, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": 16000, "width": 4, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 0}}\n',
    b'{"type": "audio-start"}\n',
    b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}\n'
    b'{"type": "audio-chunk", "data": {"rate": 8000, "width": 2, "channels": 1}, "payload_length": 2}\nab',
]


def test_hostile_clients(listener: Listener, alice: Samples) -> None:
    """Each is told why and sent away; some who stay silent, stop midway or never read harm nobody."""

    async def talk(before: Service, behind: Recogniser) -> None:
        for words in GARBAGE:
            reader, writer = await asyncio.open_connection("127.0.0.1", before.port)
            writer.write(words)
            answer = await asyncio.wait_for(reader.read(), 10)
            assert b'"error"' in answer.splitlines()[0], words[:60]
            assert b"expected" in answer
            writer.close()
        half = await asyncio.open_connection("127.0.0.1", before.port)
        half[1].write(b'{"type": "audio-chunk", "payload_length": 100}\nabc')  # and nothing more
        async with AsyncTcpClient("127.0.0.1", before.port) as client:  # gone in mid-utterance
            await client.write_event(AudioStart(16_000, 2, 1).event())
            await client.write_event(AudioChunk(16_000, 2, 1, pcm(alice)[:32_000]).event())
        for _ in range(100):  # what had come of it has been passed on by then
            await asyncio.sleep(0.05)
            if len(behind.sound) == 32_000:
                break
        behind.events.clear()
        assert (await say(before.port, alice))[-1].data["speaker"] == "alice"
        assert behind.sound == pcm(alice)
        half[1].close()

    through(listener, talk)


def test_sound_without_end(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as it can be sent: held in bounded memory, then sent away."""
    monkeypatch.setattr("edge_lupi.home.wyoming.utterance.LONGEST_SECONDS", 20.0)

    async def talk(before: Service, behind: Recogniser) -> None:
        async with AsyncTcpClient("127.0.0.1", before.port) as client:
            await client.write_event(AudioStart(16_000, 2, 1).event())
            for _ in range(200):  # what comes after the twentieth is taken and dropped, so that the error can be read
                await client.write_event(AudioChunk(16_000, 2, 1, bytes(32_000)).event())
            event = await client.read_event()
        assert event
        assert "expected an utterance of at most 20 s" in event.data["text"]
        assert len(behind.sound) <= 20 * 32_000

    for policy in (None, ONLY_ALICE):
        through(listener, talk, policy=policy)


def test_a_client_that_stays_silent(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lupi.home.wyoming.session.UTTERANCE_SECONDS", 0.3)

    async def talk(before: Service, behind: Recogniser) -> None:
        async with AsyncTcpClient("127.0.0.1", before.port) as client:
            await client.write_event(AudioStart(16_000, 2, 1).event())
            event = await asyncio.wait_for(client.read_event(), 10)
        assert event
        assert "expected an event within 0 s, got none" in event.data["text"]

    through(listener, talk)


def test_many_at_once(listener: Listener, alice: Samples, stranger: Samples) -> None:
    """Each hears of its own speaker; one too many is told so."""

    async def talk(before: Service, behind: Recogniser) -> None:
        sounds = [alice, stranger] * 4
        answers = await asyncio.gather(*(say(before.port, sound) for sound in sounds))
        assert [answer[-1].data["speaker"] for answer in answers] == ["alice", None] * 4
        crowd = [await asyncio.open_connection("127.0.0.1", before.port) for _ in range(MOST_CLIENTS)]
        for come, go in crowd:  # each is there once it answers
            go.write(b'{"type": "ping"}\n')
            assert b"pong" in await asyncio.wait_for(come.readline(), 30)
        reader, writer = await asyncio.open_connection("127.0.0.1", before.port)
        assert b"busy" in await asyncio.wait_for(reader.read(), 10)
        for _, one in [*crowd, (reader, writer)]:
            one.close()

    through(listener, talk)


def start(*options: str | Path, code: str = "") -> subprocess.Popen[str]:
    run = f"{code}\nfrom edge_lupi.cli import main\nmain()"
    words = [sys.executable, "-c", run, "wyoming", *map(str, options)]
    return subprocess.Popen(
        words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=ROOT
    )


def test_as_it_is_typed(people: Path, alice: Samples, tmp_path: Path) -> None:
    """A process of its own, until SIGTERM."""
    port = free_port()

    async def run() -> None:
        async with recogniser() as behind:
            uris = ["--upstream", f"tcp://127.0.0.1:{behind.port}", "--uri", f"tcp://127.0.0.1:{port}"]
            process = start(*uris, "--gallery", people, "--only-enrolled", "--say", "{speaker}: {text}", "--json")
            try:
                for _ in range(200):
                    try:
                        got = await say(port, alice)
                        break
                    except OSError:
                        await asyncio.sleep(0.1)
                assert got[-1].data["text"] == f"alice: {WORDS}"
            finally:
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=20)
            assert process.returncode == 0
            assert json.loads(out)["speaker"] == "alice"
            assert f"before stand-in at tcp://127.0.0.1:{behind.port}" in err
            assert "Traceback" not in err

    asyncio.run(run())


def test_whether_anybody_reads_its_lines_or_not(people: Path, alice: Samples) -> None:
    port = free_port()

    async def run() -> None:
        async with recogniser() as behind:
            process = start(
                "--upstream", f"tcp://127.0.0.1:{behind.port}", "--uri", f"tcp://127.0.0.1:{port}", "--gallery", people
            )
            assert process.stdout
            process.stdout.close()
            try:
                for _ in range(200):
                    try:
                        assert (await say(port, alice))[-1].data["speaker"] == "alice"
                        break
                    except OSError:
                        await asyncio.sleep(0.1)
                assert (await say(port, alice))[-1].data["speaker"] == "alice"
            finally:
                process.terminate()
                assert process.stderr
                assert "Traceback" not in process.stderr.read()
                process.stderr.close()
                assert process.wait(20) == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--only", "bob"], "expected people who are enrolled (alice), got bob: edge-lupi enroll NAME"),
        (
            ["--task", "emotion", "--only-enrolled"],
            "expected a task that compares voices beside --only-enrolled, got emotion",
        ),
        (["--uri", "tcp://192.0.2.1:1"], "could not serve at tcp://192.0.2.1:1 (Cannot assign requested address)"),
    ],
)
def test_what_is_refused(people: Path, options: list[str], sentence: str) -> None:
    process = start("--upstream", "tcp://127.0.0.1:1", "--gallery", people, *options)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "text", ["host:10300", "tcp://h:99999", "tcp://h", "tcp://:1", "http://h:1", "tcp://h:1/x", "tcp://a b:1"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="expected tcp://HOST:PORT, got"):
        tcp_address(text, "--uri")


@pytest.mark.parametrize(
    "template",
    ["{speaker.__class__}: {text}", "no braces", "{text} {", "{text!r}", "{text:>9}", "{0}{text}", "{text}{emotion}"],
)
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(InputError, match=r"expected a template with \{text\} and any of \{speaker\}"):
        Policy(template)


def test_without_its_library_it_is_one_sentence() -> None:
    gone = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'wyoming' else f(n, *a)"
    )
    process = start("--upstream", "tcp://h:1", code=gone)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        1,
        f"edge-lupi: edge-lupi wyoming needs the package wyoming: {install_command('wyoming')}\n",
    )
