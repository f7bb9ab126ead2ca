"""Wyoming peers that do not do as most do: another order of events, no sound, gone while they are owed an answer; a fault of our own."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest

pytest.importorskip("wyoming")

from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event

from edge_lupi import Listener
from edge_lupi.home.wyoming import protocol
from edge_lupi.home.wyoming.server import MOST_CLIENTS
from edge_lupi.runtime.listening.listening import Listening
from tests.home.recogniser import WORDS, Recogniser, pcm
from tests.home.test_wyoming import (
    ONLY_ALICE,
    Samples,
    Service,
    alice,  # noqa: F401
    listener,  # noqa: F401
    people,  # noqa: F401
    start,
    through,
)

START, STOP = AudioStart(16_000, 2, 1).event(), AudioStop().event()


def chunks(samples: Samples) -> list[Event]:
    data = pcm(samples)
    return [AudioChunk(16_000, 2, 1, data[at : at + 8_192]).event() for at in range(0, len(data), 8_192)]


async def answers(before: Service, *events: Event) -> list[Event]:
    """What comes for these, up to a transcript, an error or the end."""
    got = list[Event]()
    async with AsyncTcpClient("127.0.0.1", before.port) as client:
        for one in events:
            await client.write_event(one)
        while event := await asyncio.wait_for(client.read_event(), 20):
            got.append(event)
            if event.type in ("transcript", "error"):
                break
    return got


@pytest.mark.parametrize("policy", [None, ONLY_ALICE])
def test_sound_without_its_start(listener: Listener, alice: Samples, policy: object) -> None:  # noqa: F811
    """As recognisers take it, who know the format from each piece."""

    async def talk(before: Service, behind: Recogniser) -> None:
        got = await answers(before, Transcribe(language="en").event(), *chunks(alice), STOP)
        assert (got[-1].data["text"], got[-1].data["speaker"]) == (WORDS, "alice")
        assert behind.types() == ["transcribe", "audio-start", "audio-chunk", "audio-stop"]
        assert behind.sound == pcm(alice)

    through(listener, talk, policy=policy)  # type: ignore[arg-type]


def test_no_sound_at_all(listener: Listener) -> None:  # noqa: F811
    """An end without a beginning is answered, as nobody waits for ever."""

    async def talk(before: Service, behind: Recogniser) -> None:
        got = await answers(before, Transcribe().event(), STOP)
        assert [(event.type, event.data["text"]) for event in got] == [("transcript", "")]
        assert behind.events == []

    through(listener, talk)


@pytest.mark.parametrize("policy", [None, ONLY_ALICE])
def test_what_is_asked_after_the_start_is_of_this_sound(
    listener: Listener,  # noqa: F811
    alice: Samples,  # noqa: F811
    policy: object,
) -> None:
    async def talk(before: Service, behind: Recogniser) -> None:
        got = await answers(before, START, Transcribe(language="de").event(), *chunks(alice), STOP)
        assert got[-1].data["text"] == WORDS
        languages = [event.data["language"] for event in behind.events if event.type == "transcribe"]
        assert languages == ["de"]

    through(listener, talk, policy=policy)  # type: ignore[arg-type]


def test_who_goes_while_the_recogniser_thinks_frees_their_place(listener: Listener, alice: Samples) -> None:  # noqa: F811
    """A recogniser that hangs does not fill the service with those who have given up on it."""

    async def talk(before: Service, behind: Recogniser) -> None:
        for _ in range(MOST_CLIENTS + 2):
            async with AsyncTcpClient("127.0.0.1", before.port) as client:
                for event in (START, chunks(alice)[0], STOP):
                    await client.write_event(event)
                await asyncio.sleep(0.02)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if (await answers_to_ping(before)) == "pong":
                break
        else:
            raise AssertionError("no place is free")

    through(listener, talk, behaviour="silent")


async def answers_to_ping(before: Service) -> str:
    async with AsyncTcpClient("127.0.0.1", before.port) as client:
        await client.write_event(Event("ping"))
        event = await asyncio.wait_for(client.read_event(), 20)
    return event.type if event else ""


def test_what_comes_behind_the_end_waits_for_its_turn(listener: Listener, alice: Samples) -> None:  # noqa: F811
    async def talk(before: Service, behind: Recogniser) -> None:
        async with AsyncTcpClient("127.0.0.1", before.port) as client:
            for event in [START, *chunks(alice), STOP, Event("ping"), START, *chunks(alice), STOP]:
                await client.write_event(event)
            got = list[str]()
            while got.count("transcript") < 2:
                one = await asyncio.wait_for(client.read_event(), 20)
                assert one
                got.append(one.type)
        assert [kind for kind in got if kind in ("transcript", "pong")] == ["transcript", "pong", "transcript"]

    through(listener, talk)


def test_a_fault_of_ours_is_told_and_ends_this_utterance_alone(
    listener: Listener,  # noqa: F811
    alice: Samples,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the engine is gone")

    async def talk(before: Service, behind: Recogniser) -> None:
        with monkeypatch.context() as faulty:
            faulty.setattr(Listening, "push", fails)
            got = await answers(before, START, chunks(alice)[0], chunks(alice)[1], STOP)
        assert (got[-1].type, got[-1].data.get("code")) == ("error", "internal")
        said = capsys.readouterr().err
        assert "an utterance could not be heard (RuntimeError: the engine is gone)" in said
        got = await answers(before, START, *chunks(alice), STOP)
        assert got[-1].data["speaker"] == "alice"

    through(listener, talk)
    assert "Traceback" not in capsys.readouterr().err


def test_an_end_while_a_recogniser_hangs_is_an_end_as_any_other(tmp_path: Path) -> None:
    """One that takes connections and says nothing, from the start on."""
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        where = f"tcp://127.0.0.1:{hangs.getsockname()[1]}"
        process = start("--upstream", where, "--uri", "tcp://127.0.0.1:0", "--gallery", tmp_path / "people.json")
        try:
            assert process.stderr
            assert any("the Wyoming service is at" in line for line in process.stderr)
            with hangs.accept()[0] as asked:  # what there is
                asked.recv(100)
                process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=20)[1]
        finally:
            process.kill()
            process.communicate()
    assert (process.returncode, said) == (0, "")


def test_who_reads_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed with something unsent does not stay for ever."""
    monkeypatch.setattr(protocol, "WRITE_SECONDS", 0.3)

    async def run() -> None:
        given = list[asyncio.StreamWriter]()

        async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x" * (1 << 24))
            protocol.let_go(writer)
            given.append(writer)

        server = await asyncio.start_server(come, "127.0.0.1", 0)
        _, client = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1], limit=1024)
        client.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(100):
            await asyncio.sleep(0.1)
            if given and given[0].transport.get_write_buffer_size() == 0:
                break
        assert given[0].transport.get_write_buffer_size() == 0
        client.close()
        server.close()

    asyncio.run(run())
