"""What became of a network's modules, in words, the largest change first."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fer_bench.gating.module_tree import Module, Node, match, tree
from fer_bench.records import units

MOST_LINES = 8  # of a network's modules: more is read by nobody, and the rest is in what was counted
# Changes in one module that are listed each; more, and the module around them stands for them. The fewer the lines
# above are too many.
_APART = (4, 3, 2, 1)

_Costs = tuple[int, int]  # MACs and parameters


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line: modules before and after, and what to write of them.

    Attributes:
        text: about the modules, where there is more than their numbers.
        first: the path of the first, where the line is about several.
        kinds: the classes before and after, where nothing else is to say.
        complete: whether the text has the numbers already.
    """

    path: str
    place: int
    before: _Costs
    after: _Costs
    text: str = ""
    modules: int = 1
    first: str = ""
    kinds: tuple[str, str] | None = None
    complete: bool = False


def differences(base: Sequence[Module], candidate: Sequence[Module]) -> list[str]:
    """Describe what became of a network's modules, a line each, the largest change first, the rest by their number."""
    old, new = tree(base), tree(candidate)
    match(old, new)
    lines = [*_changes(old, new), *_renames(new)]
    return first(lines, MOST_LINES)


def first(lines: list[str], most: int) -> list[str]:
    """Return the first of many lines, and how many are left out."""
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def shift(before: int, after: int) -> str:
    """Write a difference as a share of what was there, or as a number where that says nothing: "+12.0 %", "-3"."""
    difference = after - before
    if not before or abs(difference / before) < 1e-4:  # 0.01 %, of which three digits are none to read
        return f"{difference:+,}"
    return f"{'+' if difference > 0 else '-'}{units.percent(abs(difference) / before)}"


def _changes(old: Node, new: Node) -> list[str]:
    gone: dict[Node, list[_Entry]] = {}  # by the module of the new build in which they were
    for node in old.walk():
        if node.partner is None and node.parent is not None and node.parent.partner is not None:
            gone.setdefault(node.parent.partner, []).append(_on_one_side(node, new=False))
    everywhere, together = _of_class(new)
    for most in _APART:
        entries = [*everywhere, *_rolled_up(new, gone, together, most)]
        if len(entries) <= MOST_LINES:
            break
    most_of_each = [max(pair) or 1 for pair in zip(_costs([old]), _costs([new]), strict=True)]

    def weight(entry: _Entry) -> tuple[float, int]:
        costs = zip(entry.before, entry.after, most_of_each, strict=True)
        return -sum(abs(after - before) / most for before, after, most in costs), entry.place

    return [_line(entry) for entry in sorted(entries, key=weight)]


def _of_class(new: Node) -> tuple[list[_Entry], set[int]]:
    """Return an entry for each class that replaced another in many modules at the same costs, and their places."""
    replaced: dict[tuple[str, str], list[_Entry]] = {}
    for entry in filter(None, map(_changed, new.walk())):
        if entry.kinds is not None and entry.before == entry.after:
            replaced.setdefault(entry.kinds, []).append(entry)
    many = {kinds: entries for kinds, entries in replaced.items() if len(entries) > _APART[0]}
    entries = [
        _Entry("", all_of[0].place, (0, 0), (0, 0), f"{after}, was {before}", len(all_of), all_of[0].path)
        for (before, after), all_of in many.items()
    ]
    return entries, {entry.place for all_of in many.values() for entry in all_of}


def _rolled_up(node: Node, gone: dict[Node, list[_Entry]], listed: set[int], most: int) -> list[_Entry]:
    """Return the entries of a module and all inside it; of more than ``most`` inside, one for the module itself."""
    if node.partner is None:
        kept = (child for inner in node.alone() for child in inner.children if child.partner is not None)
        return [_on_one_side(node, new=True), *(e for child in kept for e in _rolled_up(child, gone, listed, most))]
    own = None if node.place in listed else _changed(node)
    here = [*filter(None, [own]), *gone.get(node, [])]
    branches = {child: inside for child in node.children if (inside := _rolled_up(child, gone, listed, most))}
    entries = [*here, *(entry for inside in branches.values() for entry in inside)]
    if len(entries) <= most:
        return entries
    if len(branches) < len(node.children) or node.parent is None:
        entries = list(here)
        for run in _runs([(child,) for child in branches]):
            nodes = [child for (child,) in run]
            inside = [entry for child in nodes for entry in branches[child]]
            path = f"{nodes[0].path} to {nodes[-1].path}"
            entries += [_together(path, nodes, inside)] if len(nodes) > 1 else inside
    return entries if len(entries) <= most or node.parent is None else [_together(node.path, [node], entries)]


