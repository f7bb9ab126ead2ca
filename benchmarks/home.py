"""The smart home's cost: what `listen --mqtt` adds to a hop, what `edge-lupi wyoming` adds to a transcript, and whom it turns away.

    PYTHONPATH=. python benchmarks/home.py --data $EDGE_LUPI_DATA/librispeech_excerpts

Cost per hop: the same 37 s with and without a broker (a real mosquitto), in pairs of alternating order, processor time of all
threads; and of the connection while nothing changes. Delay: a client speaks at a microphone's pace to a recogniser that
answers at once, directly and through a service in a process of its own, in pairs; pieces of 64 ms; beside the delay, for how
long the service's threads ran, and waited for a processor, which on a busy machine is most of it. Turned away: the 48 held-out
voices, each group of 1, 3 and 24 of them enrolled in turn from half of their speech; everybody says the first 3 s of their other half,
at the bundle's own threshold. Intervals: 95 %, bootstrap over pairs, and over voices.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from edge_lupi import Block, Gallery, Listener, shipped_bundle
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.data.readers.corpora import read_corpus
from edge_lupi.data.splits import split
from edge_lupi.home.mqtt.home import MqttHome
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.enrolment import Enrolment, EnrolmentLimits
from edge_lupi.runtime.enrolment.voice import Speech, voice
from edge_lupi.runtime.outputs.turns import Teller
from edge_lupi.runtime.sources.files import SoundFile
from edge_lupi.sound.audio import read_audio
from tests.home.brokers import free_port, mosquitto
from tests.home.recogniser import Recogniser, pcm, recogniser

ROOT = Path(__file__).resolve().parents[1]
TWO_VOICES = ROOT / "examples" / "two_voices.flac"
PIECE_SECONDS = 0.064


def interval(values: Sequence[float], draws: int = 10_000) -> list[float]:
    """Mean, and its 95 % interval by bootstrap."""
    draw, array = np.random.default_rng(0), np.asarray(values)
    means = array[draw.integers(len(array), size=(draws, len(array)))].mean(1)
    return [float(array.mean()), *(float(edge) for edge in np.percentile(means, [2.5, 97.5]))]


def cost_per_hop(rounds: int, folder: Path) -> dict[str, object]:
    """Milliseconds of processor time a hop of 0.5 s, with and without a broker."""
    samples, _ = soundfile.read(TWO_VOICES, dtype="float32")
    blocks = [Block(part) for part in np.array_split(samples, len(samples) // 1_600)]
    listener = Listener([Bundle.load(shipped_bundle(name)) for name in ("speaker", "emotion")], gallery=None)
    hops = len(samples) / 16_000 / listener.segmentation.hop_seconds
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "mqtt": []}  # of all threads, of the one that listens
    with mosquitto(folder) as broker:
        home = MqttHome.at(f"mqtt://127.0.0.1:{broker.port}", "bench")
        with home.telling(listener.tasks) as told:
            for number in range(rounds + 1):
                for arm in ("plain", "mqtt") if number % 2 else ("mqtt", "plain"):
                    listening = listener.begin()
                    began, own = time.process_time(), time.thread_time()
                    with Teller(listener.segmentations, [told] if arm == "mqtt" else []) as teller:
                        for event in listening.listen(blocks, passed=teller.passed):
                            teller.event(event)
                    if number:  # the first warms up
                        taken = time.process_time() - began, time.thread_time() - own
                        times[arm].append((taken[0] * 1000 / hops, taken[1] * 1000 / hops))
            began, seconds = time.process_time(), 20.0
            time.sleep(seconds)
            idle = (time.process_time() - began) * 1000 / (seconds / listener.segmentation.hop_seconds)
    plain, mqtt = np.asarray(times["plain"]), np.asarray(times["mqtt"])
    return {
        "pairs": rounds,
        "plain_ms": interval(plain[:, 0]),
        "added_ms": interval((mqtt - plain)[:, 0]),
        "added_to_the_listening_thread_ms": interval((mqtt - plain)[:, 1]),
        "connection_alone_ms": idle,
    }


def scheduled_ms(process: int) -> np.ndarray:
    """How long all threads of a process have run, and waited for a processor that others had, in ms."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum((np.asarray((one / "schedstat").read_text().split()[:2], float) for one in threads), np.zeros(2)) / 1e6


async def delays(
    port: int, behind: Recogniser, sound: np.ndarray, process: int
) -> tuple[list[float], float, np.ndarray, str | None]:
    """Of each piece until the recogniser has it, and from the end of the sound to the transcript, in ms; what the process did
    meanwhile (see `scheduled_ms`); and who spoke."""
    from wyoming.asr import Transcribe
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncTcpClient

    behind.events.clear()
    behind.times.clear()
    data, size, sent = pcm(sound), round(PIECE_SECONDS * 16_000) * 2, list[float]()
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Transcribe(language="en").event())
        await client.write_event(AudioStart(16_000, 2, 1).event())
        began = time.perf_counter()
        for number, start in enumerate(range(0, len(data), size)):
            await asyncio.sleep(max(0.0, began + number * PIECE_SECONDS - time.perf_counter()))
            sent.append(time.perf_counter())
            await client.write_event(AudioChunk(16_000, 2, 1, data[start : start + size]).event())
        await client.write_event(AudioStop().event())
        ended, before = time.perf_counter(), scheduled_ms(process)
        while (event := await client.read_event()) and event.type != "transcript":
            pass
    answered, did = (time.perf_counter() - ended) * 1000, scheduled_ms(process) - before
    came = [at - out for at, out in zip(behind.times, sent, strict=False)]
    return [ms * 1000 for ms in came], answered, did, event.data.get("speaker") if event else None


