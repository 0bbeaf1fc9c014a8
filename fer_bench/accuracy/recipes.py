"""Recipes: how a paper trains its networks, field by field, each with where it is from.

A recipe is a TOML file, ``models/recipes/<name>.toml`` or a user's own. Its tables are the dataclasses of
``recipe_tables``. The table ``[origins]`` says of each field whether the paper prints it, public code has it, or it is
our choice: ``"optimizer.lr" = "printed: Table 1"``; a table's name stands for all of its fields. A table
``[variants.NAME]`` is another reading of the paper: what it changes, and ``about``. A table in it that names another
optimizer or kind of schedule replaces the recipe's; any other is laid over it.

PyTorch is not imported here; ``schedules`` makes optimisers and schedules of what stands here.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from fer_bench.accuracy.recipe_reading import (
    TABLES,
    TAGS,
    checked_table,
    merged,
    origins_after,
    plain,
    read_origins,
    read_phases,
    refused,
    scaled,
    table_of,
    tagged,
    typed,
)
from fer_bench.accuracy.recipe_tables import (
    CHANGED,
    UNSAID,
    Augmentation,
    BelowOne,
    Constant,
    Data,
    Input,
    Loss,
    Names,
    Optimizer,
    Origin,
    Phase,
    Rate,
    Schedule,
    Selection,
    Stopping,
    members,
)
from fer_bench.networks.contract import InputContract
from fer_bench.records import schema
from fer_bench.records.errors import FerBenchError, nearest
from fer_bench.records.schema import Name, Size, Whole

_FOLDER = Path(__file__).parent.parent / "models" / "recipes"


class Row(NamedTuple):
    """A field as ``--dry-run`` shows it."""

    field: str
    value: str
    origin: str
    why: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a paper trains its networks.

    Attributes:
        name: of the file; with a colon and the variant, if one was chosen.
        networks: that the paper trains so.
        epochs: at most; the sum of the phases', where there are phases.
        selection: which epoch's weights are kept.
        initial: the weights at the start: the network's own random ones, or those of ImageNet.
        stopping: when it ends before; None where it does not.
        phases: in their order; none where all epochs are alike.
        frozen: see ``Phase``; likewise the next.
        clip_norm: of the gradients of all weights together; None where they are not clipped.
        bn_reestimate: batches over which batch norms' statistics are averaged anew before each evaluation; 0 for none.
        dropout: of the network's dropout layers; None for what the network has.
        input: what is done to an image otherwise than the network's sheet says.
        variants: other readings that the file has, with what each is.
        origins: of fields, by dotted names; see ``origin``.

    Examples:
        >>> recipe = fb.read_recipe("rao2023")
        >>> recipe.epochs, recipe.optimizer.name, recipe.origin("epochs").kind
        (250, 'adam', 'printed')
        >>> fb.read_recipe("rao2023:no_l2").loss.l2
        0.0
    """

    name: Name
    title: Name
    networks: Names
    epochs: Size
    batch_size: Size
    optimizer: Optimizer
    selection: Selection
    schedule: Schedule = field(default_factory=lambda: Constant("constant"))
    loss: Loss = field(default_factory=Loss)
    augmentation: Augmentation = field(default_factory=Augmentation)
    initial: Literal["none", "imagenet"] = "none"
    stopping: Stopping | None = None
    phases: tuple[Phase, ...] = ()
    frozen: Names = ()
    frozen_batch_norms: Names = ()
    clip_norm: Rate | None = None
    bn_reestimate: Whole = 0
    dropout: BelowOne | None = None
    input: Input = field(default_factory=Input)
    data: Data = field(default_factory=Data)
    paper: str = ""
    about: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def origin(self, name: str) -> Origin:
        """Return where a field is from, such as "optimizer.lr": what is said of it, or of its table."""
        while name not in self.origins and "." in name:
            name = name.rpartition(".")[0]
        return self.origins.get(name, Origin(UNSAID, ""))

    def with_(self, why: str = "", **changes: Any) -> "Recipe":
        """Return the recipe with other values, such as ``epochs=3`` or ``optimizer={"lr": 0.01}``.

        Phases are shortened or lengthened in proportion where ``epochs`` changes.

        Raises:
            FerBenchError: a field is unknown, or a value is none that it may have.
        """
        data, changes = self.settings(), plain(changes)
        changed = dict(changes)
        if self.phases and "phases" not in changes and "epochs" in changes:
            changes["phases"] = scaled(data["phases"], changes["epochs"], self.name)
            changed |= {f"phases.{phase['name']}.epochs": phase["epochs"] for phase in changes["phases"]}
        about = {key: getattr(self, key) for key in _ABOUT}
        about["origins"] = origins_after(self.origins, changed, Origin(CHANGED, why), {})
        return _read(self.name, {**merged(data, changes), **about}, f"recipe {self.name}")

    def settings(self) -> dict[str, Any]:
        """Return all that decides what a training does, as JSON has it."""
        return {key: value for key, value in plain(self).items() if key not in _ABOUT}

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as a record keeps it, with the origin of each field."""
        said = {row.field: {"origin": row.origin, "why": row.why} for row in self.rows()}
        about = {key: plain(getattr(self, key)) for key in _ABOUT if key not in ("origins", "variants")}
        return {**about, **self.settings(), "origins": said}

    @property
    def sha256(self) -> str:
        """Return the hash of ``settings``."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()

    def parts(self) -> tuple[Self, ...]:
        """Return a recipe without phases for each phase; the recipe itself where it has none."""
        return tuple(self._of_phase(phase) for phase in self.phases) or (self,)

    def _of_phase(self, phase: Phase) -> Self:
        own = ("name", "begins")
        changes = {key: value for key, value in members(phase).items() if key not in own and value is not None}
        return dataclasses.replace(self, phases=(), **changes)

    def contract(self, of_sheet: InputContract) -> InputContract:
        """Return the input contract of a training: the sheet's, changed by ``input``."""
        changes = self.input.changes
        contract = of_sheet
        for key, value in changes.items():
            kind, why = self.origin(f"input.{key}")
            contract = contract.replace(f"recipe {self.name}, {kind}" + (f": {why}" if why else ""), **{key: value})
        return contract

    def rows(self) -> tuple[Row, ...]:
        """Return every field that is in force, with its origin."""
        return tuple(
            Row(name, _OF_DATA if key == "data" and not value else _written(value), *self.origin(name))
            for key in _SETTINGS
            for name, value in _in_force(key, getattr(self, key))
        )

    def lines(self) -> list[str]:
        """Return ``rows`` as aligned lines of text."""
        rows = self.rows()
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return [
            "  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row.why)).rstrip()
            for row in rows
        ]


