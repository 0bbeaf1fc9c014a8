"""A Table as LaTeX, for the packages booktabs and graphicx."""

from fer_bench.table import Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # at the start of a row it would be an argument of the line break before it
    "]": "{]}",
    "\N{EN DASH}": "--",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\n": " ",
}


def escape(text: str) -> str:
    """Make plain text safe in LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def to_latex(table: Table) -> str:
    """Write a floating table with booktabs rules, scaled to the text width, its footnotes below it."""
    import pandas

    frame = pandas.DataFrame(
        [[escape(cell) for cell in row] for row in table.cells()],
        columns=[escape(column.heading) for column in table.columns],
    )
    body = frame.style.hide(axis="index").to_latex(
        hrules=True, column_format="".join("l" if column.align == "left" else "r" for column in table.columns)
    )
    notes = "\n\n".join(map(escape, table.footnotes))
    return (
        "% needs \\usepackage{booktabs,graphicx} and \\usepackage[T1]{fontenc}\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escape(table.title)}. {escape(table.caption)}}}\n"
        f"\\resizebox{{\\textwidth}}{{!}}{{%\n{body.rstrip()}\n}}\n"
        + (f"\\par\\smallskip\n{{\\raggedright\\footnotesize\n{notes}\\par}}\n" if notes else "")
        + "\\end{table}\n"
    )