async def added_delay(utterances: int, gallery: Path, *options: str) -> dict[str, object]:
    """Through a service, less directly, in pairs."""
    port, sounds = free_port(), [_stretch(start, 2.5) for start in (0.5, 4.39, 9.22, 13.76, 18.36, 23.41)]
    if options:  # those who are let through
        sounds = sounds[::2]
    async with recogniser() as behind:
        words = ["--upstream", f"tcp://127.0.0.1:{behind.port}", "--uri", f"tcp://127.0.0.1:{port}"]
        command = [sys.executable, "-m", "edge_lupi.cli", "wyoming", *words, "--task", "speaker,emotion", *options]
        process = subprocess.Popen(
            [*command, "--gallery", str(gallery)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            await _there(port)
            pieces: dict[str, list[float]] = {"direct": [], "through": []}
            answers: dict[str, list[float]] = {"direct": [], "through": []}
            people, did = list[str | None](), list[np.ndarray]()
            for number in range(utterances):
                for arm, to in (("direct", behind.port), ("through", port)):
                    one, answered, work, person = await delays(to, behind, sounds[number % len(sounds)], process.pid)
                    pieces[arm] += one
                    answers[arm].append(answered)
                    people += [person] if arm == "through" else []
                    did += [work] if arm == "through" else []
        finally:
            process.terminate()
            process.wait()
    added = np.asarray(answers["through"]) - np.asarray(answers["direct"])
    of_pieces = np.asarray(pieces["through"]) - np.median(pieces["direct"])
    return {
        "utterances": utterances,
        "named": sum(person is not None for person in people),
        "direct_p50_p99_ms": _percentiles(answers["direct"]),
        "through_p50_p99_ms": _percentiles(answers["through"]),
        "added_p50_p99_ms": _percentiles(added),
        "of_it_run_p50_p99_ms": _percentiles(np.asarray(did)[:, 0]),
        "of_it_waited_for_others_p50_p99_ms": _percentiles(np.asarray(did)[:, 1]),
        "pieces": len(of_pieces),
        "added_to_a_piece_p50_p99_ms": None if options else _percentiles(of_pieces),
    }


async def _there(port: int) -> None:
    for _ in range(300):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise SystemExit("the service did not come")


def _percentiles(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(np.percentile(values, 50)), float(np.percentile(values, 99))]


def _stretch(start: float, seconds: float) -> np.ndarray:
    begin, frames = round(start * 16_000), round(seconds * 16_000)
    return np.asarray(soundfile.read(TWO_VOICES, dtype="float32", start=begin, frames=frames)[0])


def enrolled(bundle: Bundle, sounds: dict[str, Path | list[Block]], path: Path) -> Gallery:
    student, gallery = CompiledStudent(bundle, "speaker"), Gallery(path, bundle.fingerprint)
    for name, sound in sounds.items():
        enrolment = Enrolment(student, EnrolmentLimits(speech_seconds=0))
        enrolment.hear(sound if isinstance(sound, list) else SoundFile(sound))
        gallery.add(name, enrolment.exemplars(force=True))
    return gallery


def turned_away(data: Path, folder: Path, seconds: float = 3.0) -> dict[str, object]:
    """How many enrolled people are not let through, and how many strangers are, by how many are enrolled."""
    bundle = Bundle.load(shipped_bundle("speaker"))
    student = CompiledStudent(bundle, "speaker")
    halves: dict[str, list[Path]] = {}
    for one in sorted(split(read_corpus(data), "held_out", validation_speakers=0.1, seed=0).test, key=lambda u: u.name):
        halves.setdefault(one.label, []).append(one.audio)
    said = dict[str, np.ndarray]()
    for name, (_, second, *_) in halves.items():
        speech = Speech(student)
        speech.hear([Block(read_audio(second)[: round(seconds * 16_000)])])
        said[name] = voice(student, speech.embeddings)
    everybody = enrolled(bundle, {name: paths[0] for name, paths in halves.items()}, folder / "everybody.json")
    found: dict[str, object] = {"voices": len(halves), "threshold": bundle.task("speaker").threshold}
    for size in (1, 3, 24):
        wrong: dict[str, dict[str, list[bool]]] = {"missed": {}, "strangers_let_through": {}}
        names = sorted(halves)
        for start in range(0, len(names), size):
            known = names[start : start + size]
            gallery = everybody.only(known, folder / "some.json")
            for name, heard in said.items():
                person, cosine = gallery.match(heard) or ("", 0.0)
                is_admitted = cosine >= (bundle.task("speaker").threshold or 1.0)
                kind, is_wrong = (
                    ("missed", not is_admitted or person != name)
                    if name in known
                    else ("strangers_let_through", is_admitted)
                )
                wrong[kind].setdefault(name, []).append(is_wrong)
        for kind, by_voice in wrong.items():
            found[f"{kind}_of_{size}_enrolled"] = interval([float(np.mean(one)) for one in by_voice.values()])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--utterances", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        bundle = Bundle.load(shipped_bundle("speaker"))
        alice = [Block(_stretch(28.04, 4.85))]
        gallery = enrolled(bundle, {"alice": alice}, folder / "people.json")
        gallery.save()
        found = {
            "mqtt": cost_per_hop(asked.rounds, folder),
            "wyoming": asyncio.run(added_delay(asked.utterances, gallery.path)),
            "only_enrolled": asyncio.run(added_delay(asked.utterances // 2, gallery.path, "--only-enrolled")),
            "turned_away": turned_away(asked.data, folder),
            "load": list(os.getloadavg()),
        }
    for part, figures in [(part, figures) for part, figures in found.items() if isinstance(figures, dict)]:
        for name, value in figures.items():
            shown = " ".join(f"{one:.4g}" for one in value) if isinstance(value, list) else value
            print(f"{part:14} {name:28} {shown}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
