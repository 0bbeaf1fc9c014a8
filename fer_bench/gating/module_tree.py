"""Modules of two builds of a network in their trees, and which of the one is which of the other."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Module:
    """One module, without those inside it.

    Attributes:
        path: its name in the network, "" for the network itself.
        kind: its class's name.
        parameters: distinct elements that no module before it holds.
        macs: a sample, dispatched by itself.
        calls: how often it ran as a module and gave a tensor; None where that is not known.
    """

    path: str
    kind: str
    parameters: int
    macs: int
    calls: int | None = None


@dataclass(slots=True, eq=False)
class Node:
    """A module in its tree.

    Attributes:
        place: its rank in the order of registration.
        leaf: its name in the module around it.
        signature: equal for modules that are alike with all inside them.
        macs, parameters: with all inside it.
        partner: the same module of the other build.
    """

    module: Module
    place: int = 0
    parent: "Node | None" = None
    leaf: str = ""
    children: "list[Node]" = field(default_factory=list)
    signature: tuple[object, ...] = ()
    macs: int = 0
    parameters: int = 0
    partner: "Node | None" = None

    @property
    def path(self) -> str:
        return self.module.path

    @property
    def kind(self) -> str:
        return self.module.kind

    def walk(self) -> "Iterator[Node]":
        """Yield it and all inside it, the outer before the inner."""
        yield self
        for child in self.children:
            yield from child.walk()

    def alone(self) -> "Iterator[Node]":
        """Yield it and what is inside it and has no partner, down to what has."""
        yield self
        for child in self.children:
            if child.partner is None:
                yield from child.alone()


def same(base: Iterable[Module], candidate: Iterable[Module]) -> bool:
    """Return whether two builds have the same modules, in whatever order they are registered."""
    return {module.path: module for module in base} == {module.path: module for module in candidate}


def around(path: str, known: Iterable[str]) -> str:
    """Return the innermost known path that is this one or around it; "" must be known."""
    while path not in known:
        path = path.rpartition(".")[0]
    return path


def folded(modules: Iterable[Module], paths: Iterable[str]) -> tuple[Module, ...]:
    """Sum modules up in those of some paths that they are, or are inside of: a record may lack levels.

    Such a record does not have the class of the network itself either, so that it is left out.
    """
    kept = {*paths, ""}
    sums: dict[str, Module] = {}
    for module in modules:
        path = around(module.path, kept)
        there = sums.get(path, Module(path, "", 0, 0))
        kind = module.kind if path and path == module.path else there.kind
        sums[path] = Module(path, kind, there.parameters + module.parameters, there.macs + module.macs)
    return tuple(sums.values())


def tree(modules: Sequence[Module]) -> Node:
    """Arrange modules as they are nested; the network may be among them, or not."""
    nodes = {"": Node(next((m for m in modules if not m.path), Module("", "", 0, 0)))}
    for place, module in sorted(enumerate(modules, start=1), key=lambda item: item[1].path.count(".")):
        if module.path:
            outer = nodes[around(module.path.rpartition(".")[0], nodes)]  # lists of modules are not always recorded
            leaf = module.path[len(outer.path) :].removeprefix(".")
            node = nodes[module.path] = Node(module, place, outer, leaf)
            outer.children.append(node)
    for node in reversed(nodes.values()):  # the inner before the outer
        own = node.module
        inside = tuple((child.leaf, child.signature) for child in node.children)
        node.signature = (own.kind, own.macs, own.parameters, own.calls, inside)
        node.macs = own.macs + sum(child.macs for child in node.children)
        node.parameters = own.parameters + sum(child.parameters for child in node.children)
    return nodes[""]


def match(old: Node, new: Node) -> None:
    """Make partners of modules that are the same in both builds, under another name perhaps."""
    _align(old, new)
    _match_moved(old, new)
    for node in old.walk():  # what has its place and another class
        if node.partner is not None:
            left = {child.leaf: child for child in node.partner.children if child.partner is None}
            for child in node.children:
                if child.partner is None and child.leaf in left:
                    _align(child, left[child.leaf])


def _align(old: Node, new: Node) -> None:
    old.partner, new.partner = new, old
    left, right = ([child for child in node.children if child.partner is None] for node in (old, new))
    alike = old.signature == new.signature and len(left) == len(right)
    for pair in zip(left, right, strict=True) if alike else _pair_children(left, right):
        _align(*pair)


def _pair_children(old: Sequence[Node], new: Sequence[Node]) -> list[tuple[Node, Node]]:
    """Pair modules of one place: by their names, or in a sequence that has grown or shrunk by their order."""
    numbered = all(node.leaf.isdecimal() for node in (*old, *new))
    if numbered and len(old) != len(new):
        return _pair_sequence(old, new)
    left = {node.leaf: node for node in new}
    pairs = [(node, left.pop(node.leaf)) for node in old if node.leaf in left and left[node.leaf].kind == node.kind]
    paired = {node for node, _ in pairs}
    for node in old:
        twin = next((other for other in left.values() if other.signature == node.signature), None)
        if node not in paired and twin is not None:
            pairs.append((node, left.pop(twin.leaf)))
    return pairs


def _pair_sequence(old: Sequence[Node], new: Sequence[Node]) -> list[tuple[Node, Node]]:
    """Pair by the longest runs that are alike, and what lies between them by class."""
    alike = difflib.SequenceMatcher(None, [n.signature for n in old], [n.signature for n in new], autojunk=False)
    pairs: list[tuple[Node, Node]] = []
    for tag, start, end, new_start, new_end in alike.get_opcodes():
        if tag == "equal":
            pairs += zip(old[start:end], new[new_start:new_end], strict=True)
        elif tag == "replace":
            left = list(new[new_start:new_end])
            for node in old[start:end]:
                place = next((i for i, other in enumerate(left) if other.kind == node.kind), None)
                if place is not None:
                    pairs.append((node, left[place]))
                    del left[: place + 1]
    return pairs


def _match_moved(old: Node, new: Node) -> None:
    """Make partners of what costs something and is alike in any place, and then of what is around it."""
    there: dict[object, list[Node]] = {}
    for node in new.walk():
        if node.partner is None and (node.macs or node.parameters):
            there.setdefault(node.signature, []).append(node)
    for node in old.walk():
        free = [other for other in there.get(node.signature, ()) if other.partner is None]
        if node.partner is not None or not free:
            continue
        inner = node
        other = max(free, key=lambda other: (other.path == node.path, other.leaf == node.leaf))  # else the first
        _align(inner, other)
        while inner.leaf == other.leaf and inner.parent and other.parent and inner.parent.kind == other.parent.kind:
            inner, other = inner.parent, other.parent
            if inner.partner or other.partner:
                break
            _align(inner, other)
