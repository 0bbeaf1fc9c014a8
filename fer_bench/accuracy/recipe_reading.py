"""Reading the tables of a recipe, and laying others over them, with the origins of their fields."""

import dataclasses
import typing
from collections.abc import Collection, Iterator, Mapping, Set
from typing import Any, Literal

from fer_bench.accuracy.recipe_tables import (
    ORIGINS,
    SGD,
    Adam,
    Augmentation,
    Constant,
    Data,
    Exponential,
    Input,
    InverseTime,
    Loss,
    OneCycle,
    Origin,
    Phase,
    Plateau,
    RMSprop,
    Selection,
    Step,
    Stopping,
    members,
)
from fer_bench.records import schema
from fer_bench.records.errors import FerBenchError, nearest

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
TAGS: Mapping[str, tuple[str, Mapping[str, type]]] = {
    "optimizer": ("name", _OPTIMIZERS),
    "schedule": ("kind", _SCHEDULES),
}
TABLES: Mapping[str, type] = {
    "loss": Loss,
    "augmentation": Augmentation,
    "stopping": Stopping,
    "selection": Selection,
    "input": Input,
    "data": Data,
}
_OF_PHASES = (*TAGS, "loss", "stopping")  # tables that a phase may have, too


def origins_after(
    origins: Mapping[str, Origin], changes: Mapping[str, Any], of_changed: Origin, said: Mapping[str, Origin]
) -> dict[str, Origin]:
    """Return origins after fields changed: no changed field keeps the origin that its old value had."""
    replaced = [key for key in changes if _replaces(key, changes[key])]
    kept = {name: one for name, one in origins.items() if name.partition(".")[0] not in replaced}
    leaves = {leaf for key, value in changes.items() for leaf in _leaves(key, value)}
    of_changes = {leaf: of_changed for leaf in leaves if leaf not in said and leaf.partition(".")[0] not in said}
    kept = {name: one for name, one in kept.items() if not leaves & {name, *_above(name)}}
    return {**kept, **of_changes, **said}


def _above(name: str) -> Iterator[str]:
    """Yield what a dotted name is a part of: of "phases.all.begins" "phases.all" and "phases"."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _leaves(key: str, value: Any) -> Iterator[str]:
    """Yield the dotted names of the fields that a change of a table changes."""
    if (key in TABLES or key in TAGS) and isinstance(value, Mapping):
        yield from (f"{key}.{name}" for name in value)
    else:
        yield key


def _replaces(key: str, value: Any) -> bool:
    """Return whether a change replaces all of a table: it names another optimizer or kind, or is none."""
    return key in TAGS and isinstance(value, Mapping) and TAGS[key][0] in value


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with others laid over them."""
    both = dict(data)
    for key, value in changes.items():
        laid = isinstance(value, Mapping) and isinstance(data.get(key), Mapping) and not _replaces(key, value)
        both[key] = {**data[key], **value} if laid else value
    return both


def read_origins(place: str, table: Any, settings: Collection[str], phases: Any) -> dict[str, Origin]:
    """Read origins as a file has them: "KIND" or "KIND: why".

    Args:
        place: of the tables.
        table: of origins.
        settings: the members of a recipe.
        phases: tables of its phases, which are not checked yet.
    """
    origins = {}
    for name, text in checked_table(f"{place}: origins", table).items():
        kind, _, why = text.partition(":") if isinstance(text, str) else ("", "", "")
        if kind.strip() not in ORIGINS:
            raise refused(
                f"{place}: the origin of {name} is {schema.shortened(text)}, expected {', '.join(ORIGINS)}, "
                "with a colon and a sentence behind it"
            )
        top, _, field_name = str(name).partition(".")
        known = _fields_of(top, phases)
        if top not in settings or (field_name and field_name not in known):
            near = nearest(str(name), [*settings, *(f"{top}.{each}" for each in known)])
            raise refused(f"{place}: origins has unknown {schema.named(name)}{near}")
        origins[str(name)] = Origin(kind.strip(), why.strip())
    return origins


def _fields_of(top: str, phases: Any) -> tuple[str, ...]:
    """Return what may stand behind a member's name and a dot: fields of its table, or names and fields of phases."""
    if top == "phases":
        given = [phase for phase in phases if isinstance(phase, Mapping)] if isinstance(phases, list | tuple) else []
        return tuple(
            name
            for phase in given
            for name in (
                str(phase.get("name")),
                *(f"{phase.get('name')}.{one.name}" for one in dataclasses.fields(Phase)),
            )
        )
    kinds = TAGS[top][1].values() if top in TAGS else [TABLES[top]] if top in TABLES else []
    return tuple(dict.fromkeys(one.name for kind in kinds for one in dataclasses.fields(kind)))


