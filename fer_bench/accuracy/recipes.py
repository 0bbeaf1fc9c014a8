"""Recipes: how a paper trains its networks, field by field, each with where it is from.

A recipe is a TOML file, ``models/recipes/<name>.toml`` or a user's own. Tables of it are the dataclasses below. The
table ``[origins]`` says of each field whether the paper prints it, public code has it, or it is our choice:
``"optimizer.lr" = "printed: Table 1"``; a table's name stands for all of its fields. A table ``[variants.NAME]`` is
another reading of the paper: what it changes, and ``about``. A table in it that names another optimizer or kind of
schedule replaces the recipe's; any other is laid over it.

PyTorch is not imported here; ``schedules`` makes optimisers and schedules of what stands here.
"""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from msgspec import Meta

from fer_bench.networks.contract import InputContract
from fer_bench.records import schema
from fer_bench.records.errors import FerBenchError, nearest
from fer_bench.records.schema import Name, Size, Whole

_FOLDER = Path(__file__).parent.parent / "models" / "recipes"
ORIGINS = ("printed", "public code", "our choice")
UNSAID = "not stated"  # the origin of a field that a user's file says nothing of
CHANGED = "changed"  # the origin of a field that was changed when the recipe was used

_Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
_BelowOne = Annotated[int, Meta(ge=0, le=0)] | Annotated[float, Meta(ge=0, lt=1)]
_Factor = Annotated[float, Meta(gt=0, lt=1)]
_Degrees = Annotated[int, Meta(ge=0, le=180)] | Annotated[float, Meta(ge=0, le=180)]
_Rate = Annotated[int, Meta(gt=0, le=1000)] | Annotated[float, Meta(gt=0, le=1000)]
_Amount = Annotated[int, Meta(ge=0, le=1000)] | Annotated[float, Meta(ge=0, le=1000)]
_Value = Annotated[int, Meta(ge=-1000, le=1000)] | Annotated[float, Meta(ge=-1000, le=1000)]
_Betas = Annotated[tuple[_BelowOne, ...], Meta(min_length=2, max_length=2)]
_Pair = Annotated[tuple[_Value, ...], Meta(min_length=2, max_length=2)]
_Names = tuple[Name, ...]

Monitor = Literal["training_loss", "training_accuracy", "validation_loss", "validation_accuracy"]
Rule = Literal["reaches", "exceeds"]


@dataclass(frozen=True, slots=True)
class SGD:
    """Stochastic gradient descent, as ``torch.optim.SGD`` has it."""

    name: Literal["sgd"]
    lr: _Rate
    momentum: _BelowOne = 0.0
    nesterov: bool = False
    weight_decay: _Amount = 0.0


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam and its kin, as ``torch.optim`` has them; decay is decoupled in ``adamw`` alone."""

    name: Literal["adam", "adamw", "radam"]
    lr: _Rate
    betas: _Betas = (0.9, 0.999)
    eps: _Rate = 1e-8
    weight_decay: _Amount = 0.0


@dataclass(frozen=True, slots=True)
class RMSprop:
    """RMSprop, as ``torch.optim.RMSprop`` has it."""

    name: Literal["rmsprop"]
    lr: _Rate
    alpha: _BelowOne = 0.99
    momentum: _BelowOne = 0.0
    eps: _Rate = 1e-8
    weight_decay: _Amount = 0.0


@dataclass(frozen=True, slots=True)
class Constant:
    """The optimiser's learning rate throughout."""

    kind: Literal["constant"]


@dataclass(frozen=True, slots=True)
class Step:
    """The rate times ``factor`` after each ``every`` epochs."""

    kind: Literal["step"]
    every: Size
    factor: _Factor


@dataclass(frozen=True, slots=True)
class Exponential:
    """The rate times ``factor`` after each epoch."""

    kind: Literal["exponential"]
    factor: _Factor


