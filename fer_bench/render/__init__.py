"""A Table in each format: one small file a format. ``FORMATS`` is the one list."""

from collections.abc import Callable, Mapping
from pathlib import Path

from fer_bench.errors import StoreError
from fer_bench.render.csv import to_csv
from fer_bench.render.latex import to_latex
from fer_bench.render.markdown import to_markdown
from fer_bench.render.text import to_text
from fer_bench.table import Table

FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
}

_SUFFIXES = {"markdown": "md", "latex": "tex", "csv": "csv"}


def write_all(folder: Path, tables: Mapping[str, Table]) -> None:
    """Write each table into a folder in every format that a file can have.

    Raises:
        StoreError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, table in tables.items():
            for name, suffix in _SUFFIXES.items():
                (folder / f"{stem}.{suffix}").write_text(FORMATS[name](table), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write the tables to {folder}: {error.strerror or error}") from error
