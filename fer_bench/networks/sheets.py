"""Read sheets: the TOML files that register networks and papers.

A sheet is ``models/<family>.toml``. Its table ``[name]`` registers the function ``name`` of ``models/<family>.py``, and
has the facts: input, classes, paper, expected counts, and every figure that the papers print. What a paper prints
about none of the networks is in ``models/papers/<id>.toml``.

A table of a user's sheet may have code beside it, as ours, or name a known network under ``network``. With neither it
only has what others published.

A published result says how it was obtained by the keys of ``spec.Conditions``; "unknown" says that the source does not.
What all results of a paper on one data set share stands in the paper's sheet, in ``[results.DATASET]``.

A table ``[name.gate]`` holds limits that ``fer-bench gate`` keeps the network under; ``[gate]`` holds those of all
networks of the sheet, where they say none of their own.

A table ``[name.input]`` has the network's input contract; fields that its ``sources`` do not name are assumed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fer_bench.networks import spec
from fer_bench.networks.contract import InputContract
from fer_bench.networks.spec import Conditions, Figure, ModelSpec, Paper, Source
from fer_bench.records import schema
from fer_bench.records.errors import FerBenchError, SheetError
from fer_bench.records.limits import Budget
from fer_bench.records.schema import shortened

_KEYS = frozenset(ModelSpec.__dataclass_fields__) - {"name", "source"} | {"network"}
_LISTS = ("printed", "networks", "rows", "columns")  # of a figure; ``printed`` for a confusion matrix alone
_CONDITION_KEYS = frozenset(Conditions.__dataclass_fields__)
_FIGURE_KEYS = frozenset(Figure.__dataclass_fields__) - {"conditions"} | _CONDITION_KEYS
_TABLES = ("confusion_matrix", "layer_detail")  # quantities that may be printed as a table
_LONGEST = 60  # characters of a value in a message
_RUNS = ("single", "best", "mean")
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]  # conditions by paper and data set, as sheets have them
# Of a paper's own figures: what no network has.
_PAPER_QUANTITIES = frozenset(
    "citation claim class_labels count definition layer_detail name protocol share variant_index".split()
)


def _figures(
    place: str, entries: list[dict[str, Any]], results: Results, known: frozenset[str] = spec.QUANTITIES
) -> Iterator[Figure]:
    for entry in _tables(place, "a published figure", entries):
        unknown = entry.keys() - _FIGURE_KEYS
        missing = {"quantity", "printed", "unit", "paper", "where"} - entry.keys()
        if unknown or missing:
            raise SheetError(f"{place}: a published figure {_complaint(missing, unknown)}: {entry}")
        wrong = [
            (key, value)
            for key, value in entry.items()
            if key not in _CONDITION_KEYS
            and not isinstance(value, str)
            and not (key in _LISTS and isinstance(value, list))
        ]
        if wrong:
            raise SheetError(
                f"{place}: {wrong[0][0]} is {_written(wrong[0][1])}, expected text in quotes, as it is printed"
            )
        if entry["quantity"] not in known:
            raise SheetError(f"{place}: unknown quantity {entry['quantity']!r}; known: {', '.join(sorted(known))}")
        printed = {key: value for key, value in entry.items() if key not in _CONDITION_KEYS}
        cells = printed.pop("printed")
        figure = _typed(place, Figure, printed)
        if isinstance(cells, list) or entry["quantity"] == "confusion_matrix":
            _check_matrix(place, entry["quantity"], cells, figure)
        stated = {key: value for key, value in entry.items() if key in _CONDITION_KEYS}
        if entry["quantity"] in spec.RESULTS:
            stated = {**results.get(entry["paper"], {}).get(entry.get("dataset", ""), {}), **stated}
        yield Figure(printed=_frozen(cells), **figure, conditions=_conditions(place, stated))


def _conditions(place: str, stated: Mapping[str, Any]) -> Conditions:
    known = {key: value for key, value in stated.items() if value != "unknown"}
    if unknown := known.keys() - _CONDITION_KEYS:
        raise SheetError(
            f"{place}: a result {_complaint(set(), set(unknown))}; it has {', '.join(sorted(_CONDITION_KEYS))}"
        )
    for key, value in known.items():
        if key == "input_shape":
            fine, expected = _is_shape(value), "[channels, height, width]"
        elif key in ("num_classes", "passes"):
            fine, expected = _is_size(value), "a number from 1"
        else:
            fine = isinstance(value, str) and (key != "runs" or value in _RUNS)
            expected = " or ".join(_RUNS) if key == "runs" else "text in quotes"
        if not fine:
            raise SheetError(f'{place}: {key} is {_written(value)}, expected {expected}, or "unknown"')
    return Conditions(**{key: _frozen(value) for key, value in known.items()})


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_size, value))


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _check_matrix(place: str, quantity: str, cells: Any, figure: Mapping[str, Any]) -> None:
    """Raise SheetError where a table is not a list of as many rows and columns of texts as have headings."""
    rows, columns = (figure.get(name, ()) for name in ("rows", "columns"))
    if quantity not in _TABLES or not isinstance(cells, list) or len(cells) != len(rows):
        raise SheetError(f"{place}: printed is {_written(cells)}, expected text in quotes, as it is printed")
    for row in cells:
        if not isinstance(row, list) or len(row) != len(columns) or not all(isinstance(cell, str) for cell in row):
            raise SheetError(f"{place}: printed has the row {_written(row)}, expected {len(columns)} texts in quotes")


def _written(value: Any) -> str:
    """Write what stands in a sheet, which may be of any length."""
    return repr(value) if isinstance(value, list) and len(repr(value)) <= _LONGEST else shortened(value)


def _tables(place: str, what: str, entries: Any) -> list[dict[str, Any]]:
    """Return a list of tables; raise SheetError where it is something else."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SheetError(f"{place}: expected {what} as a table, [[...]], got {_written(entries)}")
    return entries