_OF_DATA = "the data's own"
_ABOUT = ("name", "title", "networks", "paper", "about", "variants", "origins")  # what decides nothing in a training
_SETTINGS = tuple(one.name for one in dataclasses.fields(Recipe) if one.name not in _ABOUT)


def recipe_names() -> tuple[str, ...]:
    """Return the names of our own recipes, alphabetically.

    Examples:
        >>> "rao2023" in fb.recipe_names()
        True
    """
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def read_recipe(name: str | Path) -> Recipe:
    """Return a recipe: one of ours by its name, or that of a file; with ``:VARIANT`` behind, another reading of it.

    Raises:
        FerBenchError: there is no such recipe or variant, or the file is no recipe.

    Examples:
        >>> fb.read_recipe("zhu2024").augmentation.shift_x
        0.75
        >>> fb.read_recipe("zhu2024:mild").augmentation.shift_x
        0.075
    """
    text, variant = str(name), ""
    if not Path(text).is_file() and ":" in text:
        text, _, variant = text.rpartition(":")
    if text.endswith(".toml"):
        return _read_file(Path(text), variant)
    if text not in (known := recipe_names()):
        raise FerBenchError(
            f"no recipe is called {text!r}{nearest(text, known)}; known: {', '.join(known)}; try: one of these, or the "
            "path of a TOML file"
        )
    return _read_file(_FOLDER / f"{text}.toml", variant)


