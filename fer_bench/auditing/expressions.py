"""Arithmetic of sheets: ``142.9 / 3.45``, ``100 * (1 - 3913318 / 24813574)``, ``3963.81 <= 7990 <= 11279.43``.

Numbers are taken as printed, so each stands for all that would have been printed like it.
"""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from fer_bench.records.errors import SheetError

_OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST = 500  # characters: a sheet's arithmetic is a line


@dataclass(frozen=True, slots=True)
class Value:
    """A number, and the least and greatest that the rounding of what it is made of allows."""

    exact: Decimal
    low: Decimal
    high: Decimal


def evaluate(text: str) -> Value:
    """Work out an expression of numbers, + - * / and brackets.

    Raises:
        SheetError: it is something else, or divides by zero.
    """
    return _worked_out(_parse(text), text)


def holds(text: str) -> bool | None:
    """Return whether a chain of comparisons holds, the rounding of its numbers in its favour; None if it is none.

    Raises:
        SheetError: it is no arithmetic.
    """
    tree = _parse(text)
    if not isinstance(tree, ast.Compare):
        return None
    values = [_worked_out(part, text) for part in (tree.left, *tree.comparators)]
    answers = []
    for step, left, right in zip(tree.ops, values, values[1:], strict=False):
        if isinstance(step, ast.LtE | ast.Lt):
            answers.append(left.low <= right.high)
        elif isinstance(step, ast.GtE | ast.Gt):
            answers.append(left.high >= right.low)
        else:
            raise SheetError(f"{text!r}: only <= and >= compare")
    return all(answers)


def _parse(text: str) -> ast.expr:
    try:
        if len(text) > _LONGEST:
            raise SyntaxError
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise SheetError(f"{text[:60]!r} is no arithmetic: numbers, + - * /, brackets, <= and >=") from error


def _worked_out(node: ast.expr, text: str) -> Value:
    try:
        return _walk(node, text)
    except (ArithmeticError, RecursionError) as error:  # Decimal's own: numbers out of every range, hexadecimal ones
        raise SheetError(f"{text[:60]!r} cannot be worked out") from error


def _walk(node: ast.expr, text: str) -> Value:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        literal = Decimal(ast.get_source_segment(text, node) or str(node.value))
        exponent = literal.as_tuple().exponent
        half = Decimal(10) ** exponent / 2 if isinstance(exponent, int) and exponent < 0 else Decimal(0)
        return Value(literal, literal - half, literal + half)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _walk(node.operand, text)
        return Value(-inner.exact, -inner.high, -inner.low)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _walk(node.left, text), _walk(node.right, text)
        apply = _OPERATORS[type(node.op)]
        if isinstance(node.op, ast.Div) and right.low <= 0 <= right.high:
            raise SheetError(f"{text!r} divides by zero")
        corners = [apply(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
        return Value(apply(left.exact, right.exact), min(corners), max(corners))
    raise SheetError(f"{text!r} is no arithmetic: numbers, + - * /, brackets, <= and >=")