def read_phases(place: str, tables: Mapping[str, Any]) -> tuple[Phase, ...]:
    """Make the phases of a recipe's tables; raise FerBenchError where they are none."""
    phases = tables.get("phases", ())
    if not isinstance(phases, list | tuple):
        raise refused(f"{place}: phases is {schema.shortened(phases)}, expected tables, [[phases]]")
    return tuple(
        _phase(f"{place}: phases[{number}]", checked_table(f"{place}: phases[{number}]", phase), tables)
        for number, phase in enumerate(phases)
    )


def _phase(place: str, phase: Mapping[str, Any], recipe: Mapping[str, Any]) -> Phase:
    """Make a phase, whose tables are laid over the recipe's."""
    over = {key: merged(recipe, {key: phase[key]})[key] for key in _OF_PHASES if phase.get(key) is not None}
    made = typed(place, Phase, phase, over.keys() | {key for key in _OF_PHASES if key in phase})
    made.update({key: tagged(f"{place}.{key}", key, over[key]) for key in TAGS.keys() & over.keys()})
    made.update({key: table_of(f"{place}.{key}", TABLES[key], over[key]) for key in TABLES.keys() & over.keys()})
    return Phase(**made)


def tagged(place: str, key: str, table: Any) -> Any:
    """Make the optimizer or schedule that a table names; raise FerBenchError where it is none."""
    tag, kinds = TAGS[key]
    if isinstance(table, Mapping) and tag not in table:
        raise refused(f"{place} lacks {tag}, one of {', '.join(kinds)}")
    chosen = checked_table(place, table)[tag]
    if not isinstance(chosen, str) or chosen not in kinds:
        near = nearest(chosen, kinds) if isinstance(chosen, str) else ""
        raise refused(f"{place}.{tag} is {schema.shortened(chosen)}{near}, expected one of {', '.join(kinds)}")
    return table_of(place, kinds[chosen], table)


def table_of(place: str, kind: type, table: Any) -> Any:
    """Make a dataclass of a table; raise FerBenchError where it is none."""
    return kind(**typed(place, kind, checked_table(place, table)))


def typed(place: str, kind: type, table: Mapping[str, Any], apart: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the members of a table that is a dataclass, but for some; raise FerBenchError where it is none."""
    known = {one.name: one for one in dataclasses.fields(kind)}
    if unknown := [key for key in table if key not in known]:
        hints = "; ".join(f"{schema.named(key)}{nearest(str(key), known)}" for key in unknown[:3])
        raise refused(f"{place} has unknown {hints}; known: {', '.join(known)}")
    if missing := [name for name, one in known.items() if name not in table and _is_needed(one)]:
        raise refused(f"{place} lacks {', '.join(missing)}")
    rest = {key: value for key, value in table.items() if key not in apart}
    hints_of = typing.get_type_hints(kind)
    for key, value in rest.items():
        words = typing.get_args(hints_of[key]) if typing.get_origin(hints_of[key]) is Literal else ()
        if words and value not in words:
            near = nearest(value, words) if isinstance(value, str) else ""
            raise refused(f"{place}.{key} is {schema.shortened(value)}{near}, expected one of {', '.join(words)}")
    try:
        return schema.fields(kind, rest)
    except ValueError as error:
        raise refused(f"{place}: {error}") from None


def _is_needed(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def checked_table(place: str, value: Any) -> Mapping[str, Any]:
    """Return a value that is a table; raise FerBenchError where it is none."""
    if not isinstance(value, Mapping):
        raise refused(f"{place} is {schema.shortened(value)}, expected a table")
    return value


def refused(text: str) -> FerBenchError:
    """Return the error of a recipe that is wrong."""
    return FerBenchError(f"{text}; try: docs/training.md shows what a recipe has")


def plain(value: Any) -> Any:
    """Return dataclasses as JSON has them."""
    if dataclasses.is_dataclass(value):
        return {key: plain(member) for key, member in members(value).items()}
    if isinstance(value, Mapping):
        return {key: plain(member) for key, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, list | tuple) else value


def scaled(phases: list[dict[str, Any]], epochs: Any, name: str) -> list[dict[str, Any]]:
    """Return phases of so many epochs together, each with at least one."""
    if type(epochs) is not int or epochs < len(phases):
        raise FerBenchError(
            f"recipe {name} has {len(phases)} phases, and {schema.shortened(epochs)} epochs are too few; "
            f"try: --epochs {len(phases)}"
        )
    total, done, ends = sum(phase["epochs"] for phase in phases), 0, 0
    shares = []
    for number, phase in enumerate(phases, 1):
        ends += phase["epochs"]
        most = epochs - (len(phases) - number)  # one is left for each that follows
        until = min(max(round(epochs * ends / total), done + 1), most)
        shares.append({**phase, "epochs": until - done})
        done = until
    return shares