@dataclass(frozen=True, slots=True)
class Plateau:
    """The rate times ``factor`` where the monitored value stops improving.

    Attributes:
        monitor: the value; accuracies improve upwards, losses downwards.
        patience: epochs without a new best value.
        rule: "reaches" acts when that many epochs brought none, as Keras does; "exceeds" one later, as PyTorch does.
        min_delta: by how much a new best value is better; accuracies are from 0 to 1.
        min_lr: below which the rate does not go.
    """

    kind: Literal["plateau"]
    monitor: Monitor
    factor: _Factor
    patience: Whole
    rule: Rule
    min_delta: _Amount = 0.0
    min_lr: _Amount = 0.0


@dataclass(frozen=True, slots=True)
class InverseTime:
    """Keras's InverseTimeDecay: after s steps the rate is lr / (1 + rate s / steps)."""

    kind: Literal["inverse_time"]
    steps: Size
    rate: _Rate


@dataclass(frozen=True, slots=True)
class OneCycle:
    """Up from the optimiser's rate / ``start_divisor`` to it, and down to the start / ``end_divisor``, by cosines.

    ``torch.optim.lr_scheduler.OneCycleLR`` with the optimiser's rate as its largest, and momentum left as it is.
    """

    kind: Literal["one_cycle"]
    rising: _Factor = 0.3
    start_divisor: _Rate = 25.0
    end_divisor: Annotated[float, Meta(gt=0, le=1e9)] = 1e4


@dataclass(frozen=True, slots=True)
class Loss:
    """Cross-entropy, and the squares of weights.

    Attributes:
        label_smoothing: share of the target that all classes divide.
        class_weights: "balanced" weighs a class by the inverse of its share of the training images.
        l2: factor of the sum of squares that is added; Keras's ``l2(factor)``. PyTorch's ``weight_decay`` is twice it.
        l2_on: names of modules whose weights are squared, as ``*`` and ``stem.*`` match them; batch norms and biases
            are left out.
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: _BelowOne = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    l2: _Amount = 0.0
    l2_on: _Names = ()


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is drawn anew for each image and epoch. What is 0 is not done.

    Attributes:
        style: "keras" as ImageDataGenerator does: about the centre rotate, shift, shear and zoom, width and height
            apart; "torchvision" as RandomAffine does: one zoom for both.
        flip: probability of left against right.
        flip_vertical: probability of top against bottom.
        rotation: degrees to either side.
        shift_x: share of the width to either side.
        shift_y: share of the height.
        zoom: factors from 1 - zoom to 1 + zoom.
        shear: degrees to either side.
        crop: the smallest side of a square that is cut out at a random place and enlarged, as a share; 1 for none.
        brightness: factors from 1 - brightness to 1 + brightness, of pixels from 0 to 1.
        contrast: likewise, about the picture's mean grey.
        saturation: likewise, about each pixel's grey.
        hue: shares of the colour circle to either side.
        grayscale: probability of grey.
        fill: what lies beyond the picture: its edge repeated, or ``fill_value``.
        fill_value: of a pixel from 0, black, to 1.
        interpolation: between pixels.
    """

    style: Literal["keras", "torchvision"] = "keras"
    flip: _Share = 0.0
    flip_vertical: _Share = 0.0
    rotation: _Degrees = 0.0
    shift_x: _Share = 0.0
    shift_y: _Share = 0.0
    zoom: _BelowOne = 0.0
    shear: Annotated[float, Meta(ge=0, lt=90)] = 0.0
    crop: Annotated[float, Meta(gt=0, le=1)] = 1.0
    brightness: _Share = 0.0
    contrast: _Share = 0.0
    saturation: _Share = 0.0
    hue: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    grayscale: _Share = 0.0
    fill: Literal["edge", "constant"] = "edge"
    fill_value: _Share = 0.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a training ends before its last epoch; the fields are ``Plateau``'s."""

    monitor: Monitor
    patience: Whole
    rule: Rule
    min_delta: _Amount = 0.0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which epoch's weights are kept: the first of the best by a value of the validation images, or the last."""

    by: Literal["validation_accuracy", "validation_loss", "last"]


