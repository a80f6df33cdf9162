"""The Markdown and LaTeX spellings of a table."""

from __future__ import annotations

import re

from smoothiou.report.cells import Cell, Row, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line end LaTeX would read an option
    "]": "{]}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "λ": r"$\lambda$",
    "Δ": r"$\Delta$",
}


def markdown(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text).replace("\n", " ")


def latex(text: str) -> str:
    """Return a text that LaTeX prints as it is."""
    return "".join(_LATEX.get(sign, sign) for sign in text.replace("\n", " "))


def markdown_table(table: Table) -> str:
    """Return a table in GitHub's Markdown, its caption above and its notes below."""
    lines = [f"**{markdown(table.caption)}**", ""]
    lines.append("| " + " | ".join([markdown(table.corner), *(markdown(column) for column in table.columns)]) + " |")
    lines.append("|:--|" + "--:|" * len(table.columns))
    for row in table.rows:
        lines.append("| " + " | ".join([markdown(row.head), *(_markdown_cell(cell) for cell in row.cells)]) + " |")
    for note in table.notes:
        lines += ["", markdown(note)]
    return "\n".join(lines) + "\n"


def latex_table(table: Table) -> str:
    """Return a table for the booktabs package, with the same numbers as the page."""
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex(table.caption)}. {latex(' '.join(table.notes))}}}",
        rf"  \label{{tab:{table.key}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"    \toprule",
        "    " + " & ".join([latex(table.corner), *(latex(column) for column in table.columns)]) + r" \\",
        r"    \midrule",
    ]
    previous: Row | None = None
    for row in table.rows:
        if previous is not None and previous.kind != row.kind:
            lines.append(r"    \midrule")
        lines.append("    " + " & ".join([latex(row.head), *(_latex_cell(cell) for cell in row.cells)]) + r" \\")
        previous = row
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{markdown(cell.text)}**" if cell.strong else markdown(cell.text)
    return f"{text} {markdown(cell.detail)}" if cell.detail else text


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{latex(cell.text)}}}" if cell.strong else latex(cell.text)
    return f"{text} {latex(cell.detail)}" if cell.detail else text
