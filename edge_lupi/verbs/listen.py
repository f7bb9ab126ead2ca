"""The verbs listen and devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.errors import InputError
from edge_lupi.terminal import note, say, say_json
from edge_lupi.verbs.options import (
    BundlesArgument,
    DeviceOption,
    GalleryOption,
    GpuOption,
    TasksOption,
    examples,
    finite,
    need,
    numbers,
    words,
)

if TYPE_CHECKING:
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.home.mqtt.home import MqttHome
    from edge_lupi.page.address import Address
    from edge_lupi.page.page import Page
    from edge_lupi.runtime.listening.listener import Listener
    from edge_lupi.runtime.outputs.files import WrittenFile
    from edge_lupi.runtime.outputs.turns import Lines, Output
    from edge_lupi.runtime.second_look.memory import Memory
    from edge_lupi.runtime.sources.source import Source
    from edge_lupi.runtime.speakers.gallery import Gallery

EXAMPLES = examples(
    ("edge-lupi listen", "who speaks into the microphone"),
    ("edge-lupi listen --input call.wav", "who speaks in a sound file"),
    ("edge-lupi listen --task speaker,emotion", "who, and in what emotion"),
    ("edge-lupi listen --input a.wav --rttm a.rttm", "and the turns as a file"),
    ("... | edge-lupi listen --input - --json", "from a pipe, for programs"),
)

InputsOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--input",
        metavar="mic|FILE|-",
        help="Microphone, sound file, or standard input: a sound file too, or raw 16-bit mono; may be repeated.",
        show_default="mic",
    ),
]
ChannelsOption = Annotated[
    Optional[str],
    typer.Option(metavar="0,1,2", help="Channels to hear each for itself.", show_default="the mean of all"),
]
RateOption = Annotated[int, typer.Option(metavar="HZ", help="Sample rate of raw sound on --input -.")]
PacedOption = Annotated[bool, typer.Option("--paced", help="Play a file as slowly as a microphone would.")]
GateOption = Annotated[
    str,
    typer.Option(
        metavar="voice|energy", help="What lets speech in: voice, also in noise; or energy, cheaper, in quiet rooms."
    ),
]
LatencyOption = Annotated[
    str,
    typer.Option(
        metavar="low|normal",
        help="How soon it is told: 1.53 s after it is said; 1.28 s with low, with the speaker student that comes along. "
        "The computer adds some milliseconds, latency_ms in each event.",
    ),
]
NoRetryOption = Annotated[
    bool,
    typer.Option("--no-retry", help="End with an error where the microphone is lost, instead of waiting for it."),
]
RttmOption = Annotated[
    Optional[Path],
    typer.Option(metavar="FILE", help="Write turns as they end, as RTTM; of several tasks those of the first."),
]
SrtOption = Annotated[
    Optional[Path], typer.Option(metavar="FILE", help="The same turns as SubRip subtitles, for players.")
]
VttOption = Annotated[
    Optional[Path], typer.Option(metavar="FILE", help="The same turns as WebVTT subtitles, for browsers.")
]
EventsOption = Annotated[
    Optional[Path], typer.Option(metavar="FILE", help="Write every event as it is said, a line of JSON each.")
]
FinalOption = Annotated[
    bool,
    typer.Option(
        "--final",
        help="At the end look at all that was heard once more: voices that got two numbers are joined, and --rttm, --srt "
        "and --vtt (else the lines printed) hold what that found in place of what was said live.",
    ),
]
SignatureOption = Annotated[
    Optional[Path],
    typer.Option(metavar="PEM", help="Refuse a bundle that the holder of this public key has not signed."),
]
ThresholdOption = Annotated[
    Optional[float],
    typer.Option(
        metavar="COSINE",
        help="From 0 to 1: from here on two voices are one; of tasks that compare voices.",
        show_default="the bundle's, or what was calibrated",
        callback=finite,
    ),
]
SureOption = Annotated[
    Optional[float],
    typer.Option(
        metavar="PROBABILITY",
        help="From 0 to 1: below it an emotion is called unsure; 0: never.",
        show_default="0.5",
        callback=finite,
    ),
]
PageOption = Annotated[
    bool,
    typer.Option(
        "--page", help="Show it in a browser of this computer too, at http://127.0.0.1:8765; needs the extra serve."
    ),
]
PageAtOption = Annotated[
    Optional[str],
    typer.Option(
        metavar="IP:PORT",
        help="--page at another address; one that others can reach is shown to who has its token alone.",
        show_default="127.0.0.1:8765",
    ),
]
PageTokenOption = Annotated[
    Optional[Path],
    typer.Option(
        metavar="FILE", help="The token of --page, in a file.", show_default="a new one, printed at the start"
    ),
]
MqttOption = Annotated[
    Optional[str],
    typer.Option(
        metavar="mqtt[s]://[USER@]HOST[:PORT]",
        help="Tell a broker who speaks, as Home Assistant finds it; needs the extra mqtt.",
    ),
]
MqttNameOption = Annotated[
    Optional[str],
    typer.Option(metavar="NAME", help="What --mqtt calls this listener.", show_default="the computer's name"),
]
MqttPasswordOption = Annotated[
    Optional[Path],
    typer.Option(metavar="FILE", help="The password of --mqtt, in a file that others cannot read."),
]
MqttCaOption = Annotated[
    Optional[Path],
    typer.Option(metavar="PEM", help="Who signed the broker's certificate.", show_default="the system's authorities"),
]


def listen(
    bundle: BundlesArgument = None,
    task: TasksOption = None,
    inputs: InputsOption = None,
    device: DeviceOption = None,
    channels: ChannelsOption = None,
    rate: RateOption = 16_000,
    paced: PacedOption = False,
    gate: GateOption = "voice",
    latency: LatencyOption = "normal",
    no_retry: NoRetryOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
    rttm: RttmOption = None,
    srt: SrtOption = None,
    vtt: VttOption = None,
    events: EventsOption = None,
    final: FinalOption = False,
    gpu: GpuOption = None,
    gallery: GalleryOption = None,
    require_signature: SignatureOption = None,
    threshold: ThresholdOption = None,
    sure: SureOption = None,
    page: PageOption = False,
    page_at: PageAtOption = None,
    page_token: PageTokenOption = None,
    mqtt: MqttOption = None,
    mqtt_name: MqttNameOption = None,
    mqtt_password: MqttPasswordOption = None,
    mqtt_ca: MqttCaOption = None,
) -> None:
    """Tell who speaks, in what emotion, or both, as it is heard."""
    from edge_lupi.runtime.outputs.asked_files import asked_files
    from edge_lupi.runtime.second_look.memory import Memory
    from edge_lupi.runtime.sources.open import open_source

    if final and as_json and not (rttm or srt or vtt):
        raise InputError("expected --rttm, --srt or --vtt beside --final and --json, got none: events are said live")
    shows = page or page_at or page_token
    address = served_at(page_at, page_token, "listen --page", "page_at", "uvicorn") if shows else None
    home = _home(mqtt, mqtt_name, mqtt_password, mqtt_ca)
    listener = listener_for(bundle, task, gallery, require_signature, threshold, gate=gate, latency=latency, sure=sure)
    if any(ear.bundle.engines or ear.bundle.engines_fault for ear in listener.ears):
        note(f"runs on the {listener.student.runs_on}")
    names, own_channels = inputs or ["mic"], numbers(channels)
    source = open_source(*names, device=device, paced=paced, rate_hz=rate, channels=own_channels, retry=not no_retry)
    memory = Memory(listener) if final else None
    of_task = (memory or listener).task.name
    files = asked_files(names, of_task, rttm=rttm, srt=srt, vtt=vtt, events=events)
    shown = _page(address, listener) if address else None
    with shown.server if shown else nullcontext(), home.telling(listener.tasks) if home else nullcontext() as told:
        if shown:
            note(f"the page is at {shown.server.address.url}")
        is_stopped = _run(listener, source, files, as_json, shown, memory, told)
        if shown and not is_stopped():
            note("the sound has ended; the page stays until Ctrl-C")
            shown.stay(is_stopped)
    if not all(file.is_whole for file in files):
        raise typer.Exit(1)


def listener_for(
    bundle: list[Path] | None,
    task: list[str] | None,
    gallery: Path | None,
    signed_by: Path | None,
    threshold: float | None,
    *,
    gate: str = "voice",
    latency: str = "normal",
    sure: float | None = None,
) -> Listener:
    """Who listens for what is asked, knowing whom is enrolled; what is doubtful about that is said."""
    from edge_lupi.runtime.listening.ears import bundles_for
    from edge_lupi.runtime.listening.listener import Listener

    bundles, tasks = bundles_for(bundle or [], words(task), signed_by)
    people = _people_of(gallery, bundles, tasks)
    listener = Listener(bundles, tasks, people, threshold, gate=gate, latency=latency, sure=sure)
    for doubt in listener.doubts:
        note(f"edge-lupi: {doubt}")
    return listener


def served_at(
    at: str | None, token: Path | None, verb: str, option: str, *modules: str, behind: str | None = None
) -> Address:
    """Where a server is to be, which `option` says; refused where its libraries are not installed."""
    from edge_lupi.page.address import DEFAULT_ADDRESS, checked_address, read_token

    need(verb, *modules, extra="serve")
    return checked_address(at or DEFAULT_ADDRESS, read_token(token) if token else None, option, behind)


def _home(url: str | None, name: str | None, password: Path | None, ca: Path | None) -> MqttHome | None:
    """The broker that is to be told; refused where its library is not installed."""
    from edge_lupi.errors import InputError

    if url is None:
        if name is not None or password or ca:
            raise InputError(
                "expected --mqtt URL beside its name, password or certificate, got none: pass it, or none of them"
            )
        return None
    need("listen --mqtt", "paho", extra="mqtt")
    from edge_lupi.home.mqtt.home import MqttHome

    return MqttHome.at(url, name, password, ca)


def _page(address: Address, listener: Listener) -> Page:
    from edge_lupi.page.page import Page

    return Page(address, listener, listener.gallery)


def _people_of(gallery: Path | None, bundles: Sequence[Bundle], tasks: Sequence[str]) -> Gallery | None:
    """The known speakers, where a task compares voices."""
    from edge_lupi.runtime.speakers.gallery import Gallery, default_gallery_path

    asked = [one for one in bundles for name in tasks if name in one.tasks and one.tasks[name].verifies]
    return Gallery.load(gallery or default_gallery_path(), asked[0].fingerprint) if asked else None


def _run(
    listener: Listener,
    source: Source,
    files: Sequence[WrittenFile],
    as_json: bool,
    page: Page | None,
    memory: Memory | None,
    told: Output | None = None,
) -> Callable[[], bool]:
    """One run over a source, shown on standard output and on a page, and written into files; a second look; its statistics.

    Gives a question: was it stopped by a signal?
    """
    from edge_lupi.runtime.outputs.turns import EventsAlone, JsonLines, Lines, Teller
    from edge_lupi.runtime.sources.source import stop_on_signals

    listening = page.listening if page else listener.begin()
    shown: Output = JsonLines(sys.stdout)
    if not as_json:
        from edge_lupi.runtime.outputs.live import live_view  # rich, which programs need not wait for

        tasks = [task.name for task in listener.tasks]
        shown = live_view(lambda: listening.statistics, tasks=tasks) or Lines(sys.stdout)
    live: Output = EventsAlone(shown) if memory else shown
    outputs = [*files, *([memory] if memory else []), *([page.output] if page else []), *([told] if told else []), live]
    with ExitStack() as opened:
        opened.enter_context(source)
        if source.goes_on:
            note(f"listening to {source.title}; Ctrl-C ends")
        for output in outputs:
            opened.enter_context(output)
        is_stopped = stop_on_signals(source)
        teller = opened.enter_context(Teller(listener.segmentations, outputs))
        sound, encoded = page.handing_on(source) if page else source, memory.encoded if memory else None
        for event in listening.listen(sound, passed=teller.passed, encoded=encoded):
            teller.event(event)
    if silence := listening.statistics.silence():
        note(silence)
    if memory:
        _look_again(memory, files, Lines(sys.stdout) if not as_json else None)
    note(str(listening.statistics))
    return is_stopped


def _look_again(memory: Memory, files: Sequence[WrittenFile], printed: Lines | None) -> None:
    """What the second look found, into the files, or onto standard output where none is asked for."""
    from edge_lupi.runtime.outputs.files import TurnFile
    from edge_lupi.runtime.second_look.look import look_again
    from edge_lupi.runtime.second_look.memory import speakers_in

    turns = look_again(memory)
    of_turns = [file for file in files if isinstance(file, TurnFile)]
    for file in of_turns:
        file.revise(turns)
    if printed and not of_turns:
        for turn in turns:
            printed.turn(turn)
    note(f"second look: voices found {speakers_in(turns)}, told live {speakers_in(memory.turns_live)}")


def devices(as_json: Annotated[bool, typer.Option("--json", help="One microphone a line, as JSON.")] = False) -> None:
    """List the microphones, by the numbers and names that `listen --device` takes."""
    from edge_lupi.runtime.sources.microphone import input_devices

    found = input_devices()
    for device in found:
        if as_json:
            say_json(device)
        else:
            mark = "*" if device["default"] else " "
            say(f"{mark}{device['index']:3}  {device['name']}  ({device['channels']} channels, {device['rate_hz']} Hz)")
    if not found:
        note("no microphone found: plug one in, or listen to a file with --input FILE")
