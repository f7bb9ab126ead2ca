"""Every error a user may meet. Each is one sentence: what was expected, what came, what to do.

EdgeLupiError
├── InputError      a file, recipe, number or name given by the user is not what is needed
├── BundleError     a student.pt or .lupi is damaged, foreign or of another version
├── DeviceError     a microphone or an accelerator cannot be used
└── MissingExtra    a verb needs packages that this install does not have
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any

__all__ = ["BundleError", "DeviceError", "EdgeLupiError", "InputError", "MissingExtra"]


class EdgeLupiError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one sentence.

    `options` name what else can be asked for, as parameters are called: the sentence says it in plain words, which a page
    or a program shows as they are, and the command line adds the flags to type, as `(--replace, --force)`.
    """

    def __init__(self, sentence: str = "", *, options: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.options = tuple(options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is, whatever it was made of: a process of a pool must not die of its own error."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InputError(EdgeLupiError):
    """Something the user gave cannot be used."""


class BundleError(EdgeLupiError):
    """A student or a bundle cannot be trusted or read."""


class DeviceError(EdgeLupiError):
    """A device is absent, busy or of the wrong kind."""


class MissingExtra(EdgeLupiError):
    """A part of the toolkit is not installed. `instead` says what else helps, as `convert it to WAV`."""

    def __init__(self, verb: str, needs: str, extra: str = "", *, install: str = "", instead: str = "") -> None:
        from edge_lupi.installed import SIZES, install_command  # here, so that --help stays instant

        aside = "; ".join(filter(None, (SIZES.get(extra, ""), f"or {instead}" if instead else "")))
        more = f" ({aside})" if aside else ""
        super().__init__(f"edge-lupi {verb} needs {needs}{more}: {install or install_command(extra)}")
