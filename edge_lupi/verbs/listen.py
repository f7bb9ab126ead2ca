"""listen and devices."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Optional

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


def listen(
    bundle: BundlesArgument = None,
    task: TasksOption = None,
    input: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="mic|FILE|-",
            help="Microphone, sound file, or standard input: a sound file too, or raw 16-bit mono; may be repeated.",
            show_default="mic",
        ),
    ] = None,
    device: DeviceOption = None,
    channels: Annotated[
        Optional[str],
        typer.Option(metavar="0,1,2", help="Channels to hear each for itself.", show_default="the mean of all"),
    ] = None,
    rate: Annotated[int, typer.Option(help="Samples per second of raw sound on --input -.")] = 16_000,
    paced: Annotated[bool, typer.Option("--paced", help="Play a file as slowly as a microphone would.")] = False,
    gate: Annotated[
        str, typer.Option(help="What lets speech in: voice, also in noise; or energy, cheaper, in quiet rooms.")
    ] = "voice",
    latency: Annotated[
        str,
        typer.Option(
            help="low, normal or accurate. The method needs segment + hop + gate, which is 1 + 0.5 + 0.03 s with the usual "
            "student; low halves the hop; accurate adds a hop, in which the next segment must agree. "
            "The computer's part is latency_ms in each event."
        ),
    ] = "normal",
    no_retry: Annotated[
        bool,
        typer.Option("--no-retry", help="End with an error where the microphone is lost, instead of waiting for it."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
    rttm: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Write turns as they end, as RTTM; of several tasks those of the first."),
    ] = None,
    gpu: GpuOption = None,
    gallery: GalleryOption = None,
    require_signature: Annotated[
        Optional[Path],
        typer.Option(metavar="PEM", help="Refuse a bundle that the holder of this public key has not signed."),
    ] = None,
    threshold: Annotated[
        Optional[float],
        typer.Option(help="Cosine above which two voices are one; of tasks that compare voices.", callback=finite),
    ] = None,
    sure: Annotated[
        Optional[float],
        typer.Option(
            help="Probability below which an emotion is called unsure; 0: never.", show_default="0.5", callback=finite
        ),
    ] = None,
) -> None:
    """Tell who speaks, in what emotion, or both, as it is heard."""
    from edge_lupi.runtime.ears import bundles_for
    from edge_lupi.runtime.listener import Listener
    from edge_lupi.runtime.outputs.live import live_view
    from edge_lupi.runtime.outputs.rttm import RttmFile
    from edge_lupi.runtime.outputs.turns import JsonLines, Lines, Output, Teller
    from edge_lupi.runtime.sources.files import open_source, stop_on_signals
    from edge_lupi.runtime.speakers.gallery import Gallery, default_gallery_path

    bundles, tasks = bundles_for(bundle or [], words(task), require_signature)
    known = None
    asked = [one for one in bundles for name in tasks if name in one.tasks and one.tasks[name].verifies]
    if asked:
        known = Gallery.load(gallery or default_gallery_path(), asked[0].fingerprint)
    listener = Listener(bundles, tasks, known, threshold, gate=gate, latency=latency, sure=sure)
    if any(one.engines or one.engines_fault for one in bundles):
        note(f"runs on the {listener.student.runs_on}")
    for doubt in listener.doubts:
        note(f"edge-lupi: {doubt}")
    inputs = input or ["mic"]
    source = open_source(
        *inputs,
        device=device,
        paced=paced,
        rate_hz=rate,
        channels=numbers(channels),
        retry=not no_retry,
    )
    with ExitStack() as opened:
        shown: Output = JsonLines(sys.stdout)
        if not json:
            shown = live_view(lambda: listener.statistics, tasks=tasks) or Lines(sys.stdout)
        file = RttmFile(rttm, inputs, tasks[0]) if rttm else None
        outputs = [shown] if file is None else [file, shown]
        opened.enter_context(source)
        for output in outputs:
            opened.enter_context(output)
        stop_on_signals(source)
        teller = opened.enter_context(Teller(listener.segmentations, outputs))
        for event in listener.listen(source, passed=teller.passed):
            teller.event(event)
    note(str(listener.statistics))
    if file is not None and not file.is_whole:
        raise typer.Exit(1)


def devices(json: Annotated[bool, typer.Option("--json", help="One microphone a line, as JSON.")] = False) -> None:
    """List the microphones."""
    from edge_lupi.runtime.sources.files import input_devices

    found = input_devices()
    for device in found:
        if json:
            say_json(device)
        else:
            mark = "*" if device["default"] else " "
            say(f"{mark}{device['index']:3}  {device['name']}  ({device['channels']} channels, {device['rate_hz']} Hz)")
    if not found:
        note("no microphone found: plug one in, or listen to a file with --input FILE")
