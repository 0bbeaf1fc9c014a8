r"""A user's own form for tables: a Jinja2 template.

A template sees ``tables``, by name. A table has ``name``, ``title``, ``caption``, ``columns`` (each with ``key``,
``heading``, ``unit``), ``rows`` and ``notes``; a row has ``cells`` by key and ``notes``, the numbers of its notes; a
cell has ``text`` as a table writes it, the raw ``value`` in base units, and ``mark``: "best", "second" or none.

A file that ends in ``.tex``, ``.html``, ``.xml`` or ``.md`` has every text that it prints escaped, any other leaves
texts as they are; ``.j2`` or ``.jinja`` may follow. ``|safe`` prints a text as it is. In ``.tex``, whose braces are
LaTeX's, a value is printed by ``<< >>`` and a statement stands in ``<% %>``, a comment in ``<# #>``; there a column of
counts has one prefix, in its heading. Elsewhere these are ``{{ }}``, ``{% %}`` and ``{# #}``.

A table of one's own in LaTeX, ``mine.tex``::

    \begin{tabular}{lrr}
    Network & MACs & Latency (ms) \\ \hline
    <%- for row in tables.efficiency.rows %>
    << row.cells.name.text >> & << row.cells.macs.value / 1e9 >> G & << row.cells.latency_s.text >> \\
    <%- endfor %>
    \end{tabular}

``fer-bench report last --template mine.tex > table.tex`` fills it in.
"""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Json
from fer_bench.reporting.table import Table, with_units_in_headings

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_HTML = (".html", ".htm", ".xml")
_BEFORE = (".j2", ".jinja", ".jinja2")  # a suffix that says only that it is a template
_LATEX_SYNTAX = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def fill(path: Path, tables: Mapping[str, Table]) -> str:
    """Fill a user's template in.

    Args:
        path: the template, in UTF-8; its suffix says how texts are escaped.
        tables: by the names under which the template finds them.

    Raises:
        FerBenchError: the template cannot be read, or has a mistake; the message has its line.
    """
    import jinja2

    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FerBenchError(f"--template {path}: not a text in UTF-8: {error.reason}") from None
    except OSError as error:
        raise FerBenchError(f"--template {path}: {error.strerror or error}; name a Jinja2 template") from None
    kind = (path.with_suffix("") if path.suffix.lower() in _BEFORE else path).suffix.lower()
    views = {name: _view(with_units_in_headings(table) if kind == ".tex" else table) for name, table in tables.items()}
    try:
        return _environment(kind).from_string(source).render(tables=views)
    except jinja2.TemplateSyntaxError as error:
        raise FerBenchError(f"--template {path}, line {error.lineno}: {error.message}") from None
    except Exception as error:  # whatever the user's own expressions end in
        # Jinja2 puts the template's line into the traceback; the last such frame is where the error comes from.
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
        where = f", line {lines[-1]}" if lines else ""
        raise FerBenchError(f"--template {path}{where}: {type(error).__name__}: {error}") from None


def _environment(kind: str) -> "SandboxedEnvironment":
    """Make what fills in templates of a suffix. Jinja2 itself escapes HTML; for others every value is escaped here."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from markupsafe import Markup

    from fer_bench.reporting.render import latex_text, markdown

    escape = {".tex": latex_text.escape, ".md": markdown.escape}.get(kind)

    def escaped(value: Any) -> Any:
        return value if escape is None or isinstance(value, Markup) else escape(str(value))

    options: dict[str, Any] = {"undefined": StrictUndefined, "finalize": escaped, "keep_trailing_newline": True}
    options |= _LATEX_SYNTAX if kind == ".tex" else {}
    return ImmutableSandboxedEnvironment(autoescape=kind in _HTML, **options)


def _view(table: Table) -> dict[str, Json]:
    """Return what a template sees of a table; see above."""
    rows = []
    for place, (row, numbers) in enumerate(zip(table.rows, table.note_numbers(), strict=True)):
        cells = {
            column.key: {"text": column.text(row), "value": row.get(column.key), "mark": table.mark(place, column)}
            for column in table.columns
        }
        rows.append({"cells": cells, "notes": tuple(numbers)})
    view = {"name": table.name, "title": table.title, "caption": table.caption}
    return {**view, "columns": table.columns, "rows": rows, "notes": table.note_texts}
