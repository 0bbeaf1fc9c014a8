"""What became of a network's modules, in words, the most telling first."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from fer_bench.gating.module_tree import Module, Node, match, tree
from fer_bench.records import units

MOST_LINES = 8  # of a network's modules: more is read by nobody, and the rest is in what was counted
# Changes in one module that are told each; more, and the module around them is told instead. The fewer the lines above
# are too many.
_APART = (4, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line: modules before and after, and what to say of them.

    Attributes:
        before, after: MACs and parameters.
        said: of the modules, where more than their numbers is to say.
        modules: how many.
        first: the path of the first, where the line is about several.
        kinds: the classes before and after, where nothing else is to say.
        told: whether the numbers are said already.
    """

    path: str
    place: int
    before: tuple[int, int]
    after: tuple[int, int]
    said: str = ""
    modules: int = 1
    first: str = ""
    kinds: tuple[str, str] | None = None
    told: bool = False


def differences(base: Sequence[Module], candidate: Sequence[Module]) -> list[str]:
    """Say what became of a network's modules, a line each, the most telling first, the rest by their number."""
    signatures: dict[tuple[object, ...], int] = {}
    old, new = (tree(modules, signatures) for modules in (base, candidate))
    match(old, new)
    lines = [*_changes(old, new), *_renames(new)]
    left = len(lines) - MOST_LINES
    return lines if left <= 0 else [*lines[:MOST_LINES], f"and {left} more"]


def shift(before: int, after: int) -> str:
    """Write a difference as a share of what was there, or as a number where that says nothing: "+12.0 %", "-3"."""
    difference = after - before
    if not before or abs(difference / before) < 1e-4:  # 0.01 %, of which three digits are none to read
        return f"{difference:+,}"
    return f"{'+' if difference > 0 else '-'}{units.percent(abs(difference) / before)}"


def _changes(old: Node, new: Node) -> list[str]:
    """Say what is new, gone, or the same with other numbers."""
    gone: dict[int, list[_Entry]] = {}  # by the module of the new build in which they were
    for node in old.walk():
        if node.partner is None and node.parent is not None and node.parent.partner is not None:
            gone.setdefault(id(node.parent.partner), []).append(_gone(node))
    everywhere, together = _of_class(new)
    for most in _APART:
        entries = [*everywhere, *_rolled_up(new, gone, together, most)]
        if len(entries) <= MOST_LINES:
            break
    macs, parameters = (max(old.macs, new.macs) or 1, max(old.parameters, new.parameters) or 1)

    def weight(entry: _Entry) -> tuple[float, int]:
        share = abs(entry.after[0] - entry.before[0]) / macs + abs(entry.after[1] - entry.before[1]) / parameters
        return -share, entry.place

    return [_line(entry) for entry in sorted(entries, key=weight)]


def _of_class(new: Node) -> tuple[list[_Entry], set[int]]:
    """Give one entry for each class that took another's place in many modules, with the same numbers; and for which."""
    found: dict[tuple[str, str], list[_Entry]] = {}
    for node in new.walk():
        entry = _changed(node)
        if entry is not None and entry.kinds is not None and entry.before == entry.after:
            found.setdefault(entry.kinds, []).append(entry)
    many = {kinds: entries for kinds, entries in found.items() if len(entries) > _APART[0]}
    entries = [
        _Entry("", all_of[0].place, (0, 0), (0, 0), f"{after}, was {before}", len(all_of), all_of[0].path)
        for (before, after), all_of in many.items()
    ]
    return entries, {entry.place for all_of in many.values() for entry in all_of}


def _rolled_up(node: Node, gone: dict[int, list[_Entry]], told: set[int], most: int) -> list[_Entry]:
    """Give the entries of a module and all inside it; of more than so many inside, one for the module around them."""
    if node.partner is None:
        return [_new(node), *_inside(node, gone, told, most)]
    own = None if node.place in told else _changed(node)
    branches = [(child, _rolled_up(child, gone, told, most)) for child in node.children]
    branches = [(child, entries) for child, entries in branches if entries]
    missing = gone.get(id(node), [])
    here = [*([own] if own is not None else []), *missing]
    entries = [*here, *(entry for _, inside in branches for entry in inside)]
    if len(entries) <= most:
        return entries
    if len(branches) < len(node.children) or node.parent is None:
        entries = [*here, *_runs(branches)]
    if len(entries) <= most or node.parent is None:
        return entries
    return [_together(node.path, [node], entries)]


def _inside(node: Node, gone: dict[int, list[_Entry]], told: set[int], most: int) -> list[_Entry]:
    """Give the entries of modules that were there before, inside one that was not."""
    entries = []
    for child in node.children:
        if child.partner is not None:
            entries += _rolled_up(child, gone, told, most)
        else:
            entries += _inside(child, gone, told, most)
    return entries


def _runs(branches: Sequence[tuple[Node, list[_Entry]]]) -> list[_Entry]:
    """Make one entry of those of each run of neighbours in a sequence."""
    found: list[_Entry] = []

    def number(item: tuple[int, tuple[Node, list[_Entry]]]) -> object:
        place, (node, _) = item
        return int(node.leaf) - place if node.leaf.isdecimal() else node.leaf

    for _, run in itertools.groupby(enumerate(branches), key=number):
        members = [branch for _, branch in run]
        entries = [entry for _, inside in members for entry in inside]
        if len(members) > 1:
            nodes = [node for node, _ in members]
            found.append(_together(f"{nodes[0].path} to {nodes[-1].path}", nodes, entries))
        else:
            found += entries
    return found


