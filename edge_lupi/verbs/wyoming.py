"""The verb wyoming."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.errors import InputError, MissingExtra
from edge_lupi.terminal import note, say, say_json
from edge_lupi.verbs.listen import SignatureOption, ThresholdOption, listener_for
from edge_lupi.verbs.options import BundlesArgument, GalleryOption, JsonOption, TasksOption, words

if TYPE_CHECKING:
    from edge_lupi.home.wyoming.heard import Spoken
    from edge_lupi.home.wyoming.policy import Policy
    from edge_lupi.runtime.listening.listener import Listener


def wyoming(
    upstream: Annotated[
        str, typer.Option(metavar="tcp://HOST:PORT", help="The recogniser that words come from, as faster-whisper's.")
    ],
    bundle: BundlesArgument = None,
    uri: Annotated[
        str,
        typer.Option(
            metavar="tcp://HOST:PORT", help="Where to serve; Wyoming has no password, so mind who can reach it."
        ),
    ] = "tcp://127.0.0.1:10300",
    task: TasksOption = None,
    say_template: Annotated[
        Optional[str],
        typer.Option("--say", metavar="TEMPLATE", help="What to make of a transcript, as '{speaker}: {text}'."),
    ] = None,
    only_enrolled: Annotated[
        bool,
        typer.Option(
            "--only-enrolled",
            help="Let enrolled people through alone: what anybody else says is passed on to nobody, and its transcript is empty.",
        ),
    ] = False,
    only: Annotated[
        Optional[list[str]],
        typer.Option(metavar="NAME", help="The same for these people alone; with a comma, or repeated."),
    ] = None,
    gallery: GalleryOption = None,
    threshold: ThresholdOption = None,
    require_signature: SignatureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stand before a Wyoming speech-to-text service, as in Home Assistant, and add who spoke to its transcripts."""
    import asyncio
    from importlib.util import find_spec

    if find_spec("wyoming") is None:
        raise MissingExtra("wyoming", "the package wyoming", "wyoming")
    from edge_lupi.home.wyoming.address import tcp_address
    from edge_lupi.home.wyoming.server import serve

    here, there = tcp_address(uri, "uri"), tcp_address(upstream, "upstream")
    listener = listener_for(bundle, task, gallery, require_signature, threshold)
    policy = _policy(listener, say_template, words(only), only_enrolled)
    if not here.is_own:
        note(
            f"edge-lupi: whoever can reach {here} can ask who speaks, and see transcripts: Wyoming has no password and no encryption"
        )
    asyncio.run(serve(here, there, listener, policy, _tell_json if as_json else _tell))


def _policy(listener: Listener, template: str | None, only: list[str], only_enrolled: bool) -> Policy:
    from edge_lupi.home.wyoming.policy import Policy, people_let_through

    through = None
    if only or only_enrolled:
        if not any(task.verifies for task in listener.tasks):
            raise InputError(
                f"expected a task that compares voices beside --only-enrolled, got {listener.task.name}: add --task speaker"
            )
        through = people_let_through(only, listener.gallery.names if listener.gallery else [])
    return Policy(template, through, tuple(task.name for task in listener.tasks))


def _tell(spoken: Spoken, is_admitted: bool) -> None:
    """A line for each utterance. Whether anybody reads it or not, the service goes on."""
    figures = [
        f"{event.label} {event.score if event.score is not None else event.probability or 0:.2f}"
        for event in spoken.events.values()
    ]
    with suppress(InputError, BrokenPipeError):
        say(f"{spoken.seconds:6.2f} s  {', '.join(figures) or 'nobody spoke'}{'' if is_admitted else '  turned away'}")


def _tell_json(spoken: Spoken, is_admitted: bool) -> None:
    with suppress(InputError, BrokenPipeError):
        say_json({"seconds": spoken.seconds, "admitted": is_admitted, **spoken.fields()})
