"""Judge a printed figure by other figures of its paper: arithmetic, shares of whole things, a confusion matrix."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import permutations
from typing import Any

from fer_bench.auditing import expressions, facts
from fer_bench.auditing.chance import ALPHA, covered, fits
from fer_bench.auditing.hypotheses import USUAL, Hypothesis
from fer_bench.auditing.printed import Printed, read
from fer_bench.auditing.verdicts import Claim, Kind, Verdict
from fer_bench.records.errors import SheetError
from fer_bench.records.units import in_range, significant

_FEW = 1000  # images: every test set is larger, so that what any such set allows is no test
_MOST_ENUMERATED = 200_000  # things that a share is of; more of them leave no printed share impossible
_SHARES_OFF = Decimal("0.2")  # by so much sums of shares may be off; counts add up to something else entirely


def by_arithmetic(claim: Claim, printed: Printed | None, paper: Sequence[Claim]) -> Verdict:
    """Compare the sheet's arithmetic with a number in the unit as printed; None where that is words.

    Where the arithmetic fails, another derivation is looked for in all claims of the paper.

    Raises:
        SheetError: the arithmetic is none.
    """
    text = claim.figure.arithmetic
    truth = expressions.holds(text)
    if truth is not None:
        kind, verb = (Kind.possible, "holds") if truth else (Kind.contradiction, "does not hold")
        return Verdict(claim, kind, f"{text} {verb}", evidence="arithmetic on printed figures")
    value = expressions.evaluate(text)
    ours = _number(value.exact)

    def verdict(kind: Kind, more: str = "", chance: float | None = None) -> Verdict:
        return Verdict(claim, kind, f"{text} = {ours}{more}", ours, "arithmetic on printed figures", chance)

    if printed is None:
        return verdict(Kind.statement)
    how = printed.match(value.exact)
    chance = covered(printed, [value.exact])
    if how in ("cut", "rounded") and chance > ALPHA:  # what is equal needs no chance
        return verdict(Kind.undecidable, f", {how}, but {chance:.0%} of random figures would fit as well", chance)
    if how:
        return verdict(Kind.confirmed, "" if how == "exact" else f", {how}", chance)
    low, high = printed.value - printed.step / 2, printed.value + printed.step
    if value.low < high and value.high >= low and value.low != value.high:
        return verdict(Kind.possible, ", within the rounding of its parts")
    found = fits(printed, list(_pairs(claim, paper))) if claim.figure.quantity in RATIOS else []
    others = [fit for fit in found if fit.chance <= ALPHA]
    return verdict(Kind.contradiction, f", printed {claim.figure.printed}").remarked(
        *(f"{fit.arithmetic} would give it ({fit.text}; {fit.chance:.1%} by chance)" for fit in others)
    )


RATIOS = ("parameter_ratio", "parameter_reduction", "accuracy_gain")


def by_pairs(claim: Claim, printed: Printed, paper: Sequence[Claim]) -> Verdict | None:
    """Look for the two printed figures that a ratio, reduction or gain is of; None where the paper has no two."""
    hypotheses = list(_pairs(claim, paper))
    if not hypotheses:
        return None
    found = fits(printed, hypotheses)
    if not found:
        tried = f"{len(hypotheses)} pairs tried"
        line = f"no two of the paper's printed figures give it, {tried}; the paper does not say of what it is"
        return Verdict(claim, Kind.irreproducible, line, "", "printed figures")
    best = found[0]
    kind, line = Kind.confirmed, f"{best.arithmetic} ({best.text})"
    if best.chance > ALPHA:
        kind, line = Kind.undecidable, f"{line}, but {best.chance:.0%} of random figures would fit some pair"
    return Verdict(claim, kind, line, "", "printed figures", best.chance, tuple(found))


def _pairs(claim: Claim, paper: Sequence[Claim]) -> Iterable[Hypothesis]:
    quantity = claim.figure.quantity
    wanted = ("accuracy",) if quantity == "accuracy_gain" else ("parameters", "trainable_parameters")
    named: dict[Decimal, str] = {}
    for other in paper:
        figure = other.figure
        same = figure.dataset == claim.figure.dataset or quantity != "accuracy_gain"
        number = read(figure.printed, figure.unit) if figure.quantity in wanted and same else None
        if number is not None and number.value > 0:
            named.setdefault(number.value, other.subject)
    for (first, a), (second, b) in permutations(named.items(), 2):
        if quantity == "accuracy_gain":
            value, how = first - second, f"{first} - {second}"
        elif quantity == "parameter_ratio":
            value, how = first / second, f"{first:,f} / {second:,f}"
        else:
            value, how = 100 * (1 - first / second), f"100 x (1 - {first:,f} / {second:,f})"
        if value > 0:
            yield Hypothesis(f"{a} and {b}", value, USUAL, Kind.confirmed, f"{how} = {_number(value)}")


def by_share(claim: Claim, printed: Printed, wholes: dict[str, int]) -> Verdict:
    """Ask whether a percentage is a share of a whole number of things at all.

    The wholes are the numbers that it may be a share of, by name, the one that the paper prints first. The test is that
    of Brown and Heathers ("The GRIM Test", 2017), for shares.
    """
    stated, number = next(iter(wholes.items()))
    near, chance = _share(printed, number)
    others = [f"{name} ({n})" for name, n in list(wholes.items())[1:] if _share(printed, n)[0]]
    source = f"shares of {stated} ({number})"
    if near:
        kind, line = Kind.possible, _division(near[0], number)
        if chance > 1 - ALPHA:
            kind, line = Kind.undecidable, f"any figure with so few digits is a share of {number}"
        return Verdict(claim, kind, line, "", source, chance)
    k = int(printed.value * number / 100)
    line = f"no share of {number}: {_division(k, number)}, {_division(k + 1, number)}"
    line += f"; but one of {' and '.join(others)}" if others else ""
    verdict = Verdict(claim, Kind.undecidable if others else Kind.contradiction, line, "", source, chance)
    most = min(number * 2, 200)
    smallest = [n for n in range(2, most + 1) if _near(printed, n)][:4] if number < 200 else []
    remark = f"of up to {most} things only a share of {', '.join(map(str, smallest))}"
    return verdict.remarked(remark) if smallest else verdict


def by_any_share(claim: Claim, printed: Printed, most: int | None) -> Verdict | None:
    """Ask of which sizes of a test set, which is not printed, a percentage can be a share.

    The most that it can have are the images of the whole data set, None where they are not known.
    """
    enough = int(100 / printed.step)
    if most is None or most > enough:
        line = f"any test set of {enough:,} images or more gives a share that prints so; its size is not printed"
        return Verdict(claim, Kind.undecidable, line, "", "shares of whole numbers", 1.0) if enough <= _FEW else None
    possible = sum(bool(_near(printed, number)) for number in range(2, most + 1))
    line = f"a share of {possible:,} of the {most - 1:,} sizes that a test set can have; which it had is not printed"
    kind = Kind.undecidable if possible else Kind.contradiction
    return Verdict(claim, kind, line, "", "shares of whole numbers", possible / (most - 1))


def _near(printed: Printed, number: int) -> list[int]:
    about = int(printed.value * number / 100)
    return [k for k in range(max(0, about - 2), min(number, about + 2) + 1) if printed.match(Decimal(100 * k) / number)]


def _share(printed: Printed, number: int) -> tuple[list[int], float]:
    """Return the whole numbers whose share prints so, and how many of all printable shares are possible."""
    cells = 100 / printed.step
    if number > _MOST_ENUMERATED:
        return [int(printed.value * number / 100)], 1.0
    steps = [Decimal(100 * k) / number / printed.step for k in range(number + 1)]
    attained = {math.floor(share) for share in steps} | {math.floor(share + Decimal("0.5")) for share in steps}
    return _near(printed, number), min(1.0, len(attained) / float(cells + 1))


def _division(k: int, number: int) -> str:
    return f"{k} / {number} = {100 * k / number:.3f} %"


def by_matrix(claim: Claim, printed: Printed, matrix: Claim) -> Verdict | None:
    """Work out an accuracy from the paper's own confusion matrix; None where that is none of shares of each row.

    The accuracy is the diagonal weighted by the classes of the test set. Where these are known it is worked out, and
    everywhere it lies between the least and the greatest entry of the diagonal.
    """
    rows = _cells(matrix)
    scale = _scale(rows) if rows else None
    if scale is None:
        return None
    diagonal = [100 * row[place] / scale for place, row in enumerate(rows)]
    slack = 50 * _last_place(matrix) / scale
    names = [facts.same(name) for name in matrix.figure.rows]
    about = facts.dataset(matrix.figure.dataset)
    values, parts = [], []
    for name, counts in about.get("test_classes", {}).items():
        if set(counts) == set(names):
            total = sum(counts.values())
            values.append(sum((counts[n] * d for n, d in zip(names, diagonal, strict=True)), Decimal(0)) / total)
            parts.append(f"{values[-1]:.1f} % on the {name}")
    low, high = printed.value - printed.step / 2, printed.value + printed.step
    if values:
        fitting = any(value - slack < high and value + slack >= low for value in values)
    else:
        fitting = min(diagonal) - slack < high and max(diagonal) + slack >= low
        parts.append(f"between {min(diagonal):.1f} and {max(diagonal):.1f} %, whatever the classes weigh")
    line = f"the diagonal of {matrix.figure.where} gives {', '.join(parts)}, each to +-{float(slack):g} by rounding"
    kind = Kind.possible if fitting else Kind.contradiction
    ours = f"{values[0]:.1f}" if values else ""
    return Verdict(claim, kind, line, ours, f"confusion matrix, {matrix.figure.where}")


def matrix_rows(claim: Claim) -> Verdict:
    """Ask whether the rows of a confusion matrix of shares add up to 1, or to 100 %.

    Raises:
        SheetError: a cell is no number.
    """
    rows, evidence = _cells(claim), "sums of its rows"
    if not rows:
        return Verdict(claim, Kind.out_of_scope, "not a square of numbers with a name for each row")
    scale, slack = _scale(rows), _last_place(claim) / 2 * len(rows)
    if scale is None:
        return Verdict(claim, Kind.out_of_scope, "counts, not shares of each row: they add up to anything")

    def verdict(kind: Kind, line: str, more: str = "") -> Verdict:
        return Verdict(claim, kind, f"{line} {scale} within {slack} of rounding{more}", "", evidence)

    if all(abs(sum(column, Decimal(0)) - scale) <= slack for column in zip(*rows, strict=True)):
        return verdict(Kind.possible, "every column adds up to")
    sums = {name: sum(row, Decimal(0)) for name, row in zip(claim.figure.rows, rows, strict=True)}
    if wrong := [f"{name} {total}" for name, total in sums.items() if abs(total - scale) > slack]:
        return verdict(Kind.contradiction, "rows that do not add up to", f": {', '.join(wrong)}")
    return verdict(Kind.possible, "every row adds up to")


def _scale(rows: Sequence[Sequence[Decimal]]) -> Decimal | None:
    """Return what rows of shares add up to, by the median of their sums: 1, or 100; None for counts."""
    middle = sorted(sum(row, Decimal(0)) for row in rows)[len(rows) // 2]
    for scale in (Decimal(1), Decimal(100)):
        if abs(middle / scale - 1) < _SHARES_OFF:
            return scale
    return None


def _last_place(claim: Claim) -> Decimal:
    exponents = [cell.as_tuple().exponent for row in _cells(claim) for cell in row]
    return Decimal(10) ** min(exponent for exponent in exponents if isinstance(exponent, int))


def _cells(claim: Claim) -> list[list[Decimal]]:
    """Read a confusion matrix: a square of numbers, or nothing."""
    printed: Any = claim.figure.printed  # a list of rows in a sheet, unlike every other figure's
    if isinstance(printed, str) or not printed:
        return []
    try:
        rows = [[Decimal(cell.rstrip("% ")) for cell in row] for row in printed]
    except (ArithmeticError, AttributeError) as error:
        raise SheetError("a cell of the confusion matrix is no number in quotes") from error
    if not all(in_range(cell) for row in rows for cell in row):
        raise SheetError("a cell of the confusion matrix is out of range")
    square = all(len(row) == len(rows) == len(claim.figure.rows) for row in rows)
    return rows if square and all(cell.is_finite() for row in rows for cell in row) else []


def _number(value: Decimal) -> str:
    return f"{int(value):,}" if value == value.to_integral_value() else significant(float(value), 5)
