"""Drawn faces with seven graded expressions: data for tests, tutorials, and users who wait for a licence.

They are lines and areas, no person's face, and nothing learnt on them says anything about photographs. An expression
is a set of strengths in the manner of the Facial Action Coding System (Ekman and Friesen, 1978), here twelve of them,
with prototypes after its emotional version.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fer_bench.accuracy.data.dataset import Picture
from fer_bench.accuracy.data.source import FER2013_CLASSES

Point = tuple[float, float]

UNITS = (
    "inner_brow_raise outer_brow_raise brow_lower lid_raise squint nose_wrinkle "
    "corner_pull corner_depress stretch tighten jaw_drop upper_lip_raise"
).split()
_PROTOTYPES = {
    "angry": {"brow_lower": 1.0, "lid_raise": 0.4, "squint": 0.5, "tighten": 1.0},
    "disgust": {"brow_lower": 0.5, "squint": 0.5, "nose_wrinkle": 1.0, "upper_lip_raise": 1.0, "corner_depress": 0.3},
    "fear": {
        "inner_brow_raise": 0.9,
        "outer_brow_raise": 0.4,
        "brow_lower": 0.5,
        "lid_raise": 0.9,
        "stretch": 1.0,
        "jaw_drop": 0.35,
    },
    "happy": {"squint": 0.6, "corner_pull": 1.0, "jaw_drop": 0.2},
    "sad": {"inner_brow_raise": 1.0, "brow_lower": 0.4, "corner_depress": 1.0, "squint": 0.2},
    "surprise": {"inner_brow_raise": 1.0, "outer_brow_raise": 1.0, "lid_raise": 1.0, "jaw_drop": 1.0},
    "neutral": {},
}
PROTOTYPES = np.array([[_PROTOTYPES[name].get(unit, 0.0) for unit in UNITS] for name in FER2013_CLASSES])
INTENSITY = (0.55, 1.0)  # of a prototype, uniform
_SCATTER = 0.12  # standard deviation of each strength


@dataclass(frozen=True, slots=True)
class Identity:
    """What a person keeps in all pictures: lengths as shares of half the picture's side, grey levels from 0 to 255."""

    skin: float
    hair: float
    head_width: float
    head_height: float
    jaw: float
    eye_apart: float
    eye_y: float
    eye: float
    brow: float
    brow_up: float
    nose: float
    nose_width: float
    mouth_y: float
    mouth: float
    lip: float
    hairline: float
    long_hair: bool
    glasses: bool
    beard: bool
    tint: tuple[float, float]  # green and blue beside red, where a picture has colours


@functools.lru_cache(maxsize=4096)
def identity(seed: int, person: int) -> Identity:
    """Return the looks of a person: they depend on the seed and the person's number alone."""
    random = np.random.default_rng((seed, 0, person))
    u = random.uniform
    return Identity(
        skin=u(120, 225),
        hair=u(15, 110),
        head_width=u(0.58, 0.74),
        head_height=u(0.78, 0.92),
        jaw=u(0.62, 0.95),
        eye_apart=u(0.26, 0.34),
        eye_y=u(-0.20, -0.10),
        eye=u(0.10, 0.14),
        brow=u(0.030, 0.060),
        brow_up=u(0.15, 0.20),
        nose=u(0.20, 0.28),
        nose_width=u(0.07, 0.11),
        mouth_y=u(0.38, 0.46),
        mouth=u(0.21, 0.30),
        lip=u(0.035, 0.060),
        hairline=u(0.52, 0.68),
        long_hair=bool(random.random() < 0.40),
        glasses=bool(random.random() < 0.12),
        beard=bool(random.random() < 0.15),
        tint=(u(0.74, 0.86), u(0.58, 0.74)),
    )


@dataclass(frozen=True, slots=True)
class Face:
    """A drawn picture: uint8, (size, size) or with colours (size, size, 3), and the strengths that were drawn."""

    pixels: Picture
    strengths: NDArray[np.float64]


def strengths_of(random: np.random.Generator, label: int, intensity: tuple[float, float]) -> NDArray[np.float64]:
    """Draw the strengths of an expression: its prototype by an intensity, each with some scatter, from 0 to 1.2."""
    drawn = PROTOTYPES[label] * random.uniform(*intensity) + random.normal(0, _SCATTER, len(UNITS))
    return np.asarray(drawn.clip(0, 1.2))


def draw(
    random: np.random.Generator,
    who: Identity,
    label: int,
    size: int,
    *,
    colour: bool = False,
    yaw: float | None = None,
    intensity: tuple[float, float] = INTENSITY,
) -> Face:
    """Draw one picture of a person.

    Args:
        random: of this picture alone.
        who: the person.
        label: place of the expression in ``FER2013_CLASSES``.
        size: side in pixels.
        colour: RGB instead of grey.
        yaw: turn of the head to the picture's right, in degrees; by default some ten at random.
        intensity: least and largest of the expression.
    """
    strengths = strengths_of(random, label, intensity)
    turn = random.normal(0, 9) if yaw is None else yaw + random.normal(0, 3)
    pen = _Pen(random, size, math.radians(turn))
    back = random.uniform(30, 230)
    _draw_head(pen, who, back)
    _draw_eyes(pen, who, dict(zip(UNITS, strengths.tolist(), strict=True)))
    _draw_mouth(pen, who, dict(zip(UNITS, strengths.tolist(), strict=True)))
    return Face(_photograph(random, pen.canvas, size, who.tint if colour else None), strengths)


