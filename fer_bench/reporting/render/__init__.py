"""A Table in each format: one small file a format. ``_FORMATS`` is the one list."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fer_bench.records.errors import StoreError
from fer_bench.reporting.render.csv import to_csv
from fer_bench.reporting.render.html import to_html
from fer_bench.reporting.render.json import to_json
from fer_bench.reporting.render.latex import to_latex
from fer_bench.reporting.render.markdown import to_markdown
from fer_bench.reporting.render.text import to_text
from fer_bench.reporting.table import Table

# Name, what writes it, and the suffix of its files; a text for the terminal has none.
_FORMATS: Sequence[tuple[str, Callable[[Table], str], str]] = (
    ("table", to_text, ""),
    ("markdown", to_markdown, "md"),
    ("latex", to_latex, "tex"),
    ("csv", to_csv, "csv"),
    ("json", to_json, "json"),
    ("html", to_html, "html"),
)
FORMATS = {name: write for name, write, _ in _FORMATS}
SUFFIXES = {name: suffix for name, _, suffix in _FORMATS if suffix}
FILED = tuple(name for name in SUFFIXES if name != "html")  # of which a fragment is no file that one opens


def write_all(folder: Path, tables: Mapping[str, Table], formats: Sequence[str] = FILED) -> None:
    """Write each table into a folder in several formats.

    Raises:
        StoreError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, table in tables.items():
            for name in formats:
                (folder / f"{stem}.{SUFFIXES[name]}").write_text(FORMATS[name](table), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write the tables to {folder}: {error.strerror or error}") from error
