"""A table for a terminal."""

from __future__ import annotations

from smoothiou.report.table import Table


def text_table(table: Table) -> str:
    """Return a table as aligned text; the head of a column is wrapped, a word a line, so that numbers stay close."""
    heads = [head.split(" ") for head in (table.corner, *table.columns)]
    depth = max(map(len, heads))
    lines = list(zip(*([""] * (depth - len(head)) + head for head in heads), strict=True))
    for row in table.rows:
        lines.append((row.head, *(f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in row.cells)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        "  ".join(f"{cell:{'>' if column else '<'}{widths[column]}}" for column, cell in enumerate(line)).rstrip()
        for line in lines
    ]
    return "\n".join([*([table.caption, ""] if table.caption else []), *aligned])
