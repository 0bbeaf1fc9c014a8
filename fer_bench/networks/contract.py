"""Input contracts: what is done to a picture before a network sees it, and which class each output stands for.

A wrong size, value range or crop raises no error and changes the decisions. So the contract is written down: in the
table ``[name.input]`` of a sheet, and as JSON in a side file ``FILE.input.json`` or in the metadata of a safetensors
file. Each field has its source, or is said to be assumed.
"""

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from msgspec import Meta

from fer_bench.networks.labels import expressions
from fer_bench.records import schema
from fer_bench.records.errors import FerBenchError
from fer_bench.records.schema import Name, Size

ASSUMED = "assumed"
SIDE_FILE = ".input.json"  # after the name of a file of weights
METADATA = "input_contract"  # the key in the metadata of a safetensors file
SELECTED_ON = "selected_on"  # likewise, of what selected the weights
BT601 = (0.299, 0.587, 0.114)  # grey of red, green, blue, as OpenCV, Pillow and Keras compute it
DETECTION_CLASSES = ("no face", "face")  # of a detector, whose outputs are no expressions

_Number = Annotated[int, Meta(ge=-(10**6), le=10**6)] | Annotated[float, Meta(ge=-1e6, le=1e6)]
_Numbers = Annotated[tuple[_Number, ...], Meta(min_length=1, max_length=3)]


@dataclass(frozen=True, slots=True)
class Crop:
    """Which part of a picture is the face.

    Attributes:
        detector: what gives the box; "none" where the whole picture is the input, as in data sets of crops.
        margin: what is added at each side of the box, as a share of that side; below 0 cuts it off.
        square: the box is made square about its centre, by its longer side, before the margin is added.
    """

    detector: Literal["none", "haar", "mtcnn", "yunet"]
    margin: Annotated[float, Meta(gt=-0.5, le=2)]
    square: bool