class _Pen:
    """Draws in the face's own coordinates: from -1 to 1 across and down, moved, turned and scaled as the head is."""

    def __init__(self, random: np.random.Generator, size: int, yaw: float) -> None:
        self.side = size * (4 if size < 96 else 2)
        self.canvas = Image.new("L", (self.side, self.side))
        self._draw = ImageDraw.Draw(self.canvas)
        roll, scale = math.radians(random.normal(0, 6)), random.uniform(0.88, 1.06) * self.side / 2
        self._cos, self._sin = math.cos(roll) * scale, math.sin(roll) * scale
        self._x, self._y = (self.side * (0.5 + random.uniform(-0.05, 0.05)) for _ in range(2))
        self._yaw_cos, self._yaw_sin, self.scale = math.cos(yaw), math.sin(yaw), scale

    def at(self, x: float, y: float) -> Point:
        """Return the place of a point that turns with the face, in pixels of the canvas."""
        depth = math.sqrt(max(0.0, 0.8 - x * x - 0.5 * y * y))
        return self.flat(x * self._yaw_cos + 0.6 * depth * self._yaw_sin, y)

    def flat(self, x: float, y: float) -> Point:
        """Return the place of a point that does not: the outline of the head."""
        return self._x + self._cos * x - self._sin * y, self._y + self._sin * x + self._cos * y

    def area(self, points: Sequence[Point], grey: float, *, turns: bool = True) -> None:
        place = self.at if turns else self.flat
        self._draw.polygon([place(*point) for point in points], fill=_level(grey))

    def line(self, points: Sequence[Point], grey: float, width: float) -> None:
        across = max(1, round(width * self.scale))
        self._draw.line([self.at(*point) for point in points], fill=_level(grey), width=across, joint="curve")

    def fill(self, grey: float) -> None:
        self._draw.rectangle((0, 0, self.side, self.side), fill=_level(grey))


def _level(grey: float) -> int:
    return max(0, min(255, round(grey)))


_CIRCLE = tuple((math.cos(step * math.tau / 20), math.sin(step * math.tau / 20)) for step in range(20))


def _ellipse(x: float, y: float, across: float, down: float) -> list[Point]:
    return [(x + across * c, y + down * s) for c, s in _CIRCLE]


def _curve(start: Point, through: Point, end: Point, steps: int = 8) -> list[Point]:
    """Return a parabola through three points, the second of which is halfway."""
    (x0, y0), (x1, y1), (x2, y2) = start, through, end
    points = []
    for step in range(steps + 1):
        t = step / steps
        a, b, c = (1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)
        points.append((a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2))
    return points


def _draw_head(pen: _Pen, who: Identity, back: float) -> None:
    pen.fill(back)
    width, height = who.head_width, who.head_height
    if who.long_hair:
        pen.area(_ellipse(0, 0.05, width * 1.22, height * 1.10), who.hair, turns=False)
    pen.area([(-0.28, 0.5), (0.28, 0.5), (0.32, 1.3), (-0.32, 1.3)], who.skin * 0.85, turns=False)
    outline = [(width * c * (1 - (1 - who.jaw) * 0.5 * max(0.0, s)), height * s + 0.03) for c, s in _CIRCLE]
    pen.area(outline, who.skin, turns=False)
    if who.beard:
        lower = [(x * 0.97, y) for x, y in outline if y > 0.28]
        pen.area([*lower, (-0.3, 0.30), (0.3, 0.30)], who.skin * 0.62, turns=False)
    cap = [(width * 1.06 * c, height * 1.05 * s) for c, s in _CIRCLE if s < -0.25]
    pen.area([*cap, (width * 0.7, -who.hairline), (-width * 0.7, -who.hairline)], who.hair, turns=False)


