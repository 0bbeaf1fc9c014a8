"""What a network takes beside one image: clips, tokens, masks, several of them; and how a user writes that.

``image:3x224x224,tokens:77:int64`` are two inputs, each ``[NAME:]SIZExSIZE...[:TYPE]`` without the batch, which comes
before. Unnamed ones are given in their order; named ones by keyword, if the network's ``forward`` has all the names, or
else as one dictionary. Without a type an input has that of the network's images.
"""

import re
from dataclasses import dataclass

from fer_bench.networks.spec import Shape
from fer_bench.records import units
from fer_bench.records.errors import FerBenchError, nearest

SETTING = "inputs"  # the key under which a record's settings have them
TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")
_INPUT = re.compile(r"(?:([A-Za-z_]\w*):)?([1-9]\d*(?:x[1-9]\d*)*)(?::(\w+))?")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a network.

    Attributes:
        name: of the argument; "" for one that is given by its place.
        shape: of one sample, without the batch.
        type: of ``TYPES``; "" for that of the network's images.
    """

    name: str
    shape: Shape
    type: str = ""

    def __str__(self) -> str:
        return ":".join(filter(None, (self.name, units.size(self.shape), self.type)))


def read_inputs(text: str) -> tuple[Input, ...]:
    """Read inputs as a user writes them.

    Raises:
        FerBenchError: the text is none, a type is unknown, or only some of several have names, or two the same.
    """
    found = []
    for part in map(str.strip, text.split(",")):
        read = _INPUT.fullmatch(part)
        if read is None:
            raise FerBenchError(
                f"--inputs {part!r} is no input: [NAME:]SIZExSIZE[:TYPE], such as image:3x224x224 or tokens:77:int64"
            )
        name, sizes, kind = read.groups(default="")
        shape = tuple(size for text in sizes.split("x") if (size := units.whole_number(text)) is not None)
        if len(shape) <= sizes.count("x"):
            raise FerBenchError(f"--inputs {part[:60]!r}: a size is a number from 1 to 2147483647")
        if kind and kind not in TYPES:
            known = f"known: {', '.join(TYPES)}"
            raise FerBenchError(f"--inputs {part}: the type {kind!r} is unknown{nearest(kind, TYPES)}; {known}")
        found.append(Input(name, shape, kind))
    names = [one.name for one in found if one.name]
    if names and len(names) < len(found):
        raise FerBenchError(f"--inputs {text}: give names to all inputs or to none")
    if len(set(names)) < len(names):
        raise FerBenchError(f"--inputs {text}: two inputs have one name")
    return tuple(found)
