"""A Table in each format: one small file a format. ``FORMATS`` is the one list."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fer_bench.records import files
from fer_bench.reporting.render.csv import to_csv
from fer_bench.reporting.render.html import to_html
from fer_bench.reporting.render.json import to_json
from fer_bench.reporting.render.latex import to_latex
from fer_bench.reporting.render.markdown import to_markdown
from fer_bench.reporting.render.text import to_text
from fer_bench.reporting.table import Table

FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
    "html": to_html,
}
_SUFFIXES = {"markdown": "md", "latex": "tex"}  # of files, where it is not the format's name
FILED = tuple(name for name in FORMATS if name not in ("table", "html"))  # a fragment is no file that one opens


def write_all(folder: Path, tables: Mapping[str, Table], formats: Sequence[str] = FILED) -> None:
    """Write each table into a folder in several formats.

    Raises:
        StoreError: the folder or a file cannot be written.
    """
    files.make_folder(folder)
    for stem, table in tables.items():
        for name in formats:
            files.write(folder / f"{stem}.{_SUFFIXES.get(name, name)}", FORMATS[name](table))
