"""What people type: one line per verb. Their work and its imports are elsewhere, so --help stays instant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edge_lupi import __version__
from edge_lupi.entry import run
from edge_lupi.terminal import say
from edge_lupi.verbs import bench, calibrate, compile, doctor, listen, measure, serve, speakers, train, wyoming

app = typer.Typer(
    help="Train a student that hears under a teacher that sees, compile it for an edge device, and listen.",
    epilog="Begin with: edge-lupi listen (who speaks into the default microphone), edge-lupi enroll alice (call her by "
    "name from now on), edge-lupi listen --task emotion --input call.wav; edge-lupi doctor where something does not work.",
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


app.command()(listen.listen)
app.command()(listen.devices)
app.command()(wyoming.wyoming)
app.command()(serve.serve)
app.command()(speakers.enroll)
app.add_typer(speakers.speakers, name="speakers")
app.command()(calibrate.calibrate)
app.command("compile")(compile.make_bundle)
app.command()(compile.inspect)
app.command()(compile.sign)
app.command()(doctor.doctor)
app.command()(measure.evaluate)
app.command(epilog=bench.EXAMPLES)(bench.bench)

trainings = typer.Typer(
    help="Train a teacher, a student, and the student's int8 form, each from a TOML recipe (examples in train/).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(trainings, name="train")
for verb in (train.teacher, train.student, train.shards, train.qat, train.sweep):
    trainings.command()(verb)


def main() -> None:
    """Entry point: whatever goes wrong becomes one sentence on standard error and an exit code."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
