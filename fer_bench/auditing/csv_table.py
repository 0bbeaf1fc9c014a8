"""Read a published table of a user, as CSV or a frame: a row for each network, its counts in whatever unit."""

import csv
import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.auditing.printed import is_number, read
from fer_bench.auditing.verdicts import Claim
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import DEFAULT_INPUT, Figure, ModelSpec
from fer_bench.records.errors import FerBenchError, SheetError
from fer_bench.records.units import whole_number

if TYPE_CHECKING:
    import pandas

# Headings, in lower case without anything but letters, and the quantity below them; the first that fits.
_HEADINGS = (
    ("network", re.compile(r"(model|network|method|architecture|backbone)s?(name)?s?|names?")),
    ("input", re.compile(r"(input|image)(size|res|resolution|shape)?|resolution|res")),
    ("classes", re.compile(r"(num)?class(es)?|numclasses")),
    ("batch", re.compile(r"batch(size)?")),
    ("device", re.compile(r"(device|gpu|hardware|card)")),
    ("parameters", re.compile(r"(of)?(params?|parms?|parameters?)(count|number)?")),
    ("macs", re.compile(r"(g|m)?(macs?|madds?|multadds?|multiplyadds?|muladds?)")),
    ("flops", re.compile(r"(g|m)?flops?")),
    ("file_size", re.compile(r"(file|model|disk)?size|weights|checkpoint|sizeondisk")),
    ("latency", re.compile(r"(latency|time|inferencetime|runtime)")),
    ("accuracy", re.compile(r"(test)?(acc|accuracy)|top(acc|accuracy)?")),
)
# A number, a unit perhaps, and marks that lead to a footnote.
_CELL = re.compile(r"~?\s*(\d[\d.,]*(?: × 10\^\d+)?)\s*([a-zA-Zµ%]*)\s*[*†‡§]*")
_BESIDE_NAME = re.compile(r"\s*(\[[\d, -]*\]|\((ours|proposed)\)|[*†‡§]+)\s*$", re.IGNORECASE)  # citations and marks
_SUFFIXES = {"k": "K", "m": "M", "g": "G", "b": "B", "mb": "MB", "kb": "KB", "gb": "GB", "gflops": "G", "mflops": "M"}
_SUFFIXES |= {"gmacs": "G", "mmacs": "M", "million": "million", "10^9": "B", "1e9": "B", "10^6": "M", "1e6": "M"}
_SAY = '--classes 1000 for ImageNet, --classes 7 for FER2013, or a column "Classes"'
# Units that a column of a quantity can have; with another it is something else.
_UNITS = {"latency": ("ns", "us", "µs", "ms", "s", "min"), "file_size": ("KB", "MB", "GB")}
_BLANK = ("", "-", "--", "\N{EN DASH}", "\N{EM DASH}", "n/a", "N/A")
_MOST_BYTES = 10**7  # of a table that someone typed
_MOST_ROWS = 10_000