def _read_file(path: Path, variant: str) -> Recipe:
    place, name = path.name, path.stem
    try:
        data = schema.parse_toml(path.read_bytes())
        schema.bounded(data)
    except OSError as error:
        raise FerBenchError(
            f"cannot read the recipe {path}: {error.strerror or error}; try: one of {', '.join(recipe_names())}"
        ) from error
    except ValueError as error:
        raise refused(f"{path} is no recipe: {error}") from error
    variants = checked_table(f"{place}: variants", data.pop("variants", {}))
    readings = {each: dict(checked_table(f"{place}: variants.{each}", changes)) for each, changes in variants.items()}
    data["variants"] = {each: changes.pop("about", "") for each, changes in readings.items()}
    if variant and variant not in readings:
        raise FerBenchError(
            f"recipe {name} has no variant {variant!r}{nearest(variant, readings)}; "
            f"try: {', '.join(f'{name}:{each}' for each in readings) or name}"
        )
    data["origins"] = read_origins(place, data.get("origins", {}), _SETTINGS, data.get("phases", ()))
    first = _read(name, data, place)
    # Each is read, so that a mistake in one does not wait until somebody chooses it.
    made = {
        each: _read(f"{name}:{each}", _varied(data, changes, f"{place}: variants.{each}"), f"{place}: variants.{each}")
        for each, changes in readings.items()
    }
    return made[variant] if variant else first


def _varied(data: Mapping[str, Any], changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a recipe's tables with a variant's laid over them."""
    said = read_origins(place, changes.get("origins", {}), _SETTINGS, {**data, **changes}.get("phases", ()))
    changes = {key: value for key, value in changes.items() if key != "origins"}
    origins = origins_after(data["origins"], changes, Origin(UNSAID, ""), said)
    return {**merged(data, changes), "origins": origins}


def _read(name: str, data: Mapping[str, Any], place: str) -> Recipe:
    """Make a recipe of tables; raise FerBenchError where they are none."""
    tables = {key: value for key, value in data.items() if key not in ("origins", "variants", "name")}
    made = typed(place, Recipe, {**tables, "name": name}, TABLES.keys() | TAGS.keys() | {"phases"})
    for key in TAGS.keys() & tables.keys():
        made[key] = tagged(f"{place}: {key}", key, tables[key])
    for key in TABLES.keys() & tables.keys():
        if tables[key] is not None or key != "stopping":
            made[key] = table_of(f"{place}: {key}", TABLES[key], tables[key])
    made["phases"] = read_phases(place, tables)
    about = {"variants": data.get("variants", {}), "origins": data.get("origins", {})}
    recipe = Recipe(**made, **about)
    _check(place, recipe)
    return recipe


def _check(place: str, recipe: Recipe) -> None:
    """Raise FerBenchError where fields contradict each other."""
    total = sum(phase.epochs for phase in recipe.phases)
    if recipe.phases and total != recipe.epochs:
        raise refused(f"{place}: epochs is {recipe.epochs}, and the phases have {total}")
    if any((part.loss.l2 > 0) != bool(part.loss.l2_on) for part in recipe.parts()):
        raise refused(f"{place}: loss.l2 and loss.l2_on go together: a factor, and names of modules such as ['*']")
    if "best" in (begins := [phase.begins for phase in recipe.phases]):
        if begins[0] == "best":
            raise refused(f"{place}: phases[0].begins is 'best', and nothing is before the first phase")
        if recipe.selection.by == "last":
            raise refused(f"{place}: a phase begins with the best weights, and selection.by is 'last', which has none")
    changes = recipe.input.changes
    if "value_range" in changes and not changes["value_range"][0] < changes["value_range"][1]:
        raise refused(f"{place}: input.value_range is {list(changes['value_range'])}: the second must be larger")


def _in_force(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a recipe's member that say something, by dotted names."""
    if key == "phases":
        for number, phase in enumerate(value):
            unsaid = ("name",) if number else ("name", "begins")  # nothing is before the first
            given = {name: its for name, its in members(phase).items() if name not in unsaid and its not in (None, ())}
            yield from ((f"phases.{phase.name}.{name}", plain(its)) for name, its in given.items())
    elif dataclasses.is_dataclass(value):
        yield from ((f"{key}.{name}", member) for name, member in members(value).items() if member is not None)
    else:
        yield key, value


def _written(value: Any) -> str:
    """Write a value of a recipe in a cell."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        given = {key: member for key, member in value.items() if member not in (None, (), [], "")}
        return ", ".join(f"{key} {_written(member)}" for key, member in given.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_written, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
