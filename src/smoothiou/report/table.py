"""A table, and its Markdown, LaTeX and plain HTML; that of a page is the template's part."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

_LATEX = str.maketrans(
    {
        "\n": " ", "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", "±": r"$\pm$", "−": r"$-$", "–": "--", "≥": r"$\geq$", "λ": r"$\lambda$", "Δ": r"$\Delta$",
        "[": "{[}", "]": "{]}",  # after a line end LaTeX would read an option
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Args:
        text: the number or word.
        detail: its interval, written small beneath.
        strong: in bold: the best, and distinguishable.
        value: what a column is sorted by.
        kind: a class for its look: "better", "worse", "same" or "unknown"; "wrap" may take several lines.
    """

    text: str
    detail: str = ""
    strong: bool = False
    value: float | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table.

    Args:
        head: the row's name.
        cells: one per column.
        loss: the loss whose mark stands before the name, if any.
        kind: "wins" | "loss" | "difference" | "".
    """

    head: str
    cells: list[Cell]
    loss: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption and the sentences that say how to read it."""

    key: str
    caption: str
    corner: str
    columns: list[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        from smoothiou.report.text_table import text_table

        return text_table(self)

    def _repr_html_(self) -> str:
        """Return the table as HTML, for a notebook; an interval stands beneath its number."""
        heads = "".join(f"<th>{html.escape(head)}</th>" for head in (self.corner, *self.columns))
        rows = ("".join([f"<th>{html.escape(row.head)}</th>", *map(_html_cell, row.cells)]) for row in self.rows)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        notes = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in self.notes)
        caption = f"<caption>{html.escape(self.caption)}</caption>"
        return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{notes}"

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown, its caption above and its notes below."""
        lines = [f"**{markdown(self.caption)}**", "", _markdown_row(map(markdown, (self.corner, *self.columns)))]
        lines.append("|:--|" + "--:|" * len(self.columns))
        for row in self.rows:
            lines.append(_markdown_row([markdown(row.head), *map(_markdown_cell, row.cells)]))
        for note in self.notes:
            lines += ["", markdown(note)]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """Return the table for the packages booktabs and graphicx, with the same numbers as the page.

        A table that is wider than the text is made smaller.
        """
        lines = []
        for _, rows in groupby(self.rows, key=lambda row: row.kind):
            lines.append(r"    \midrule")
            for row in rows:
                bold = (rf"\textbf{{{latex(c.text)}}}" if c.strong else latex(c.text) for c in row.cells)
                lines.append(_latex_row(latex(row.head), *bold))
                if any(cell.detail for cell in row.cells):  # beneath, or a table of intervals is wider than a page
                    beneath = (rf"{{\scriptsize {latex(c.detail)}}}" if c.detail else "" for c in row.cells)
                    lines.append(_latex_row("", *beneath))
        return "\n".join(
            [
                r"\begin{table}",
                r"  \centering\small\setlength{\tabcolsep}{4pt}",
                rf"  \caption{{{latex(self.caption)}. {latex(' '.join(self.notes))}}}",
                rf"  \label{{tab:{self.key}}}",
                r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                rf"  \begin{{tabular}}{{l{'r' * len(self.columns)}}}",
                r"    \toprule",
                _latex_row(latex(self.corner), *map(latex, self.columns)),
                *lines,
                r"    \bottomrule",
                r"  \end{tabular}}",
                r"\end{table}",
                "",
            ]
        )


def markdown(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text).replace("\n", " ")


def latex(text: str) -> str:
    """Return a text that LaTeX prints as it is."""
    return text.translate(_LATEX)


def _html_cell(cell: Cell) -> str:
    text = f"<b>{html.escape(cell.text)}</b>" if cell.strong else html.escape(cell.text)
    return f"<td>{text}<br><small>{html.escape(cell.detail)}</small></td>" if cell.detail else f"<td>{text}</td>"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{markdown(cell.text)}**" if cell.strong else markdown(cell.text)
    return f"{text} {markdown(cell.detail)}" if cell.detail else text


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_row(*cells: str) -> str:
    return f"    {' & '.join(cells)} \\\\"
