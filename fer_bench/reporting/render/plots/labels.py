"""Names beside points, placed so that none lies on another: plain geometry, in whatever unit the caller has.

Without chance, so that the same points give the same picture: each name in turn takes the best of many places around
its point, near ones first, that no point takes. It may drive other names out, at a price that grows each time; these
look for another place in their turn.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Spot = tuple[float, float]

_DIRECTIONS = 24
_NEAR, _FAR, _STRIDE = 0.55, 22.0, 0.45  # distances from point to name that are tried, in heights of a name
_GAP = 1.1  # heights between names in a line, or they read as one: two characters
_CLEAR = 0.4  # heights between a name and the leader line of another
_CROSSING = 8.0  # what a name on a line costs, and a leader line across one, in heights of distance
_BESIDE = 6.0  # likewise a name beside another point than its own, though a leader line joins it to that
_MISREAD = 12.0  # likewise a name nearer to another point than to its own, or nearly, and joined by no line
_NEIGHBOUR = 1.0  # heights from a point within which a name lies beside it
_EVICTION, _DEARER = 6.0, 1.5  # what driving another name out costs, likewise, and how that grows each time
_MUST = 1000.0  # the same for a name that must be seen
_TURNS = 150  # of placing a name, until those without a place are given up
_MOST = 60  # names that are tried: more are illegible and take long


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with upright sides."""

    left: float
    bottom: float
    right: float
    top: float

    def within(self, other: "Box") -> bool:
        """Report whether it lies inside another."""
        across = other.left <= self.left <= self.right <= other.right
        return across and other.bottom <= self.bottom <= self.top <= other.top

    def wider(self, by: float) -> "Box":
        """Return the box with so much more at the left and at the right."""
        return Box(self.left - by, self.bottom, self.right + by, self.top)

    def meets(self, other: "Box") -> bool:
        """Report whether the two have common ground."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def nearest(self, spot: Spot) -> Spot:
        """Return the place in it that is nearest to a spot."""
        return min(max(spot[0], self.left), self.right), min(max(spot[1], self.bottom), self.top)

    def cut_by(self, start: Spot, end: Spot) -> bool:
        """Report whether a straight line runs through it (Liang and Barsky's clipping)."""
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
class Scene:
    """What names are placed in.

    Attributes:
        frame: that names must not leave.
        covered: what names must not cover: all points, among them those that are named, and other texts.
        lines: straight pieces that names and their leader lines had better not meet.
        joined: distance from which on a name is joined to its point by a leader line.
    """

    frame: Box
    covered: Sequence[Box]
    lines: Sequence[tuple[Spot, Spot]] = ()
    joined: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name goes, the line from the point to it, and whether that shall be drawn."""

    box: Box
    leader: tuple[Spot, Spot]
    joined: bool

    @property
    def held(self) -> Spot:
        """Where the leader line meets the box, as shares of its width and height."""
        (x, y), box = self.leader[1], self.box
        return (x - box.left) / (box.right - box.left), (y - box.bottom) / (box.top - box.bottom)


def place(
    spots: Sequence[Spot], sizes: Sequence[tuple[float, float]], scene: Scene, must: int = 0
) -> list[Place | None]:
    """Return a place for each name.

    Args:
        spots: the points, the most important first.
        sizes: (width, height) of their names.
        scene: what they are placed in.
        must: so many of the first are not given up for others.

    Returns:
        A place for each, or None where there is none within reach, or for all beyond the first ``_MOST``.
    """
    order = range(min(len(spots), _MOST))
    prices = [_MUST if number < must else _EVICTION for number in order]  # of giving a name up
    best: dict[int, Place] = {}
    placed: dict[int, Place] = {}
    waiting = list(order)
    for _ in range(_TURNS):
        if not waiting:
            break
        number = waiting.pop(0)
        option = _best(number, placed, prices, spots, sizes[number], scene)
        if option is None:
            continue
        for other in [other for other, its in placed.items() if _conflict(option, its)]:
            del placed[other]
            waiting.append(other)
            prices[other] *= _DEARER
        placed[number] = option
        best = max(best, dict(placed), key=lambda places: (sum(its < must for its in places), len(places)))
    for number in order:  # each again, now that it is known where all are
        best.pop(number, None)
        option = _best(number, best, [math.inf] * len(order), spots, sizes[number], scene)
        if option is not None:
            best[number] = option
    return [best.get(number) for number in range(len(spots))]


def _best(
    number: int,
    placed: Mapping[int, Place],
    prices: Sequence[float],
    spots: Sequence[Spot],
    size: tuple[float, float],
    scene: Scene,
) -> Place | None:
    """Return the place that costs least for a name, with the prices of the names that it would drive out."""
    spot = spots[number]
    foreign = [other for other in spots if other != spot]
    passed = [other for other in scene.covered if other.nearest(spot) != spot]  # a line through it seemed to be of it
    best, least = None, math.inf
    for distance, box in _around(spot, size):
        if distance >= least:
            break  # those that follow lie farther away
        option = Place(box, (spot, _end(box, spot)), math.dist(spot, box.nearest(spot)) > scene.joined)
        if not box.within(scene.frame) or any(box.meets(other) for other in scene.covered):
            continue
        if any(other.cut_by(*option.leader) for other in passed):
            continue
        cost = distance
        for other, its in placed.items():
            if _conflict(option, its):
                cost += prices[other]
                if cost >= least:
                    break  # no need to know how much worse it is
        else:
            cost += _cost(option, foreign, scene.lines)
        if cost < least:
            best, least = option, cost
    return best


def _end(box: Box, spot: Spot) -> Spot:
    """Return the end of a leader line: the nearest place of a name, but beside it at half height, not at a corner."""
    x, y = box.nearest(spot)
    return (x, y) if box.left <= spot[0] <= box.right else (x, (box.bottom + box.top) / 2)


def _cost(option: Place, foreign: Sequence[Spot], lines: Sequence[tuple[Spot, Spot]]) -> float:
    """Return the cost of a place, in heights of distance."""
    box, spot = option.box, option.leader[0]
    height = box.top - box.bottom
    own = math.dist(spot, box.nearest(spot))
    other = min((math.dist(another, box.nearest(another)) for another in foreign), default=math.inf)
    cost = _CROSSING * any(box.cut_by(*line) for line in lines)
    if option.joined:
        cost += _CROSSING * any(_cross(option.leader, line) for line in lines)
        return cost + _BESIDE * (other < _NEIGHBOUR * height)
    return cost + _MISREAD * (other < own + _CLEAR * height)


def _around(spot: Spot, size: tuple[float, float]) -> Iterator[tuple[float, Box]]:
    """Return boxes around a spot with their distances in heights, nearest first, those at the right before others."""
    width, height = size
    for step in range(int((_FAR - _NEAR) / _STRIDE) + 1):
        distance = _NEAR + step * _STRIDE
        for turn in range(_DIRECTIONS):
            # From the right outwards: 0, up a little, down a little, and so on to the left.
            angle = (turn + 1) // 2 * (1 if turn % 2 else -1) * 2 * math.pi / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            left = spot[0] + distance * height * across + width * (across - 1) / 2
            bottom = spot[1] + distance * height * up + height * (up - 1) / 2
            yield distance, Box(left, bottom, left + width, bottom + height)


def _conflict(one: Place, other: Place) -> bool:
    """Report whether two names, or their leader lines, are in each other's way."""
    height = one.box.top - one.box.bottom
    return (
        one.box.wider(_GAP * height).meets(other.box)
        or one.box.wider(_CLEAR * height).cut_by(*other.leader)
        or other.box.wider(_CLEAR * height).cut_by(*one.leader)
        or _cross(one.leader, other.leader)
    )


def _cross(one: tuple[Spot, Spot], other: tuple[Spot, Spot]) -> bool:
    def side(line: tuple[Spot, Spot], spot: Spot) -> float:
        (x, y), (to_x, to_y) = line
        return (to_x - x) * (spot[1] - y) - (to_y - y) * (spot[0] - x)

    return side(one, other[0]) * side(one, other[1]) < 0 and side(other, one[0]) * side(other, one[1]) < 0
