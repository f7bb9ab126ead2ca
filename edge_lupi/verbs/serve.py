"""The verb serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_lupi.errors import DeviceError
from edge_lupi.terminal import note
from edge_lupi.verbs.listen import (
    GateOption,
    LatencyOption,
    SignatureOption,
    SureOption,
    ThresholdOption,
    listener_for,
    served_at,
)
from edge_lupi.verbs.options import BundlesArgument, GalleryOption, GpuOption, TasksOption

AtOption = Annotated[
    Optional[str],
    typer.Option(
        "--at",
        metavar="IP:PORT",
        help="Where to serve; an address that others can reach answers who has its token alone.",
        show_default="127.0.0.1:8765",
    ),
]
TokenOption = Annotated[
    Optional[Path],
    typer.Option(
        "--token", metavar="FILE", help="The token, in a file.", show_default="a new one, printed at the start"
    ),
]
BehindOption = Annotated[
    Optional[str],
    typer.Option(
        metavar="NAME",
        help="What people call the TLS proxy in front, as lupi.example.org; every request needs the token.",
    ),
]
StreamsOption = Annotated[int, typer.Option(min=1, max=1024, help="So many streams at once; further ones are refused.")]


def serve(
    bundle: BundlesArgument = None,
    task: TasksOption = None,
    at: AtOption = None,
    token: TokenOption = None,
    behind: BehindOption = None,
    streams: StreamsOption = 32,
    gate: GateOption = "voice",
    latency: LatencyOption = "normal",
    gpu: GpuOption = None,
    gallery: GalleryOption = None,
    require_signature: SignatureOption = None,
    threshold: ThresholdOption = None,
    sure: SureOption = None,
) -> None:
    """Listen to others' sound: WebSockets in, events out, many at once; HTTP for people and enrolment. See docs/serve.md."""
    address = served_at(at, token, "serve", "at", "uvicorn", "websockets", behind=behind)

    from edge_lupi.page.server import PageServer
    from edge_lupi.runtime.sources.source import Source, stop_on_signals
    from edge_lupi.serve.app import ServiceApp
    from edge_lupi.serve.service import Service
    from edge_lupi.serve.sockets import Socket

    listener = listener_for(bundle, task, gallery, require_signature, threshold, gate=gate, latency=latency, sure=sure)
    service = Service(listener, listener.gallery, streams)
    with PageServer(ServiceApp(service), address, sockets=Socket, more_connections=streams) as server:
        is_stopped = stop_on_signals(Source())
        note(f"serves at {server.address.url}")
        service.run(lambda: is_stopped() or not server.is_running)
    if not is_stopped():
        raise DeviceError("the server has ended by itself: start the service again, and please report it")
    note(str(service.listening.statistics))
