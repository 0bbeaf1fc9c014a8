"""Names beside points, placed so that none lies on another: plain geometry, in whatever unit the caller has.

Without chance, so that the same points give the same picture: each name in turn takes the best of many places around
its point, near ones first, that no earlier name, point or leader line takes. Names that find none go first in another
round, since those amid others have the fewest places.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

Spot = tuple[float, float]

_DIRECTIONS = 24
_NEAR, _FAR, _STRIDE = 0.55, 22.0, 0.45  # distances from point to name that are tried, in heights of a name
_CROSSING = 4.0  # what a name on a line costs, in heights of distance
_BESIDE = 3.0  # what a name so near to another point that it seems to be that one's costs, likewise
_NEIGHBOUR = 0.6  # heights within which it seems so
_ROUNDS, _CROWD = 6, 50  # rounds; but one only for more names than this, since a round takes a second there
_MOST = 60  # names that are tried: more are illegible and take long


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with upright sides."""

    left: float
    bottom: float
    right: float
    top: float

    def within(self, other: "Box") -> bool:
        """Tell whether it lies inside another."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )

    def meets(self, other: "Box") -> bool:
        """Tell whether the two have common ground."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def nearest(self, spot: Spot) -> Spot:
        """Give the place in it that is nearest to a spot."""
        return min(max(spot[0], self.left), self.right), min(max(spot[1], self.bottom), self.top)

    def cut_by(self, start: Spot, end: Spot) -> bool:
        """Tell whether a straight line runs through it (Liang and Barsky's clipping)."""
        enters, leaves = 0.0, 1.0
        for at, to, low, high in ((start[0], end[0], self.left, self.right), (start[1], end[1], self.bottom, self.top)):
            step = to - at
            if step == 0:
                if not low < at < high:
                    return False
                continue
            first, last = sorted(((low - at) / step, (high - at) / step))
            enters, leaves = max(enters, first), min(leaves, last)
        return enters < leaves


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name goes, and its leader line from the point to it."""

    box: Box
    leader: tuple[Spot, Spot]

    @property
    def held(self) -> Spot:
        """Where the leader line meets the box, as shares of its width and height."""
        (x, y), box = self.leader[1], self.box
        return (x - box.left) / (box.right - box.left), (y - box.bottom) / (box.top - box.bottom)


def place(
    spots: Sequence[Spot],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    taken: Sequence[Box],
    lines: Sequence[tuple[Spot, Spot]] = (),
    must: int = 0,
) -> list[Place | None]:
    """Find a place for each name.

    Args:
        spots: the points, the most important first.
        sizes: (width, height) of their names.
        frame: that names must not leave.
        taken: what names must not cover: all points, among them those that are named, and other texts.
        lines: straight pieces that names had better not cover.
        must: so many of the first are not given up for others.

    Returns:
        A place for each, or None where there is none within reach, or for all beyond the first ``_MOST``.
    """
    order = list(range(min(len(spots), _MOST)))
    best: dict[int, Place] = {}
    for _ in range(_ROUNDS if len(order) <= _CROWD else 1):
        found = _round(order, spots, sizes, frame, taken, lines)
        best = max(best, found, key=lambda places: (sum(number < must for number in places), len(places)))
        if len(best) == len(order):
            break
        order.sort(key=found.__contains__)  # stable: among those that failed the more important stay first
    return [best.get(number) for number in range(len(spots))]


def _round(
    order: Sequence[int],
    spots: Sequence[Spot],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    taken: Sequence[Box],
    lines: Sequence[tuple[Spot, Spot]],
) -> dict[int, Place]:
    """Find places in this order; names without one are left out."""
    placed: dict[int, Place] = {}
    for number in order:
        spot, size = spots[number], sizes[number]
        best, least = None, math.inf
        for distance, box in _around(spot, size):
            if distance >= least:
                break  # those that follow lie farther away
            option = Place(box, (spot, box.nearest(spot)))
            if box.within(frame) and _free(option, placed.values(), taken):
                crossing = any(box.cut_by(*line) for line in lines)
                cost = distance + _CROSSING * crossing + _BESIDE * _misread(option, taken)
                best, least = (option, cost) if cost < least else (best, least)
        if best is not None:
            placed[number] = best
    return placed


def _around(spot: Spot, size: tuple[float, float]) -> Iterator[tuple[float, Box]]:
    """Give boxes around a spot with their distances in heights, the nearest first, those at the right before others."""
    width, height = size
    for step in range(int((_FAR - _NEAR) / _STRIDE) + 1):
        distance = _NEAR + step * _STRIDE
        for turn in range(_DIRECTIONS):
            angle = _angle(turn)
            across, up = math.cos(angle), math.sin(angle)
            left = spot[0] + distance * height * across + width * (across - 1) / 2
            bottom = spot[1] + distance * height * up + height * (up - 1) / 2
            yield distance, Box(left, bottom, left + width, bottom + height)


def _angle(turn: int) -> float:
    """Give directions from the right outwards: 0, up a little, down a little, and so on to the left."""
    return (turn + 1) // 2 * (1 if turn % 2 else -1) * 2 * math.pi / _DIRECTIONS


def _free(option: Place, placed: Collection[Place], taken: Sequence[Box]) -> bool:
    """Tell whether a name covers nothing, and its leader line passes nothing that it could be taken to be of."""
    spot = option.leader[0]
    return not (
        any(option.box.meets(box) for box in taken)
        or any(box.cut_by(*option.leader) for box in taken if box.nearest(spot) != spot)
        or any(
            option.box.meets(other.box)
            or option.box.cut_by(*other.leader)
            or other.box.cut_by(*option.leader)
            or _cross(option.leader, other.leader)
            for other in placed
        )
    )


def _misread(option: Place, taken: Sequence[Box]) -> bool:
    """Tell whether a name lies beside something else than its own point."""
    box, spot = option.box, option.leader[0]
    near = _NEIGHBOUR * (box.top - box.bottom)
    wide = Box(box.left - near, box.bottom, box.right + near, box.top)
    return any(wide.meets(other) for other in taken if other.nearest(spot) != spot)


def _cross(one: tuple[Spot, Spot], other: tuple[Spot, Spot]) -> bool:
    def side(line: tuple[Spot, Spot], spot: Spot) -> float:
        (x, y), (to_x, to_y) = line
        return (to_x - x) * (spot[1] - y) - (to_y - y) * (spot[0] - x)

    return side(one, other[0]) * side(one, other[1]) < 0 and side(other, one[0]) * side(other, one[1]) < 0
