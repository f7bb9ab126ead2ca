"""What is typed for a verb, looked over before it is taken: an option's value that is an option itself is a slip."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["Verb"]


class Verb(TyperCommand):
    """A command in which `--srt --input call.wav` asks for the file of --srt; it would be called `--input` otherwise."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises BadParameter with the usage."""
        names: dict[str, Any] = {name: parameter for parameter in self.params for name in parameter.opts}
        typed = args[: args.index("--")] if "--" in args else args
        for option, value in pairwise(typed):
            asks = option in names and not getattr(names[option], "is_flag", False)
            if asks and value in names and value.startswith("-"):
                raise typer.BadParameter(
                    f"expected a value, got the next option, {value}", ctx=ctx, param=names[option]
                )
        return super().parse_args(ctx, args)
