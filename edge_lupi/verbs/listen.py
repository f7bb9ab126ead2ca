"""listen and devices."""

from __future__ import annotations

import sys
from typing import Annotated, Optional

import typer

from edge_lupi.verbs.options import BundleArgument, DeviceOption, GalleryOption


def listen(
    bundle: BundleArgument = None,
    task: Annotated[str, typer.Option(help="What to tell: speaker or emotion.")] = "speaker",
    input: Annotated[
        str, typer.Option(metavar="mic|FILE|-", help="Microphone, sound file, or raw 16-bit mono.")
    ] = "mic",
    device: DeviceOption = None,
    rate: Annotated[int, typer.Option(help="Samples per second of --input -.")] = 16_000,
    paced: Annotated[bool, typer.Option("--paced", help="Play a file as slowly as a microphone would.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
    gallery: GalleryOption = None,
    threshold: Annotated[Optional[float], typer.Option(help="Cosine above which two voices are one.")] = None,
) -> None:
    """Tell who speaks, or in what emotion, as it is heard."""
    from edge_lupi.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.gallery import Gallery, default_gallery_path
    from edge_lupi.runtime.listener import Listener
    from edge_lupi.runtime.sources import open_source, stop_on_signals
    from edge_lupi.runtime.turns import show

    student = Bundle.load(bundle or shipped_bundle(task))
    known = None
    if student.task(task).kind == "verification":
        known = Gallery.load(gallery or default_gallery_path(), student.fingerprint)
    listener = Listener(student, task, known, threshold)
    if student.engines:
        print(f"runs on the {listener.student.runs_on}", file=sys.stderr)
    with open_source(input, device=device, paced=paced, rate_hz=rate) as source:
        stop_on_signals(source)
        events = listener.listen(source)
        if json:
            for event in events:
                print(event.to_json(), flush=True)
        else:
            show(events, student.segmentation, sys.stdout)
    print(listener.statistics, file=sys.stderr)


def devices(json: Annotated[bool, typer.Option("--json", help="One microphone a line, as JSON.")] = False) -> None:
    """List the microphones."""
    from json import dumps

    from edge_lupi.runtime.sources import input_devices

    found = input_devices()
    for device in found:
        mark = "*" if device["default"] else " "
        line = f"{mark}{device['index']:3}  {device['name']}  ({device['channels']} channels, {device['rate_hz']} Hz)"
        print(dumps(device, ensure_ascii=False) if json else line)
    if not found:
        print("no microphone found: plug one in, or listen to a file with --input FILE", file=sys.stderr)