@dataclass(frozen=True, slots=True)
class InputContract:
    """What a network takes, field by field: a pixel p of 0 to 255 becomes (low + p / 255 x (high - low) - mean) / std.

    Attributes:
        colour: "grey" (one channel), or the order of three.
        size: (H, W) in pixels.
        value_range: (low, high), what 0 and 255 become before mean and std.
        mean: of each channel, or one for all, in the units of ``value_range``.
        std: likewise.
        resize: the interpolation; "area" is an average over areas.
        antialias: smooth while shrinking, as Pillow does and OpenCV does not.
        crop: which part of a picture is the face.
        classes: names of the outputs in their order, as ``labels`` prints them.
        grey_weights: of red, green and blue, where grey is made of colours.
        sources: where a field is from, by its name; the others are assumed.

    Raises:
        FerBenchError: two fields contradict each other, or a class is unknown.

    Examples:
        >>> contract = fb.find("mini_xception").input
        >>> isinstance(contract, fb.InputContract), contract.shape, contract.classes[:2]
        (True, (1, 48, 48), ('angry', 'disgust'))
        >>> print(contract.replace("my training", size=(64, 64)).source("size"))
        my training
    """

    colour: Literal["grey", "RGB", "BGR"]
    size: Annotated[tuple[Size, ...], Meta(min_length=2, max_length=2)]
    value_range: Annotated[tuple[_Number, ...], Meta(min_length=2, max_length=2)]
    mean: _Numbers
    std: _Numbers
    resize: Literal["nearest", "bilinear", "bicubic", "area"]
    antialias: bool
    crop: Crop
    classes: Annotated[tuple[Name, ...], Meta(min_length=2, max_length=1000)]
    grey_weights: Annotated[tuple[_Number, ...], Meta(min_length=3, max_length=3)] = BT601
    sources: Mapping[str, Name] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("value_range", "mean", "std", "grey_weights"):
            numbers = tuple(map(float, getattr(self, name)))
            if name in ("mean", "std") and len(numbers) == self.channels:
                numbers = numbers[:1] if len(set(numbers)) == 1 else numbers
            object.__setattr__(self, name, numbers)
        low, high = self.value_range
        if not low < high:
            raise FerBenchError(f"value_range is [{low}, {high}]: the second must be larger, such as [0, 1]")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise FerBenchError(f"{name} has {len(values)} numbers, expected 1 or {self.channels} ({self.colour})")
        if min(self.std) <= 0:
            raise FerBenchError(f"std is {list(self.std)}: expected numbers above 0; [1.0] leaves values as they are")
        if self.antialias and self.resize not in ("bilinear", "bicubic"):
            raise FerBenchError(f"antialias is true, which {self.resize} does not have: set it false")
        names = tuple(name.strip().casefold() for name in self.classes)
        object.__setattr__(self, "classes", names if names == DETECTION_CLASSES else expressions(self.classes))
        if unknown := [name for name in self.sources if name not in FIELDS]:
            raise FerBenchError(f"sources has unknown {', '.join(unknown)}; known: {', '.join(FIELDS)}")

    @property
    def channels(self) -> int:
        return 1 if self.colour == "grey" else 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (C, H, W)."""
        return (self.channels, *self.size)

    def source(self, name: str) -> str:
        """Return where a field is from, or "assumed"."""
        return self.sources.get(name, ASSUMED)

    def replace(self, source: str, **changes: Any) -> Self:
        """Return the contract with other values, whose fields have a new source."""
        return dataclasses.replace(self, **changes, sources={**self.sources, **dict.fromkeys(changes, source)})

    def same_input(self, other: Self) -> bool:
        """Compare all but where the fields are from."""
        return dataclasses.replace(self, sources={}) == dataclasses.replace(other, sources={})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON and TOML have them, with a source for each."""
        data = dataclasses.asdict(self)
        data["sources"] = {name: self.source(name) for name in FIELDS}
        return data

    def to_json(self) -> str:
        """Return the contract as a side file has it."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_toml(self, heading: str = "input") -> str:
        """Return the contract as a table of a sheet."""
        data = self.to_dict()
        tables = {name: data.pop(name) for name in ("crop", "sources")}
        lines = [f"[{heading}]", *_toml_lines(data)]
        for name, table in tables.items():
            lines += ["", f"[{heading}.{name}]", *_toml_lines(table)]
        return "\n".join(lines) + "\n"

    @classmethod
    def of(cls, data: Any) -> Self:
        """Make a contract of an object as JSON and TOML have it.

        Raises:
            ValueError: it lacks a field, has one that no contract has, or one of another type.
            FerBenchError: as the class.
        """
        if not isinstance(data, Mapping):
            raise schema.wrong("", data, "an object")
        _check_choices(cls, data)
        crop = _of_crop(data["crop"]) if "crop" in data else None
        return cls(**{**schema.whole(cls, data), "crop": crop})


FIELDS = tuple(one.name for one in dataclasses.fields(InputContract) if one.name != "sources")


def _of_crop(data: Any) -> Crop:
    try:
        if isinstance(data, Mapping):
            _check_choices(Crop, data)
        return schema.read(Crop, data)
    except ValueError as error:
        raise ValueError(f"crop {error}") from None


def _check_choices(kind: type, data: Mapping[str, Any]) -> None:
    """Raise ValueError where a field is none of its few words; the schema would not name them."""
    for name, hint in typing.get_type_hints(kind).items():
        words = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        if words and name in data and data[name] not in words:
            raise schema.wrong(name, data[name], f"one of {', '.join(words)}")


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    # Texts, numbers, true, false and lists of these are written alike in JSON and TOML.
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in table.items()]


def read_contract(path: str | Path) -> InputContract:
    """Read a contract from a file: JSON, or TOML with the contract alone or under ``[input]``.

    Raises:
        FerBenchError: the file cannot be read, or is no contract.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        content = schema.parse_toml(data) if path.suffix == ".toml" else schema.parse(data)
        if isinstance(content, dict) and content.keys() == {"input"}:
            content = content["input"]
        return InputContract.of(content)
    except OSError as error:
        raise FerBenchError(
            f"cannot read the contract {path}: {error.strerror or error}; try: --contract sheet"
        ) from error
    except (ValueError, FerBenchError) as error:
        raise FerBenchError(
            f"{path} is no input contract: {error}; try: `fer-bench show NETWORK --contract` prints one to edit"
        ) from error
