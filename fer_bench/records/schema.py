"""Validate what is read from files and stores against the annotations of our dataclasses; nothing else does.

The annotation of a field is its schema: type, range and length. What no annotation knows, such as details of a
measurement, is bounded in size and depth. A value that is wrong is one message with its place and what was expected.
"""

import dataclasses
import functools
import json
import math
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

Record = TypeVar("Record")
Json = Any  # what json.dumps takes: str, int, float, bool, None, and lists and dicts of them

MOST_DEPTH = 32  # of lists and objects in each other; records have 7
MOST_CHARACTERS = 2**22  # of a text
_MOST_INTEGER = 2**63 - 1  # SQLite's, PostgreSQL's and NumPy's largest
MOST = 1e100  # of a measured value: a square of it is still a number

Name = Annotated[str, Meta(min_length=1, max_length=2**16)]
Integer = Annotated[int, Meta(ge=-_MOST_INTEGER, le=_MOST_INTEGER)]
Count = Annotated[int, Meta(ge=0, le=_MOST_INTEGER)]
Size = Annotated[int, Meta(ge=1, le=2**31 - 1)]  # of a dimension of a tensor, and of what is repeated
Shape = Annotated[tuple[Size, ...], Meta(min_length=1, max_length=8)]
Whole = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Amount = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0, le=MOST)]
Positive = Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0, le=MOST)]
# Of a length of time that is asked for: thirty years at most.
Seconds = Annotated[int, Meta(ge=0, le=10**9)] | Annotated[float, Meta(ge=0, le=1e9)]
PositiveSeconds = Annotated[int, Meta(ge=1, le=10**9)] | Annotated[float, Meta(gt=0, le=1e9)]

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "array": "a list",
    "object": "an object",
    "null": "none",
}
_BOUNDS = {">=": "from", "<=": "up to", ">": "above", "<": "below"}
_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `(?P<root>key in )?\$(?P<path>.*)`)?", re.DOTALL)
_EXPECTED = re.compile(
    r"Expected `(?P<kinds>[^`]+)`(?P<length> of length)?(?: (?P<bound>[<>]=?)? ?(?P<limit>[-\d.e+]+))?.*"
)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[\.\.\.\]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str | bytes) -> Json:
    """Read JSON; half a surrogate pair, which no file can be written with, becomes "?".

    Raises:
        ValueError: it is no JSON, is cut short or nested too deep.
    """
    try:
        data = json.loads(text)
        if isinstance(text, str) and _SURROGATE.search(text):
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels") from None
    return data


def parse_toml(data: bytes) -> dict[str, Json]:
    """Read TOML.

    Raises:
        ValueError: it is no TOML, or nested too deep.
    """
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels") from None


def decode(kind: Any, text: str) -> Any:
    """Make a dataclass of JSON in one step, the fast way for many; None where ``read`` would say what is wrong."""
    try:
        return _decoder(kind).decode(text)
    except msgspec.DecodeError:
        return None


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def numbers(text: str) -> tuple[int | float, ...]:
    """Read a JSON list of numbers from 0, the fast way for many; raise ValueError where it is none.

    The message does not say which value is wrong: reading the whole record again does.
    """
    try:
        values = _NUMBERS.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    if values and not (min(values) >= 0 and max(values) <= MOST):
        raise ValueError("a value is out of range")
    return values


_NUMBERS = msgspec.json.Decoder(tuple[int | float, ...])


def bounded(value: Json, place: str = "", depth: int = 0) -> None:
    """Raise ValueError where a value as JSON has it is nested too deep, too long, too large or not finite."""
    if isinstance(value, str):
        if len(value) > MOST_CHARACTERS:
            raise wrong(place, value, f"a text of at most {MOST_CHARACTERS} characters")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise wrong(place, value, "a number")
    elif isinstance(value, int):
        if not -_MOST_INTEGER <= value <= _MOST_INTEGER:
            raise wrong(place, value, "a whole number within 64 bits")
    elif isinstance(value, Mapping | list | tuple):
        if depth == MOST_DEPTH:
            outer = place.replace("[", ".").split(".", 1)[0] or "it"
            raise ValueError(f"{outer} is nested deeper than {MOST_DEPTH} levels")
        if isinstance(value, Mapping):
            for key, member in value.items():
                bounded(key, "a key", depth)
                bounded(member, f"{place}.{key}" if place else key, depth + 1)
        elif not _bounded_list(value):
            for number, member in enumerate(value):
                bounded(member, f"{place}[{number}]", depth + 1)


