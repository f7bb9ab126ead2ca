"""What people type. Each verb parses, checks and calls; the work and its imports are elsewhere, so --help stays instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_lupi.errors import EdgeLupiError

app = typer.Typer(
    help="Train a student that hears under a teacher that sees, compile it for an edge device, and listen.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point: an error made on purpose becomes one line on stderr and exit code 1."""
    try:
        app()
    except EdgeLupiError as error:
        print(f"edge-lupi: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output went away; that is its right
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