def _draw_eyes(pen: _Pen, who: Identity, au: dict[str, float]) -> None:
    dark = who.skin * 0.45
    opening = who.eye * max(0.10, 0.55 * (1 + 0.55 * au["lid_raise"] - 0.50 * au["squint"] - 0.25 * au["nose_wrinkle"]))
    for side in (-1, 1):
        x, y = side * who.eye_apart, who.eye_y
        pen.area(_ellipse(x, y, who.eye * 1.08, opening + 0.015), dark)
        pen.area(_ellipse(x, y, who.eye, opening), min(245, who.skin + 60))
        iris = min(opening, who.eye * 0.52)
        pen.area(_ellipse(x, y, iris * 0.95, iris), 25)
        if au["squint"] > 0.3:
            pen.line(
                _curve((x - 0.1, y + opening + 0.04), (x, y + opening + 0.07), (x + 0.1, y + opening + 0.04), 4),
                dark,
                0.016,
            )
        top = who.eye_y - who.brow_up
        lowered, raised = au["brow_lower"], au["inner_brow_raise"]
        inner = (
            side * (who.eye_apart - 0.15 - 0.03 * lowered),
            top + 0.12 * lowered - 0.13 * raised + 0.03 * au["nose_wrinkle"],
        )
        outer = (side * (who.eye_apart + 0.16), top + 0.02 + 0.01 * lowered - 0.11 * au["outer_brow_raise"])
        middle = ((inner[0] + outer[0]) / 2, (inner[1] + outer[1]) / 2 - 0.035 + 0.015 * lowered)
        pen.line(_curve(inner, middle, outer, 6), who.hair * 0.8, who.brow)
        if who.glasses:
            ring = _ellipse(x, y, who.eye * 1.55, who.eye * 1.35)
            pen.line([*ring, ring[0]], 30, 0.02)
    if who.glasses:
        pen.line([(-who.eye_apart + who.eye * 1.5, who.eye_y), (who.eye_apart - who.eye * 1.5, who.eye_y)], 30, 0.02)


def _draw_mouth(pen: _Pen, who: Identity, au: dict[str, float]) -> None:
    dark = who.skin * 0.55
    tip = who.eye_y + who.nose + 0.12 - 0.035 * au["nose_wrinkle"]
    wide = who.nose_width * (1 + 0.25 * au["nose_wrinkle"])
    pen.line([(0.02, who.eye_y + 0.05), (0.05, tip - 0.03), (0.0, tip)], who.skin * 0.8, 0.022)
    pen.line(_curve((-wide, tip - 0.01), (0, tip + 0.035), (wide, tip - 0.01), 6), dark, 0.026)
    if au["nose_wrinkle"] > 0.25:
        for x in (-0.07, 0.0, 0.07):
            pen.line([(x, who.eye_y - 0.03), (x * 0.7, who.eye_y + 0.08)], dark, 0.018 * min(1.0, au["nose_wrinkle"]))
    pull, drop, stretch = au["corner_pull"], au["jaw_drop"], au["stretch"]
    raised, pressed = au["upper_lip_raise"], au["tighten"]
    width = who.mouth * (1 + 0.28 * pull + 0.30 * stretch - 0.28 * pressed - 0.15 * drop)
    corner = who.mouth_y - 0.13 * pull + 0.11 * au["corner_depress"] + 0.06 * stretch
    upper = who.mouth_y - 0.09 * raised - 0.07 * drop - 0.03 * au["corner_depress"] + 0.03 * pull
    gap = 0.24 * drop + 0.07 * raised + 0.06 * stretch + 0.05 * pull
    lower, lip = upper + gap, who.lip * (1 - 0.65 * min(1.0, pressed))
    left, right = (-width, corner), (width, corner)
    top, bottom = _curve(left, (0, upper), right), _curve(left, (0, lower), right)
    folds = max(pull, raised, au["nose_wrinkle"] * 0.8)
    if folds > 0.3:
        for side in (-1, 1):
            through = (side * (width * 0.95 + 0.02), (tip + corner) / 2 - 0.02)
            fold = _curve((side * wide * 1.2, tip), through, (side * (width + 0.06), corner + 0.03), 4)
            pen.line(fold, who.skin * 0.72, 0.02 * min(1.0, folds))
    if gap > 0.04:
        pen.area([*top, *reversed(bottom)], 30)
        if max(pull, stretch, raised) > 0.3:
            edge = [(x * 0.9, y + min(0.05, 0.6 * (below - y))) for (x, y), (_, below) in zip(top, bottom, strict=True)]
            pen.area([*((x * 0.9, y) for x, y in top), *reversed(edge)], 235)
    red = who.skin * 0.58
    pen.line(top, red, lip)
    pen.line(bottom, red, lip * 1.2)
    if pressed > 0.4:
        pen.line(_curve((-0.08, lower + 0.13), (0, lower + 0.11), (0.08, lower + 0.13), 4), dark, 0.02)


def _photograph(
    random: np.random.Generator, canvas: Image.Image, size: int, tint: tuple[float, float] | None
) -> Picture:
    """Return what a camera would make of a drawing: light from a side, contrast, blur and noise."""
    small = canvas.reduce(canvas.width // size)
    blur = random.uniform(0, 0.9) * size / 48
    if blur > 0.2:
        small = small.filter(ImageFilter.GaussianBlur(blur))
    across = np.linspace(-1, 1, size)
    angle, strength = random.uniform(0, math.tau), random.uniform(0, 0.35)
    light = 1 + strength * (math.cos(angle) * across[None, :] + math.sin(angle) * across[:, None])
    pixels = 128 + (np.asarray(small) * light - 128) * random.uniform(0.65, 1.1) + random.normal(0, 14)
    pixels += random.standard_normal(pixels.shape, np.float32) * random.uniform(0, 7)
    if tint is not None:
        pixels = pixels[:, :, None] * np.array([1.0, *tint])
    return np.asarray(pixels.clip(0, 255).astype(np.uint8))
