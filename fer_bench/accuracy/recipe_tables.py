"""The tables of a recipe, a dataclass each, and where a field is from."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from fer_bench.records.schema import Name, Size, Whole

ORIGINS = ("printed", "public code", "our choice")
UNSAID = "not stated"  # the origin of a field that a user's file says nothing of
CHANGED = "changed"  # the origin of a field that was changed when the recipe was used

_Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
BelowOne = Annotated[int, Meta(ge=0, le=0)] | Annotated[float, Meta(ge=0, lt=1)]
_Factor = Annotated[float, Meta(gt=0, lt=1)]
_Degrees = Annotated[int, Meta(ge=0, le=180)] | Annotated[float, Meta(ge=0, le=180)]
Rate = Annotated[int, Meta(gt=0, le=1000)] | Annotated[float, Meta(gt=0, le=1000)]
_Amount = Annotated[int, Meta(ge=0, le=1000)] | Annotated[float, Meta(ge=0, le=1000)]
_Value = Annotated[int, Meta(ge=-1000, le=1000)] | Annotated[float, Meta(ge=-1000, le=1000)]
_Betas = Annotated[tuple[BelowOne, ...], Meta(min_length=2, max_length=2)]
_Pair = Annotated[tuple[_Value, ...], Meta(min_length=2, max_length=2)]
Names = tuple[Name, ...]

Monitor = Literal["training_loss", "training_accuracy", "validation_loss", "validation_accuracy"]
Rule = Literal["reaches", "exceeds"]


@dataclass(frozen=True, slots=True)
class SGD:
    """Stochastic gradient descent, as ``torch.optim.SGD`` has it."""

    name: Literal["sgd"]
    lr: Rate
    momentum: BelowOne = 0.0
    nesterov: bool = False
    weight_decay: _Amount = 0.0


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam and its kin, as ``torch.optim`` has them; decay is decoupled in ``adamw`` alone."""

    name: Literal["adam", "adamw", "radam"]
    lr: Rate
    betas: _Betas = (0.9, 0.999)
    eps: Rate = 1e-8
    weight_decay: _Amount = 0.0


@dataclass(frozen=True, slots=True)
class RMSprop:
    """RMSprop, as ``torch.optim.RMSprop`` has it."""

    name: Literal["rmsprop"]
    lr: Rate
    alpha: BelowOne = 0.99
    momentum: BelowOne = 0.0
    eps: Rate = 1e-8
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
    """Keras's InverseTimeDecay, by epochs: after n of them the rate is lr / (1 + rate n / epochs)."""

    kind: Literal["inverse_time"]
    epochs: Size
    rate: Rate


@dataclass(frozen=True, slots=True)
class OneCycle:
    """Up from the optimiser's rate / ``start_divisor`` to it, and down to the start / ``end_divisor``, by cosines.

    ``torch.optim.lr_scheduler.OneCycleLR`` with the optimiser's rate as its largest, and momentum left as it is.
    """

    kind: Literal["one_cycle"]
    rising: _Factor = 0.3
    start_divisor: Rate = 25.0
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
    label_smoothing: BelowOne = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    l2: _Amount = 0.0
    l2_on: Names = ()


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
    zoom: BelowOne = 0.0
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
    classes: Names = ()


@dataclass(frozen=True, slots=True)
class Input:
    """What is done to an image otherwise than the network's sheet says; fields are those of ``InputContract``."""

    size: Annotated[tuple[Size, ...], Meta(min_length=2, max_length=2)] | None = None
    value_range: _Pair | None = None
    mean: tuple[_Value, ...] | None = None
    std: tuple[Rate, ...] | None = None
    resize: Literal["nearest", "bilinear", "bicubic", "area"] | None = None
    antialias: bool | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Return the fields that are given."""
        return {name: value for name, value in members(self).items() if value is not None}


if TYPE_CHECKING:
    Optimizer = SGD | Adam | RMSprop
    Schedule = Constant | Step | Exponential | Plateau | InverseTime | OneCycle
else:  # msgspec knows no union of dataclasses: ``recipe_reading.tagged`` chooses one
    Optimizer = Schedule = Any


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a training; what it does not name is the recipe's.

    Attributes:
        begins: with the weights of the last epoch before it, or with the best so far, as ``selection`` has it.
        frozen: names of modules whose weights stay as they are, as ``*`` and ``trunk.*`` match them.
        frozen_batch_norms: of modules whose batch norms keep to their running statistics.
    """

    name: Name
    epochs: Size
    begins: Literal["last", "best"] = "last"
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    loss: Loss | None = None
    stopping: Stopping | None = None
    frozen: Names = ()
    frozen_batch_norms: Names = ()
    dropout: BelowOne | None = None


class Origin(NamedTuple):
    """Where a field is from: of ``ORIGINS``, ``UNSAID`` or ``CHANGED``; and a sentence about it."""

    kind: str
    why: str


def members(table: Any) -> dict[str, Any]:
    """Return the members of a dataclass by name."""
    return {one.name: getattr(table, one.name) for one in fields(table)}