@dataclass(frozen=True, slots=True)
class Data:
    """Which images a paper trains, selects and tests on: splits as ``load_data`` knows them.

    Attributes:
        training: "" for the training split.
        validation: a split, or a share of the training images such as "0.1"; "" for the validation split, if there is
            one.
        test: "" for the test split.
        rule: how FER+ votes become labels; "" for the data's own.
        classes: those that are kept; none for all.
    """

    training: str = ""
    validation: str = ""
    test: str = ""
    rule: str = ""
    classes: _Names = ()


@dataclass(frozen=True, slots=True)
class Input:
    """What is done to an image otherwise than the network's sheet says; fields are those of ``InputContract``."""

    size: Annotated[tuple[Size, ...], Meta(min_length=2, max_length=2)] | None = None
    value_range: _Pair | None = None
    mean: tuple[_Value, ...] | None = None
    std: tuple[_Rate, ...] | None = None
    resize: Literal["nearest", "bilinear", "bicubic", "area"] | None = None
    antialias: bool | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Return the fields that are given."""
        return {name: value for name, value in _members(self).items() if value is not None}


if TYPE_CHECKING:
    Optimizer = SGD | Adam | RMSprop
    Schedule = Constant | Step | Exponential | Plateau | InverseTime | OneCycle
else:  # msgspec knows no union of dataclasses: `_tagged` chooses one by its tag
    Optimizer = Schedule = Any


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a training; what it does not name is the recipe's.

    Attributes:
        frozen: names of modules whose weights stay as they are, as ``*`` and ``trunk.*`` match them.
        frozen_batch_norms: of modules whose batch norms keep to their running statistics.
    """

    name: Name
    epochs: Size
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    stopping: Stopping | None = None
    frozen: _Names = ()
    frozen_batch_norms: _Names = ()
    dropout: _BelowOne | None = None