def _runs(items: Sequence[tuple[Node, ...]]) -> Iterator[list[tuple[Node, ...]]]:
    """Group items of which each has, in its sequences, the next modules after those of the item before it."""

    def position(item: tuple[int, tuple[Node, ...]]) -> object:
        place, nodes = item
        return [(node.parent, int(node.leaf) - place) if node.leaf.isdecimal() else node for node in nodes]

    for _, run in itertools.groupby(enumerate(items), key=position):
        yield [nodes for _, nodes in run]


def _together(path: str, nodes: Sequence[Node], entries: Sequence[_Entry]) -> _Entry:
    """Make one entry of several, with the numbers of the modules that they are inside of."""
    partners = [node.partner for node in nodes if node.partner is not None]
    before, after = _costs(partners), _costs(nodes)
    earliest = min(entries, key=lambda entry: entry.place)
    kinds = {entry.kinds for entry in entries}
    shared = kinds.pop() if len(kinds) == 1 else None
    return _Entry(
        path,
        earliest.place,
        before,
        after,
        (f"{shared[1]}, was {shared[0]}" if shared else "") if partners else f"new{_with(1, after)}",
        sum(entry.modules for entry in entries),
        earliest.first or earliest.path,
        shared,
        complete=not partners,
    )


def _changed(node: Node) -> _Entry | None:
    """Return what differs between a module and its partner, those inside them left out."""
    if node.partner is None:
        return None
    old, new = node.partner.module, node.module
    text = [f"{new.kind}, was {old.kind}"] if new.kind != old.kind else []
    if new.calls != old.calls:
        text.append(f"called {_times(new.calls)}, was {_times(old.calls)}")
    before, after = (old.macs, old.parameters), (new.macs, new.parameters)
    if not text and before == after:
        return None
    kinds = (old.kind, new.kind) if new.kind != old.kind and new.calls == old.calls else None
    return _Entry(node.path, node.place, before, after, ", ".join(text), kinds=kinds)


def _on_one_side(node: Node, *, new: bool) -> _Entry:
    alone = [inner.module for inner in node.alone()]
    costs = _costs(alone)
    text = f"{node.kind}{_with(len(alone), costs)}"
    if new:
        return _Entry(node.path, node.place, (0, 0), costs, f"new {text}", complete=True)
    return _Entry(node.path, node.place, costs, (0, 0), f"gone ({text})", complete=True)


def _with(count: int, costs: _Costs) -> str:
    macs, parameters = costs
    inside = f" of {count} modules" if count > 1 else ""
    return f"{inside}, {parameters:,} parameters, {macs:,} MACs" if macs or parameters else inside


def _costs(modules: Sequence[Module] | Sequence[Node]) -> _Costs:
    return sum(each.macs for each in modules), sum(each.parameters for each in modules)


def _times(calls: int | None) -> str:
    return "once" if calls == 1 else f"{calls} times"


def _line(entry: _Entry) -> str:
    parts = [entry.text] if entry.text else []
    if not entry.complete:
        for name, before, after in zip(("MACs", "parameters"), entry.before, entry.after, strict=True):
            if before != after:
                parts.append(f"{name} {shift(before, after)} ({before:,} -> {after:,})")
    if entry.modules == 1:
        return f"{entry.path or '(network)'}: {', '.join(parts)}"
    text = ", ".join(parts or ["MACs and parameters same"])
    return f"{entry.path or 'everywhere'}: {text} ({entry.modules} modules, the first {entry.first or '(network)'})"


def _renames(new: Node) -> list[str]:
    renamed = [
        (old, node)
        for node in new.walk()
        if (old := node.partner) and node.parent and (old.parent, old.leaf) != (node.parent.partner, node.leaf)
    ]
    alike: dict[tuple[str, str], list[tuple[Node, ...]]] = {}
    lines = []
    for run in _runs(renamed):
        (old, node), (last_old, last) = run[0], run[-1]
        if len(run) > 1:
            lines.append(f"{old.path} to {last_old.path}: renamed {node.path} to {last.path}")
        elif old.leaf != node.leaf and not node.leaf.isdecimal():
            alike.setdefault((old.leaf, node.leaf), []).append((old, node))
        else:
            lines.append(f"{old.path}: renamed {node.path}")
    for (before, after), pairs in alike.items():
        old, node = pairs[0]
        several = f"{before}: renamed {after} in {len(pairs)} modules, the first {old.path} (now {node.path})"
        lines.append(several if len(pairs) > 1 else f"{old.path}: renamed {node.path}")
    return lines
