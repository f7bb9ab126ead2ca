"""The verbs listen and devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.terminal import note, say, say_json
from edge_lupi.verbs.options import (
    BundlesArgument,
    DeviceOption,
    GalleryOption,
    GpuOption,
    TasksOption,
    finite,
    numbers,
    words,
)

if TYPE_CHECKING:
    from edge_lupi.bundle.bundle import Bundle
    from edge_lupi.page.address import Address
    from edge_lupi.page.page import Page
    from edge_lupi.runtime.listening.listener import Listener
    from edge_lupi.runtime.outputs.rttm import RttmFile
    from edge_lupi.runtime.sources.source import Source
    from edge_lupi.runtime.speakers.gallery import Gallery

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
RateOption = Annotated[int, typer.Option(help="Samples per second of raw sound on --input -.")]
PacedOption = Annotated[bool, typer.Option("--paced", help="Play a file as slowly as a microphone would.")]
GateOption = Annotated[
    str, typer.Option(help="What lets speech in: voice, also in noise; or energy, cheaper, in quiet rooms.")
]
LatencyOption = Annotated[
    str,
    typer.Option(
        help="low, normal or accurate. The method needs segment + hop + gate, which is 1 + 0.5 + 0.03 s with the usual "
        "student; low halves the hop; accurate adds a hop, in which the next segment must agree. "
        "The computer's part is latency_ms in each event."
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
SignatureOption = Annotated[
    Optional[Path],
    typer.Option(metavar="PEM", help="Refuse a bundle that the holder of this public key has not signed."),
]
ThresholdOption = Annotated[
    Optional[float],
    typer.Option(help="Cosine above which two voices are one; of tasks that compare voices.", callback=finite),
]
SureOption = Annotated[
    Optional[float],
    typer.Option(
        help="Probability below which an emotion is called unsure; 0: never.", show_default="0.5", callback=finite
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
    gpu: GpuOption = None,
    gallery: GalleryOption = None,
    require_signature: SignatureOption = None,
    threshold: ThresholdOption = None,
    sure: SureOption = None,
    page: PageOption = False,
    page_at: PageAtOption = None,
    page_token: PageTokenOption = None,
) -> None:
    """Tell who speaks, in what emotion, or both, as it is heard."""
    from edge_lupi.runtime.listening.ears import bundles_for
    from edge_lupi.runtime.listening.listener import Listener
    from edge_lupi.runtime.outputs.rttm import RttmFile
    from edge_lupi.runtime.sources.open import open_source

    address = _page_address(page_at, page_token) if page or page_at or page_token else None
    bundles, tasks = bundles_for(bundle or [], words(task), require_signature)
    people = _people(gallery, bundles, tasks)
    listener = Listener(bundles, tasks, people, threshold, gate=gate, latency=latency, sure=sure)
    if any(one.engines or one.engines_fault for one in bundles):
        note(f"runs on the {listener.student.runs_on}")
    for doubt in listener.doubts:
        note(f"edge-lupi: {doubt}")
    names, own_channels = inputs or ["mic"], numbers(channels)
    source = open_source(*names, device=device, paced=paced, rate_hz=rate, channels=own_channels, retry=not no_retry)
    file = RttmFile(rttm, names, tasks[0]) if rttm else None
    shown = _page(address, listener, people) if address else None
    with shown.server if shown else nullcontext():
        if shown:
            note(f"the page is at {shown.server.address.url}")
        is_stopped = _run(listener, source, file, as_json, shown)
        if shown and not is_stopped():
            note("the sound has ended; the page stays until Ctrl-C")
            shown.stay(is_stopped)
    if file is not None and not file.is_whole:
        raise typer.Exit(1)


def _page_address(at: str | None, token: Path | None) -> Address:
    """Where the page is to be; refused where its library is not installed."""
    from importlib.util import find_spec

    from edge_lupi.errors import MissingExtra
    from edge_lupi.page.address import DEFAULT_ADDRESS, checked_address, read_token

    if find_spec("uvicorn") is None:
        raise MissingExtra("listen --page", "uvicorn", "serve")
    return checked_address(at or DEFAULT_ADDRESS, read_token(token) if token else None)


def _page(address: Address, listener: Listener, people: Gallery | None) -> Page:
    from edge_lupi.page.page import Page

    return Page(address, listener, people)


def _people(gallery: Path | None, bundles: Sequence[Bundle], tasks: Sequence[str]) -> Gallery | None:
    """The known speakers, where a task compares voices."""
    from edge_lupi.runtime.speakers.gallery import Gallery, default_gallery_path

    asked = [one for one in bundles for name in tasks if name in one.tasks and one.tasks[name].verifies]
    return Gallery.load(gallery or default_gallery_path(), asked[0].fingerprint) if asked else None


def _run(
    listener: Listener, source: Source, file: RttmFile | None, as_json: bool, page: Page | None
) -> Callable[[], bool]:
    """One run over a source, shown on standard output and on a page, and written into the file; then its statistics.

    Gives a question: was it stopped by a signal?
    """
    from edge_lupi.runtime.outputs.turns import JsonLines, Lines, Output, Teller
    from edge_lupi.runtime.sources.source import stop_on_signals

    listening = page.listening if page else listener.begin()
    shown: Output = JsonLines(sys.stdout)
    if not as_json:
        from edge_lupi.runtime.outputs.live import live_view  # rich, which programs need not wait for

        tasks = [task.name for task in listener.tasks]
        shown = live_view(lambda: listening.statistics, tasks=tasks) or Lines(sys.stdout)
    outputs = [*([file] if file else []), *([page.output] if page else []), shown]
    with ExitStack() as opened:
        opened.enter_context(source)
        for output in outputs:
            opened.enter_context(output)
        is_stopped = stop_on_signals(source)
        teller = opened.enter_context(Teller(listener.segmentations, outputs))
        for event in listening.listen(page.handing_on(source) if page else source, passed=teller.passed):
            teller.event(event)
    note(str(listening.statistics))
    return is_stopped


def devices(as_json: Annotated[bool, typer.Option("--json", help="One microphone a line, as JSON.")] = False) -> None:
    """List the microphones."""
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