def _bounded_list(values: Sequence[Json]) -> bool:
    """Return whether a list is one of times, counts or names that are all within bounds, which most are."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return all(map(math.isfinite, values))
    if kinds == {int}:
        return bool(min(values) >= -_MOST_INTEGER and max(values) <= _MOST_INTEGER)
    return bool(kinds == {str} and max(map(len, values)) <= MOST_CHARACTERS)


def fields(kind: Any, data: Json) -> dict[str, Any]:
    """Return those members of an object that are fields of a dataclass or typed dictionary, as their types have them.

    Raises:
        ValueError: it is no object, or a member is of another type or out of range.
    """
    if not isinstance(data, Mapping):
        raise wrong("", data, "an object")
    members = _members(kind)
    try:
        made = msgspec.convert(data, members)
    except msgspec.ValidationError as error:
        raise _explained(error, data) from None
    return {name: getattr(made, name) for name in members.__struct_fields__ if name in data}


def whole(kind: Any, data: Json) -> dict[str, Any]:
    """Return the members of an object that is a dataclass or typed dictionary, and nothing else.

    Raises:
        ValueError: as ``fields``; or it lacks a member, or has one that is no field.
    """
    given = fields(kind, data)
    for what, names in (
        ("lacks", [name for name in _needed(kind) if name not in data]),
        ("has unknown", [name for name in data if name not in given]),
    ):
        if names:
            raise ValueError(f"{what} {', '.join(map(shortened, names[:5]))}")
    return given


def read(kind: type[Record], data: Json) -> Record:
    """Make a dataclass of an object; raise ValueError as ``whole`` does."""
    return kind(**whole(kind, data))


def time(text: str, place: str) -> str:
    """Return a time as it stands; raise ValueError where it is none of ISO 8601."""
    try:
        year = datetime.fromisoformat(text).year
    except ValueError:
        year = 0
    if not 1970 <= year < 9999:
        raise wrong(place, text, "a time such as 2026-11-21T12:00:00+00:00")
    return text


def wrong(place: str, value: Json, expected: str) -> ValueError:
    """Return an error that says what was given and expected."""
    return ValueError(f"{place or 'it'} is {shortened(value)}: {expected} was expected")


def shortened(value: Json) -> str:
    """Write a value in at most 60 characters."""
    if isinstance(value, int) and not -_MOST_INTEGER <= value <= _MOST_INTEGER:
        return "an integer beyond 64 bits"  # Python refuses to write the longest
    if isinstance(value, Mapping | list | tuple):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    text = repr(value[:100] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def named(value: Json) -> str:
    """Write what names a record or a measurement, in at most 60 characters."""
    return shortened(value).strip("'")


@functools.cache
def _members(kind: Any) -> Any:
    hints = typing.get_type_hints(kind, include_extras=True)
    return msgspec.defstruct("Members", [(name, hint, msgspec.UNSET) for name, hint in hints.items()], kw_only=True)


@functools.cache
def _needed(kind: Any) -> Sequence[str]:
    if not dataclasses.is_dataclass(kind):
        return sorted(kind.__required_keys__)
    unset = dataclasses.MISSING
    return [one.name for one in dataclasses.fields(kind) if one.default is unset and one.default_factory is unset]


def _explained(error: msgspec.ValidationError, data: Json) -> ValueError:
    found = _MESSAGE.fullmatch(str(error))
    what, path = (found["what"], found["path"] or "") if found else (str(error), "")
    place, value, known = "", data, True
    for step in _STEP.finditer(path):
        name, number = step.groups()
        place += f"[{number}]" if number else f".{name}" if name else "[...]"
        known = known and bool(name or number)
        if known:
            value = value[int(number)] if number else value[name]
    place = place.removeprefix(".")
    expected = _EXPECTED.fullmatch(what)
    if expected is None:
        return ValueError(f"{place} is {shortened(value)}: {what}" if known else f"{place}: {what}")
    words = " or ".join(dict.fromkeys(_WORDS.get(kind, kind) for kind in expected["kinds"].split(" | ")))
    words = words.replace("a whole number or a number", "a number")
    if expected["limit"]:
        limit = expected["limit"].removesuffix(".0")
        bound = _BOUNDS.get(expected["bound"] or "", "")
        words += f" of length {bound} {limit}".replace("  ", " ") if expected["length"] else f" {bound} {limit}"
    return wrong(place, value, words) if known else ValueError(f"{place}: {words} was expected")


def first_of(texts: Sequence[str], most: int = 3) -> str:
    """Join the first of several messages in one line."""
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def listed(values: str | Iterable[str]) -> tuple[str, ...]:
    """Return texts as a tuple; one alone may be given as it is."""
    return (values,) if isinstance(values, str) else tuple(values)