def read_table(
    source: "Path | pandas.DataFrame",
    registry: Registry,
    classes: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> list[Claim]:
    """Read a table.

    Cells are data: a name is looked up among the networks of the sheets, torchvision's and timm's, no more.

    Args:
        source: a CSV file or a frame, whose heading names the network (model, name, method), and parameters, FLOPs or
            MACs, each with its unit in the heading, "Params (M)", or in the cells, "5.48M". Columns for input, classes,
            batch, device, latency, file size and accuracy are read too; others are left alone. Cells of a frame are
            best texts: a number 25.0 counts as printed "25", since nobody knows whether the zero was printed.
        registry: the networks that may be named.
        classes: of every network without a cell for it.
        shape: (C, H, W) of every network without a cell for it; None takes the network's own.

    Raises:
        FerBenchError: the file cannot be read, or has no such columns, or nothing in it is a figure.
    """
    if isinstance(source, Path):
        shown, stem, place_of = str(source), source.stem, f"{source.name}, line"
        first, *rows = _rows(source)
    else:
        shown = stem = "table"
        place_of = "table, row"
        first, *rows = _cells(source)
    if len(rows) > _MOST_ROWS:
        raise FerBenchError(
            f"{shown} has {len(rows):,} rows below its headings, and an audit takes up to {_MOST_ROWS:,}: split it"
        )
    headings = [_Heading.of(heading) for heading in first]
    quantities = [heading.quantity for heading in headings]
    if "network" not in quantities or not {"parameters", "macs", "flops"} & set(quantities):
        raise FerBenchError(
            f"{shown}: the first line names no column of networks (model, name) and of counts (params, FLOPs, MACs); "
            f"it has {', '.join(first)}"
        )
    claims = []
    known: dict[str, ModelSpec | None] = {}
    for number, row in enumerate(rows, start=2 if isinstance(source, Path) else 1):
        cells = dict(zip(quantities, (cell.strip() for cell in row), strict=False))
        if cells.get("network"):
            place = f"{place_of} {number}"
            name = _BESIDE_NAME.sub("", cells["network"])
            if name not in known:
                known[name] = _network(name, registry)
            spec = known[name]
            built = _built(spec, cells, classes, shape, place) if spec is not None else None
            claims += list(_figures(stem, headings, row, cells, built, place))
    if not any(is_number(claim.figure.printed) for claim in claims):
        raise FerBenchError(f"{shown} contains no figure: cells are numbers, such as 5.48, 5.48M or 5,483,032")
    return claims


def _cells(frame: "pandas.DataFrame") -> list[list[str]]:
    """Return the cells of a frame as texts, headings first; whole numbers without a point, and blanks empty."""
    if frame.empty:
        raise FerBenchError("the table has no rows")
    rows = frame.astype(object).where(frame.notna(), "")
    return [list(map(str, frame.columns)), *([_text(cell) for cell in row] for row in rows.itertuples(index=False))]


def _text(cell: object) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _rows(path: Path) -> list[list[str]]:
    """Read the cells, headings first; commas, semicolons or tabs between them."""
    import pandas

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FerBenchError(f"{path} has {path.stat().st_size:,} bytes: too large for a published table")
        frame = pandas.read_csv(
            path,
            sep=None,
            engine="python",
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
    except OSError as error:
        raise FerBenchError(f"cannot read the table {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FerBenchError(f"cannot read the table {path}: it is not UTF-8; save it as CSV UTF-8") from error
    except (ValueError, csv.Error, pandas.errors.ParserError) as error:
        raise FerBenchError(f"cannot read the table {path} as CSV: {' '.join(str(error).split())}") from error
    if len(frame) < 2:
        raise FerBenchError(f"{path} has no rows below its headings")
    return [[str(cell) for cell in row] for row in frame.itertuples(index=False)]


@dataclasses.dataclass(frozen=True, slots=True)
class _Heading:
    text: str
    quantity: str
    unit: str

    @classmethod
    def of(cls, text: str) -> "_Heading":
        words, *brackets = re.split(r"[(\[]", text, maxsplit=1)
        unit = brackets[0].strip("]) ").lower().removeprefix("×").removeprefix("x") if brackets else ""
        plain = re.sub(r"[^a-z]", "", words.lower())
        found = next((name for name, pattern in _HEADINGS if pattern.fullmatch(plain)), "")
        if found in ("macs", "flops") and not unit and re.match(r"[gm](mac|madd|mult|mul|flop)", plain):
            unit = plain[0]
        unit = _SUFFIXES.get(unit, unit)
        if unit and unit not in _UNITS.get(found, (unit,)):
            found = ""
        return cls(text.strip(), found, unit)


def _figures(
    paper: str,
    headings: Sequence[_Heading],
    row: Sequence[str],
    cells: Mapping[str, str],
    spec: ModelSpec | None,
    place: str,
) -> Iterable[Claim]:
    """Return what the cells of a row print; one that is no number is kept as words, so that nothing is lost unseen."""
    batch = [f"batch {cells['batch']}"] if re.fullmatch(r"[1-9]\d*", cells.get("batch", "")) else []
    convention = ", ".join([*batch, *filter(None, [cells.get("device")])])
    for heading, cell in zip(headings, map(str.strip, row), strict=False):
        if heading.quantity in ("", "network", "input", "classes", "batch", "device") or cell in _BLANK:
            continue
        found = _CELL.fullmatch(cell)
        printed, suffix = found.groups() if found is not None else (cell, "")
        unit = _SUFFIXES.get(suffix.lower(), suffix) or heading.unit
        if found is None or unit not in _UNITS.get(heading.quantity, (unit,)):
            printed, unit = cell, ""
        figure = Figure(
            heading.quantity,
            printed,
            "%" if heading.quantity == "accuracy" else unit,
            paper,
            "table",
            subject=cells["network"],
            row=place.rpartition(", ")[2],
            column=heading.text,
            convention=convention,
        )
        try:
            read(figure.printed, figure.unit)
        except SheetError as error:
            raise FerBenchError(f"{place}, {heading.text}, cell {cell!r}: {error}") from error
        yield Claim(figure, spec, of_table=True)


def _network(name: str, registry: Registry) -> ModelSpec | None:
    """Find the network that a table means: one of ours, by name or title, or torchvision's or timm's; None for none."""
    if name in registry.networks or name.startswith(("timm:", "torchvision:")):  # a cell is data: it names no code
        return registry.find(name)
    plain = _plain(name)
    for spec in registry.networks.values():
        if plain in (_plain(spec.name), _plain(spec.title)) and spec.can_be_built:
            return spec
    known = _libraries().get(plain)
    return registry.find(known) if known is not None else None


@functools.cache
def _libraries() -> dict[str, str]:
    """Return the names of torchvision's and timm's networks by what ``_plain`` makes of them, torchvision's first."""
    from fer_bench.networks.build import library_names

    return {_plain(name.partition(":")[2]): name for name in reversed(library_names())}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("×", "x"))


def _built(
    spec: ModelSpec, cells: Mapping[str, str], classes: int | None, shape: tuple[int, ...] | None, place: str
) -> ModelSpec:
    """Put the row's input and classes into the network."""
    if cells.get("classes"):
        classes = whole_number(cells["classes"])
        if classes is None:
            raise FerBenchError(f"{place}: {cells['classes'][:60]!r} classes: a number from 1 is expected")
    elif classes is None:
        raise FerBenchError(f"{place}: of how many classes is {cells['network']}? A count depends on it: {_SAY}")
    if cells.get("input"):
        sizes = [size for text in re.findall(r"\d+", cells["input"]) if (size := whole_number(text)) is not None]
        if len(sizes) not in (1, 2, 3) or len(sizes) < len(re.findall(r"\d+", cells["input"])):
            raise FerBenchError(
                f"{place}: the input {cells['input'][:60]!r} is no size, such as 224, 224x224 or 3x224x224"
            )
        if len(sizes) < 3:
            shape = ((spec.input_shape or DEFAULT_INPUT)[0], sizes[0], sizes[-1])
        else:
            first, second, third = sizes
            shape = (third, first, second) if third in (1, 3) and first > 3 else (first, second, third)
    return dataclasses.replace(spec, num_classes=classes, input_shape=shape or spec.input_shape)
