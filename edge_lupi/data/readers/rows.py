"""CSV files as rows with line numbers: path -> list of Row(line, {column: value}). Every fault is named with its line.

Such a list may come from elsewhere: only plain files of bounded size are read, line after line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.disk import kind_of, read_bounded
from edge_lupi.errors import InputError

__all__ = ["LARGEST_BYTES", "Row", "lines_of", "read_rows"]

LARGEST_BYTES = 1 << 28  # of a table: VoxCeleb 2 with all its paths is 110 MB


@dataclass(frozen=True)
class Row:
    """One line of a CSV file: `row["audio"]` is never empty for a required column."""

    path: Path
    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def get(self, column: str) -> str | None:
        """The value, or None where the column is absent or the cell empty."""
        return self.values.get(column) or None

    def fault(self, expected: str, got: str, advice: str) -> InputError:
        """The error that says where in the file it lies."""
        return InputError(f"expected {expected} in {self.path} line {self.line}, got {got}: {advice}")

    def file(self, column: str) -> Path:
        """The file that a cell names, relative to the CSV, which must be there."""
        path = self.path.parent / self[column]
        if "\0" in self[column] or kind_of(path) != "file":
            raise self.fault(f"a file under {column}", f"{self[column]!r}, which is not there", "correct the path")
        return path


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark, each with its ending."""
    data = io.BytesIO(read_bounded(path, LARGEST_BYTES, "a text file"))
    try:
        yield from io.TextIOWrapper(data, "utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise InputError(f"expected UTF-8 text in {path}, got other bytes: save it as UTF-8") from error


def read_rows(path: Path, required: Collection[str], optional: Collection[str] | None = None) -> list[Row]:
    """The rows of a CSV file whose first line names its columns; with `optional` given, no other column may stand there."""
    lines = csv.reader(lines_of(path), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        _check_header(path, header, required, optional)
        rows = [_row(path, lines.line_num, header, cells) for cells in lines if cells]
    except csv.Error as error:
        raise InputError(
            f"expected CSV in {path}, got line {lines.line_num} that cannot be read ({error}): correct its quotes"
        ) from error
    for row in rows:
        for column in required:
            if not row[column]:
                raise row.fault(f"a value under {column}", "an empty cell", "fill it in or remove the line")
    if not rows:
        raise InputError(f"expected at least one line under the header of {path}, got none: add utterances")
    return rows


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> Row:
    row = Row(path, line, dict(zip(header, map(str.strip, cells), strict=False)))
    if len(cells) != len(header):
        raise row.fault(f"{len(header)} values", f"{len(cells)}", "count the commas")
    return row


def _check_header(path: Path, header: list[str], required: Collection[str], optional: Collection[str] | None) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(
            f"expected the columns {', '.join(required)} in {path}, got no {', '.join(missing)}: name them in its first line"
        )
    if len(set(header)) != len(header):
        raise InputError(f"expected every column of {path} once, got {','.join(header)}: rename one")
    unknown = [] if optional is None else [name for name in header if name not in {*required, *optional}]
    if unknown:
        columns = ", ".join((*required, *(optional or ())))
        raise InputError(
            f"expected only the columns {columns} in {path}, got also {', '.join(map(repr, unknown))}: remove or rename"
        )