def _typed(place: str, kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as the fields of a dataclass have them; raise SheetError where one is of another type."""
    try:
        schema.bounded(values)
        return schema.fields(kind, values)
    except ValueError as error:
        raise SheetError(f"{place}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _complaint(missing: set[str], unknown: set[str]) -> str:
    parts = [f"lacks {', '.join(sorted(missing))}"] if missing else []
    parts += [f"has unknown keys {', '.join(sorted(unknown))}"] if unknown else []
    return " and ".join(parts)


def _spec(
    path: Path,
    name: str,
    table: dict[str, Any],
    limits: Budget,
    zoo: Mapping[str, ModelSpec] | None,
    results: Results,
) -> ModelSpec:
    place = f"{path.name} [{name}]"
    if not isinstance(table, dict):
        raise SheetError(f"{place} is no table: a sheet has one for each network, headed [name]")
    needed = {"title"} if zoo is not None else {"title", "input_shape", "num_classes", "status"}
    missing, unknown = needed - table.keys(), table.keys() - _KEYS
    if missing or unknown:
        raise SheetError(f"{place} {_complaint(missing, unknown)}")
    shape = table.get("input_shape", list(spec.DEFAULT_INPUT))
    if not _is_shape(shape):
        raise SheetError(f"{place}: input_shape is {_written(shape)}, expected [channels, height, width]")
    if table.get("status", "unregistered") not in list(spec.STATUSES):
        raise SheetError(f"{place}: status {_written(table['status'])} is none of {', '.join(spec.STATUSES)}")
    classes = table.get("num_classes", spec.DEFAULT_CLASSES)
    if not _is_size(classes):
        raise SheetError(f"{place}: num_classes is {_written(classes)}, expected a number from 1")
    published = tuple(_figures(place, table.get("published", []), results))
    gate = _limits(f"{path.name} [{name}.gate]", table.get("gate", {})).or_else(limits)
    contract = _contract(f"{path.name} [{name}.input]", table["input"], shape, classes) if "input" in table else None
    apart = ("published", "network", "gate", "input")
    rest = _typed(place, ModelSpec, {key: value for key, value in table.items() if key not in apart})
    ours = Source("zoo", name, module=path.stem)
    source = ours if zoo is None else _users_source(path, name, table.get("network", ""), zoo)
    return ModelSpec(name=name, source=source, published=published, gate=gate, input=contract, **rest)


def _users_source(path: Path, name: str, network: str, zoo: Mapping[str, ModelSpec]) -> Source:
    """Return the source of the network that a user's table names, the file beside the sheet, or none."""
    if not isinstance(network, str):
        raise SheetError(f"{path.name} [{name}]: network is {_written(network)}, expected a name in quotes")
    if network:
        source = zoo[network].source if network in zoo else Source.of(network)
        if source is None:
            raise SheetError(f"{path.name} [{name}]: network {network!r} is unknown; `fer-bench list` shows ours")
        return source
    code = path.with_suffix(".py")
    return Source("file", name, file=str(code)) if code.is_file() else spec.PUBLISHED


def _limits(place: str, table: Any) -> Budget:
    if not isinstance(table, dict):
        raise SheetError(f"{place} is {_written(table)}, expected a table of limits such as max_params = '5 M'")
    try:
        return Budget.of(table)
    except FerBenchError as error:
        raise SheetError(f"{place}: {error}") from error


def _contract(place: str, table: Any, shape: list[int], classes: int) -> InputContract:
    """Read an input contract; raise SheetError where it contradicts the network's own input and classes."""
    try:
        contract = InputContract.of(table)
    except (ValueError, FerBenchError) as error:
        raise SheetError(f"{place}: {error}") from error
    if list(contract.shape) != shape:
        raise SheetError(f"{place}: takes {list(contract.shape)}, where input_shape is {shape}")
    if len(contract.classes) != classes:
        raise SheetError(f"{place}: has {len(contract.classes)} classes, where num_classes is {classes}")
    return contract


def read_sheet(
    path: Path, zoo: Mapping[str, ModelSpec] | None = None, papers: Mapping[str, Paper] | None = None
) -> dict[str, ModelSpec]:
    """Read one sheet.

    Args:
        path: of the sheet.
        zoo: networks that a user's sheet may name; None for a sheet of ours.
        papers: say what holds of all their results on a data set.

    Raises:
        SheetError: the file is no TOML, or a table lacks a key or has one that no sheet has.
    """
    tables = _toml(path)
    limits = _limits(f"{path.name} [gate], the limits of all networks of the sheet", tables.pop("gate", {}))
    results = {paper.id: paper.results for paper in (papers or {}).values()}
    return {name: _spec(path, name, table, limits, zoo, results) for name, table in tables.items()}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return schema.parse_toml(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SheetError(f"cannot read the sheet {path}: {error}") from error


def read_paper(path: Path) -> Paper:
    """Read the sheet of a paper.

    Raises:
        SheetError: the file is no TOML, or has a key that no such sheet has.
    """
    data = _toml(path)
    about = data.get("paper", {})
    if not isinstance(about, dict):
        raise SheetError(f"{path.name}: paper is {_written(about)}, expected a table, [paper]")
    unknown = about.keys() - (Paper.__dataclass_fields__.keys() - {"figures", "results"}) | data.keys() - {
        "paper",
        "figures",
        "results",
    }
    missing = {"id", "title"} - about.keys()
    if missing or unknown:
        raise SheetError(f"{path.name} [paper] {_complaint(missing, unknown)}")
    about, results = _typed(f"{path.name} [paper]", Paper, about), data.get("results", {})
    if not isinstance(results, dict) or not all(isinstance(stated, dict) for stated in results.values()):
        raise SheetError(f"{path.name}: results is {_written(results)}, expected tables, [results.DATASET]")
    for dataset, stated in results.items():
        _conditions(f"{path.name} [results.{dataset}]", stated)
    known = spec.QUANTITIES | _PAPER_QUANTITIES
    figures = tuple(_figures(path.name, data.get("figures", []), {about["id"]: results}, known))
    return Paper(**about, figures=figures, results=results)
