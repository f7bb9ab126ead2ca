"""What people type: one line per verb. Their work and its imports are elsewhere, so --help stays instant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edge_lupi import __version__
from edge_lupi.entry import run
from edge_lupi.terminal import say
from edge_lupi.verbs import bench, calibrate, compile, doctor, listen, measure, serve, speakers, train, wyoming
from edge_lupi.verbs.options import examples
from edge_lupi.verbs.typed import Verb

app = typer.Typer(
    help="Train a student that hears under a teacher that sees, compile it for an edge device, and listen.",
    epilog=examples(
        ("edge-lupi listen", "who speaks, at this moment"),
        ("edge-lupi enroll alice", "she has a name from now on"),
        ("edge-lupi listen --task emotion --input call.wav", "in what emotion"),
        ("edge-lupi doctor", "what is amiss"),
        ("edge-lupi listen --help", "more of one verb"),
    ),
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        say(f"edge-lupi {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What can be asked before a verb is named."""


app.command(epilog=listen.EXAMPLES)(listen.listen)
app.command(short_help="List the microphones.")(listen.devices)
app.command(short_help="Stand before a recogniser, and say who spoke.")(wyoming.wyoming)
app.command(short_help="Serve programs that send sound over WebSockets.")(serve.serve)
app.command(epilog=speakers.ENROLL_EXAMPLES, short_help="Learn a voice, so that listen calls it by name.")(
    speakers.enroll
)
app.add_typer(speakers.speakers, name="speakers", short_help="Known speakers: list, rename, merge, remove, export.")
app.command(epilog=calibrate.EXAMPLES, short_help="Set the threshold for strangers, show or undo it.")(
    calibrate.calibrate
)
app.command("compile", epilog=compile.EXAMPLES, short_help="Make a bundle for edge devices of a student.")(
    compile.make_bundle
)
app.command(epilog=compile.INSPECT_EXAMPLES)(compile.inspect)
app.command(short_help="Sign a bundle with a key of your own.")(compile.sign)
app.command(short_help="Look over this machine, and say what to do.")(doctor.doctor)
app.command(epilog=measure.EXAMPLES, short_help="Measure a model on labelled speech.")(measure.evaluate)
app.command(epilog=bench.EXAMPLES, short_help="Measure how fast this device listens.")(bench.bench)

trainings = typer.Typer(
    help="Train a teacher, a student, and the student's int8 form, each from a TOML recipe (examples in train/).",
    epilog=train.EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(trainings, name="train", short_help="Train a teacher, a student and its int8 form.")
for verb in (train.teacher, train.student, train.qat):
    trainings.command()(verb)
trainings.command(short_help="Make voices count more than rooms, wires and babble.")(train.wccn)
trainings.command(short_help="Cut a corpus too large for memory into shards.")(train.shards)
trainings.command(short_help="Train every arm of a recipe, fold by fold, and tell the gains.")(train.sweep)

for group in (app, speakers.speakers, trainings):
    for command in group.registered_commands:
        command.cls = Verb


def main() -> None:
    """Entry point: whatever goes wrong becomes one sentence on standard error and an exit code."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
