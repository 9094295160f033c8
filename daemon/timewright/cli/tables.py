"""Tables that fit where they are read. On a terminal that is too narrow, columns that matter less go first,
and the last column wraps; ids and reasons are never cut. Elsewhere: one line a row, all columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

_GAP = 2
_LEAST = 24  # cells that the last column needs beside the others; else it goes below its row


@dataclass(frozen=True)
class Column:
    """`drop`: the higher, the sooner it goes on a narrow terminal; 0: never. `wraps`: free text, the last."""

    name: str
    drop: int = 0
    wraps: bool = False


def marked(markup: str) -> Text:
    """Markup as text. What came from outside is escaped in it, and its `:smile:` stays as it is."""
    return Text.from_markup(markup, emoji=False)


def table(out: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[Text]:
    """The lines of a table. Cells are markup; a column that is empty in all rows is left out."""
    texts = [[marked(cell) for cell in row] for row in rows]
    kept = [index for index in range(len(columns)) if any(row[index].plain for row in texts)]
    kept = _fitting(columns, kept, texts, out.width if out.is_terminal else None)
    widths = {index: _width(columns, index, texts) for index in kept}
    header = [Text(columns[index].name, style="bold") for index in kept]
    lines = _row(out, columns, kept, widths, header)
    for row in texts:
        lines += _row(out, columns, kept, widths, [row[index] for index in kept])
    return lines


def show(out: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    for line in table(out, columns, rows):
        out.print(line)


def _width(columns: Sequence[Column], index: int, rows: Sequence[Sequence[Text]]) -> int:
    return max([len(columns[index].name), *(row[index].cell_len for row in rows)])


def _fitting(
    columns: Sequence[Column], kept: list[int], rows: Sequence[Sequence[Text]], room: int | None
) -> list[int]:
    """The columns that fit side by side."""

    def needed() -> int:
        return sum(
            (_LEAST if columns[index].wraps else _width(columns, index, rows)) + _GAP for index in kept
        )

    while room is not None and needed() - _GAP > room:
        goes = max(kept, key=lambda index: columns[index].drop)
        if not columns[goes].drop:
            break
        kept = [index for index in kept if index != goes]
    return kept


def _row(
    out: Console, columns: Sequence[Column], kept: list[int], widths: dict[int, int], cells: list[Text]
) -> list[Text]:
    line = Text()
    for index, cell in zip(kept, cells, strict=True):
        if columns[index].wraps:
            return _with_wrapped(out, line, cell)
        line.append_text(cell)
        line.append(" " * (widths[index] - cell.cell_len + _GAP))
    line.rstrip()
    return [line]


def _with_wrapped(out: Console, line: Text, cell: Text) -> list[Text]:
    """A row and its last cell: beside it where there is room, else below it."""
    indent = line.cell_len
    if not out.is_terminal:
        line.append_text(cell)
        line.rstrip()
        return [line]
    lines = []
    if out.width - indent < _LEAST:
        indent = 4
        line.rstrip()
        lines, line = [line], Text(" " * indent)
    for part in cell.wrap(out, max(out.width - indent, _LEAST)) or [Text()]:
        part.rstrip()
        line.append_text(part)
        line.rstrip()
        lines.append(line)
        line = Text(" " * indent)
    return lines