class Origin(NamedTuple):
    """Where a field is from: of ``ORIGINS``, ``UNSAID`` or ``CHANGED``; and a sentence about it."""

    kind: str
    why: str


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
    networks: _Names
    epochs: Size
    batch_size: Size
    optimizer: Optimizer
    selection: Selection
    schedule: Schedule = Constant("constant")
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    initial: Literal["none", "imagenet"] = "none"
    stopping: Stopping | None = None
    phases: tuple[Phase, ...] = ()
    frozen: _Names = ()
    frozen_batch_norms: _Names = ()
    clip_norm: _Rate | None = None
    bn_reestimate: Whole = 0
    dropout: _BelowOne | None = None
    input: Input = Input()
    data: Data = Data()
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
        data, changes = self.settings(), _plain(changes)
        if self.phases and "phases" not in changes and "epochs" in changes:
            changes["phases"] = _scaled(data["phases"], changes["epochs"], self.name)
        about = {key: getattr(self, key) for key in _ABOUT}
        about["origins"] = _origins_after(self.origins, changes, Origin(CHANGED, why), {})
        return _read(self.name, {**_merged(data, changes), **about}, f"recipe {self.name}")

    def settings(self) -> dict[str, Any]:
        """Return all that decides what a training does, as JSON has it."""
        return {key: value for key, value in _plain(self).items() if key not in _ABOUT}

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as a record keeps it, with the origin of each field."""
        said = {row.field: {"origin": row.origin, "why": row.why} for row in self.rows()}
        about = {key: _plain(getattr(self, key)) for key in _ABOUT if key not in ("origins", "variants")}
        return {**about, **self.settings(), "origins": said}

    @property
    def sha256(self) -> str:
        """Return the hash of ``settings``."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()

    def parts(self) -> tuple[Self, ...]:
        """Return a recipe without phases for each phase; the recipe itself where it has none."""
        return tuple(self._of_phase(phase) for phase in self.phases) or (self,)

    def _of_phase(self, phase: Phase) -> Self:
        changes = {key: value for key, value in _members(phase).items() if key != "name" and value is not None}
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
_OPTIMIZERS: Mapping[str, type] = {"sgd": SGD, **dict.fromkeys(("adam", "adamw", "radam"), Adam), "rmsprop": RMSprop}
_SCHEDULES: Mapping[str, type] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "plateau": Plateau,
    "inverse_time": InverseTime,
    "one_cycle": OneCycle,
}
# Tables of a recipe: what says which dataclass it is, and the dataclasses by that; or the one dataclass.
_TAGS: Mapping[str, tuple[str, Mapping[str, type]]] = {
    "optimizer": ("name", _OPTIMIZERS),
    "schedule": ("kind", _SCHEDULES),
}
_TABLES: Mapping[str, type] = {
    "loss": Loss,
    "augmentation": Augmentation,
    "stopping": Stopping,
    "selection": Selection,
    "input": Input,
    "data": Data,
}


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
        raise _refused(f"{path} is no recipe: {error}") from error
    variants = _table(f"{place}: variants", data.pop("variants", {}))
    readings = {each: dict(_table(f"{place}: variants.{each}", changes)) for each, changes in variants.items()}
    data["variants"] = {each: changes.pop("about", "") for each, changes in readings.items()}
    if variant and variant not in readings:
        raise FerBenchError(
            f"recipe {name} has no variant {variant!r}{nearest(variant, readings)}; "
            f"try: {', '.join(f'{name}:{each}' for each in readings) or name}"
        )
    data["origins"] = _origins(place, data.get("origins", {}))
    first = _read(name, data, place)
    # Each is read, so that a mistake in one does not wait until somebody chooses it.
    made = {
        each: _read(f"{name}:{each}", _varied(data, changes, f"{place}: variants.{each}"), f"{place}: variants.{each}")
        for each, changes in readings.items()
    }
    return made[variant] if variant else first


