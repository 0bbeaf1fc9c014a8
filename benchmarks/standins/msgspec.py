"""As much of msgspec as writing records needs, for a machine that has none: values get their types, none is refused.

`benchmarks/cuda.py` puts this folder on the path where msgspec is not installed. What it brings home is validated
when it is read, by a fer_bench with the real one.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping


class UNSET:
    pass


class ValidationError(ValueError):
    pass


class DecodeError(ValueError):
    pass


class Meta:
    def __init__(self, **limits):
        self.limits = limits


def defstruct(name, fields, kw_only):
    return type(name, (), {"__struct_fields__": tuple(f[0] for f in fields), "hints": {f[0]: f[1] for f in fields}})


def convert(data, kind):
    made = kind()
    for name, hint in kind.hints.items():
        setattr(made, name, _as(hint, data[name]) if name in data else UNSET)
    return made


def _as(hint, value):
    """Return a value of JSON as its annotation has it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _as(arguments[0], value)
    if origin in (typing.Union, types.UnionType):
        fits = (list, tuple) if isinstance(value, list | tuple) else (Mapping,) if isinstance(value, Mapping) else ()
        option = next((one for one in arguments if fits and _kind(one) in fits), None)
        return value if option is None else _as(option, value)
    if origin in (tuple, list) and isinstance(value, list | tuple):
        each = arguments[0] if origin is list or arguments[-1] is ... else None
        pairs = ((each, one) for one in value) if each is not None else zip(arguments, value, strict=True)
        return origin(_as(own, one) for own, one in pairs)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        hints = typing.get_type_hints(hint, include_extras=True)
        return hint(**{key: _as(hints[key], one) for key, one in value.items()})
    return value


def _kind(hint):
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    origin = typing.get_origin(hint) or hint
    return Mapping if dataclasses.is_dataclass(origin) or origin in (dict, Mapping) else origin


class json:  # noqa: N801  # a module there
    class Decoder:
        def __class_getitem__(cls, kind):
            return cls

        def __init__(self, kind):
            self.kind = kind

        def decode(self, text):
            raise DecodeError("the fast way needs msgspec itself")