def _together(path: str, nodes: Sequence[Node], entries: Sequence[_Entry]) -> _Entry:
    """Make one entry of several, with the numbers of the modules that they are inside of."""
    partners = [node.partner for node in nodes if node.partner is not None]
    first = min(entries, key=lambda entry: entry.place)
    kinds = {entry.kinds for entry in entries}
    (shared,) = kinds if len(kinds) == 1 else (None,)
    after = sum(node.macs for node in nodes), sum(node.parameters for node in nodes)
    return _Entry(
        path,
        first.place,
        (sum(node.macs for node in partners), sum(node.parameters for node in partners)),
        after,
        (f"{shared[1]}, was {shared[0]}" if shared else "") if partners else f"new{_with(1, after)}",
        sum(entry.modules for entry in entries),
        first.first or first.path,
        shared,
        told=not partners,
    )


def _changed(node: Node) -> _Entry | None:
    """Give what differs between a module and its partner, those inside them left out."""
    if node.partner is None:
        return None
    old, new = node.partner.module, node.module
    said = [f"{new.kind}, was {old.kind}"] if new.kind != old.kind else []
    if new.calls != old.calls:
        said.append(f"called {_times(new.calls)}, was {_times(old.calls)}")
    if not said and (old.macs, old.parameters) == (new.macs, new.parameters):
        return None
    kinds = (old.kind, new.kind) if new.kind != old.kind and new.calls == old.calls else None
    before, after = (old.macs, old.parameters), (new.macs, new.parameters)
    return _Entry(node.path, node.place, before, after, ", ".join(said), kinds=kinds)


def _new(node: Node) -> _Entry:
    numbers, count = _alone(node)
    return _Entry(node.path, node.place, (0, 0), numbers, f"new {node.kind}{_with(count, numbers)}", told=True)


def _gone(node: Node) -> _Entry:
    numbers, count = _alone(node)
    return _Entry(node.path, node.place, numbers, (0, 0), f"gone ({node.kind}{_with(count, numbers)})", told=True)


def _alone(node: Node) -> tuple[tuple[int, int], int]:
    members = list(node.alone())
    return (sum(m.module.macs for m in members), sum(m.module.parameters for m in members)), len(members)


def _with(count: int, numbers: tuple[int, int]) -> str:
    macs, parameters = numbers
    inside = f" of {count} modules" if count > 1 else ""
    return f"{inside}, {parameters:,} parameters, {macs:,} MACs" if macs or parameters else inside


def _times(calls: int | None) -> str:
    return "once" if calls == 1 else f"{calls} times"


def _line(entry: _Entry) -> str:
    """Write an entry."""
    told = [entry.said] if entry.said else []
    if not entry.told:
        for name, before, after in zip(("MACs", "parameters"), entry.before, entry.after, strict=True):
            if before != after:
                told.append(f"{name} {shift(before, after)} ({before:,} -> {after:,})")
    if entry.modules > 1:
        told = told or ["MACs and parameters same"]
        told[-1] += f" ({entry.modules} modules, the first {entry.first or '(network)'})"
        return f"{entry.path}: {', '.join(told)}" if entry.path else f"everywhere: {', '.join(told)}"
    return f"{entry.path or '(network)'}: {', '.join(told)}"


def _renames(new: Node) -> list[str]:
    """Say which modules go by another name."""
    renamed = [
        (node.partner, node)
        for node in new.walk()
        if node.partner is not None
        and node.parent is not None
        and not (node.partner.parent is node.parent.partner and node.partner.leaf == node.leaf)
    ]
    runs: list[list[tuple[Node, Node]]] = []
    for old, node in renamed:
        last_old, last = runs[-1][-1] if runs else (None, None)
        if last_old is not None and last is not None and _next(last_old, old) and _next(last, node):
            runs[-1].append((old, node))
        else:
            runs.append([(old, node)])
    alike: dict[tuple[str, str], list[tuple[Node, Node]]] = {}
    lines = []
    for run in runs:
        (old, node), (last_old, last) = run[0], run[-1]
        if len(run) > 1:
            lines.append(f"{old.path} to {last_old.path}: renamed {node.path} to {last.path}")
        elif old.leaf != node.leaf and not node.leaf.isdecimal():
            alike.setdefault((old.leaf, node.leaf), []).append((old, node))
        else:
            lines.append(f"{old.path}: renamed {node.path}")
    for (before, after), pairs in alike.items():
        old, node = pairs[0]
        lines.append(
            f"{before}: renamed {after} in {len(pairs)} modules, the first {old.path} (now {node.path})"
            if len(pairs) > 1
            else f"{old.path}: renamed {node.path}"
        )
    return lines


def _next(one: Node, other: Node) -> bool:
    """Tell whether a module comes right after another in a sequence."""
    numbered = one.leaf.isdecimal() and other.leaf.isdecimal()
    return numbered and one.parent is other.parent and int(other.leaf) == int(one.leaf) + 1