def _varied(data: Mapping[str, Any], changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a recipe's tables with a variant's laid over them."""
    said = _origins(place, changes.get("origins", {}))
    changes = {key: value for key, value in changes.items() if key != "origins"}
    origins = _origins_after(data["origins"], changes, Origin(UNSAID, ""), said)
    return {**_merged(data, changes), "origins": origins}


def _origins_after(
    origins: Mapping[str, Origin], changes: Mapping[str, Any], of_changed: Origin, said: Mapping[str, Origin]
) -> dict[str, Origin]:
    """Return origins after fields changed: no changed field keeps the origin that its old value had."""
    replaced = [key for key in changes if _replaces(key, changes[key])]
    kept = {name: one for name, one in origins.items() if name.partition(".")[0] not in replaced}
    leaves = {leaf for key, value in changes.items() for leaf in _leaves(key, value)}
    of_changes = {leaf: of_changed for leaf in leaves if leaf not in said and leaf.partition(".")[0] not in said}
    return {**{name: one for name, one in kept.items() if name not in leaves}, **of_changes, **said}


def _leaves(key: str, value: Any) -> Iterator[str]:
    """Yield the dotted names of the fields that a change of a table changes."""
    if (key in _TABLES or key in _TAGS) and isinstance(value, Mapping):
        yield from (f"{key}.{name}" for name in value)
    else:
        yield key


def _replaces(key: str, value: Any) -> bool:
    """Return whether a change replaces all of a table: it names another optimizer or kind, or is none."""
    return key in _TAGS and isinstance(value, Mapping) and _TAGS[key][0] in value


def _merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with others laid over them."""
    merged = dict(data)
    for key, value in changes.items():
        laid = isinstance(value, Mapping) and isinstance(data.get(key), Mapping) and not _replaces(key, value)
        merged[key] = {**data[key], **value} if laid else value
    return merged


def _origins(place: str, table: Any) -> dict[str, Origin]:
    """Read origins as a file has them: "KIND" or "KIND: why"."""
    origins = {}
    for name, text in _table(f"{place}: origins", table).items():
        kind, _, why = text.partition(":") if isinstance(text, str) else ("", "", "")
        if kind.strip() not in ORIGINS:
            raise _refused(
                f"{place}: the origin of {name} is {schema.shortened(text)}, expected {', '.join(ORIGINS)}, "
                "with a colon and a sentence behind it"
            )
        top, _, field_name = str(name).partition(".")
        known = _fields_of(top)
        if top not in _SETTINGS or (field_name and field_name not in known):
            near = nearest(str(name), [*_SETTINGS, *(f"{top}.{each}" for each in known)])
            raise _refused(f"{place}: origins has unknown {schema.named(name)}{near}")
        origins[str(name)] = Origin(kind.strip(), why.strip())
    return origins


def _fields_of(top: str) -> tuple[str, ...]:
    kinds = _TAGS[top][1].values() if top in _TAGS else [_TABLES[top]] if top in _TABLES else []
    return tuple(dict.fromkeys(one.name for kind in kinds for one in dataclasses.fields(kind)))


def _read(name: str, data: Mapping[str, Any], place: str) -> Recipe:
    """Make a recipe of tables; raise FerBenchError where they are none."""
    tables = {key: value for key, value in data.items() if key not in ("origins", "variants", "name")}
    made = _typed(place, Recipe, {**tables, "name": name}, _TABLES.keys() | _TAGS.keys() | {"phases"})
    for key in _TAGS.keys() & tables.keys():
        made[key] = _tagged(f"{place}: {key}", key, tables[key])
    for key in _TABLES.keys() & tables.keys():
        if tables[key] is not None or key != "stopping":
            made[key] = _table_of(f"{place}: {key}", _TABLES[key], tables[key])
    made["phases"] = _phases(place, tables)
    about = {"variants": data.get("variants", {}), "origins": data.get("origins", {})}
    recipe = Recipe(**made, **about)
    _check(place, recipe)
    return recipe


def _phases(place: str, tables: Mapping[str, Any]) -> tuple[Phase, ...]:
    phases = tables.get("phases", ())
    if not isinstance(phases, list | tuple):
        raise _refused(f"{place}: phases is {schema.shortened(phases)}, expected tables, [[phases]]")
    return tuple(
        _phase(f"{place}: phases[{number}]", _table(f"{place}: phases[{number}]", phase), tables)
        for number, phase in enumerate(phases)
    )


def _phase(place: str, phase: Mapping[str, Any], recipe: Mapping[str, Any]) -> Phase:
    """Make a phase, whose tables are laid over the recipe's."""
    over = {key: _merged(recipe, {key: phase[key]})[key] for key in (*_TAGS, "stopping") if phase.get(key) is not None}
    made = _typed(place, Phase, phase, over.keys() | {key for key in (*_TAGS, "stopping") if key in phase})
    made.update({key: _tagged(f"{place}.{key}", key, over[key]) for key in _TAGS.keys() & over.keys()})
    if "stopping" in over:
        made["stopping"] = _table_of(f"{place}.stopping", Stopping, over["stopping"])
    return Phase(**made)


def _check(place: str, recipe: Recipe) -> None:
    """Raise FerBenchError where fields contradict each other."""
    total = sum(phase.epochs for phase in recipe.phases)
    if recipe.phases and total != recipe.epochs:
        raise _refused(f"{place}: epochs is {recipe.epochs}, and the phases have {total}")
    if (recipe.loss.l2 > 0) != bool(recipe.loss.l2_on):
        raise _refused(f"{place}: loss.l2 and loss.l2_on go together: a factor, and names of modules such as ['*']")
    changes = recipe.input.changes
    if "value_range" in changes and not changes["value_range"][0] < changes["value_range"][1]:
        raise _refused(f"{place}: input.value_range is {list(changes['value_range'])}: the second must be larger")


def _tagged(place: str, key: str, table: Any) -> Any:
    tag, kinds = _TAGS[key]
    if isinstance(table, Mapping) and tag not in table:
        raise _refused(f"{place} lacks {tag}, one of {', '.join(kinds)}")
    chosen = _table(place, table)[tag]
    if not isinstance(chosen, str) or chosen not in kinds:
        near = nearest(chosen, kinds) if isinstance(chosen, str) else ""
        raise _refused(f"{place}.{tag} is {schema.shortened(chosen)}{near}, expected one of {', '.join(kinds)}")
    return _table_of(place, kinds[chosen], table)


def _table_of(place: str, kind: type, table: Any) -> Any:
    return kind(**_typed(place, kind, _table(place, table)))


def _typed(place: str, kind: type, table: Mapping[str, Any], apart: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the members of a table that is a dataclass, but for some; raise FerBenchError where it is none."""
    known = {one.name: one for one in dataclasses.fields(kind)}
    if unknown := [key for key in table if key not in known]:
        hints = "; ".join(f"{schema.named(key)}{nearest(str(key), known)}" for key in unknown[:3])
        raise _refused(f"{place} has unknown {hints}; known: {', '.join(known)}")
    if missing := [name for name, one in known.items() if name not in table and _is_needed(one)]:
        raise _refused(f"{place} lacks {', '.join(missing)}")
    rest = {key: value for key, value in table.items() if key not in apart}
    hints_of = typing.get_type_hints(kind)
    for key, value in rest.items():
        words = typing.get_args(hints_of[key]) if typing.get_origin(hints_of[key]) is Literal else ()
        if words and value not in words:
            near = nearest(value, words) if isinstance(value, str) else ""
            raise _refused(f"{place}.{key} is {schema.shortened(value)}{near}, expected one of {', '.join(words)}")
    try:
        return schema.fields(kind, rest)
    except ValueError as error:
        raise _refused(f"{place}: {error}") from None


def _is_needed(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _table(place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _refused(f"{place} is {schema.shortened(value)}, expected a table")
    return value


def _refused(text: str) -> FerBenchError:
    return FerBenchError(f"{text}; try: docs/training.md shows what a recipe has")


def _members(value: Any) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}


def _plain(value: Any) -> Any:
    """Return dataclasses as JSON has them."""
    if dataclasses.is_dataclass(value):
        return {key: _plain(member) for key, member in _members(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    return [_plain(member) for member in value] if isinstance(value, list | tuple) else value


def _scaled(phases: list[dict[str, Any]], epochs: Any, name: str) -> list[dict[str, Any]]:
    """Return phases of so many epochs together, each with at least one."""
    if type(epochs) is not int or epochs < len(phases):
        raise FerBenchError(
            f"recipe {name} has {len(phases)} phases, and {schema.shortened(epochs)} epochs are too few; "
            f"try: --epochs {len(phases)}"
        )
    total, done, ends = sum(phase["epochs"] for phase in phases), 0, 0
    scaled = []
    for number, phase in enumerate(phases, 1):
        ends += phase["epochs"]
        most = epochs - (len(phases) - number)  # one is left for each that follows
        until = min(max(round(epochs * ends / total), done + 1), most)
        scaled.append({**phase, "epochs": until - done})
        done = until
    return scaled


def _in_force(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a recipe's member that say something, by dotted names."""
    if key == "phases":
        yield from ((f"phases.{phase.name}", _plain(phase)) for phase in value)
    elif dataclasses.is_dataclass(value):
        yield from ((f"{key}.{name}", member) for name, member in _members(value).items() if member is not None)
    else:
        yield key, value


def _written(value: Any) -> str:
    """Write a value of a recipe in a cell."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        given = {key: member for key, member in value.items() if member not in (None, (), [], "") and key != "name"}
        return ", ".join(f"{key} {_written(member)}" for key, member in given.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_written, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
