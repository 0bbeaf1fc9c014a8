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
        signature: the same number for modules that are alike with all inside them.
        macs, parameters: with all inside it.
        partner: the same module of the other build.
    """

    module: Module
    place: int
    parent: "Node | None"
    leaf: str
    children: "list[Node]" = field(default_factory=list)
    signature: int = 0
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
        """Give it and all inside it, the outer before the inner."""
        yield self
        for child in self.children:
            yield from child.walk()

    def alone(self) -> "Iterator[Node]":
        """Give it and what is inside it and has no partner, down to what has."""
        yield self
        for child in self.children:
            if child.partner is None:
                yield from child.alone()


def same(base: Iterable[Module], candidate: Iterable[Module]) -> bool:
    """Tell whether two builds have the same modules, in whatever order they are registered."""
    return {module.path: module for module in base} == {module.path: module for module in candidate}


def folded(modules: Iterable[Module], paths: Iterable[str]) -> tuple[Module, ...]:
    """Sum modules up in those of some paths that they are, or are inside of: a record may not tell all levels."""
    kept = set(paths) | {""}
    sums: dict[str, Module] = {}
    for module in modules:
        path = module.path
        while path not in kept:
            path = path.rpartition(".")[0]
        there = sums.get(path, Module(path, module.kind if path == module.path else "", 0, 0))
        kind = module.kind if path == module.path else there.kind
        sums[path] = Module(path, kind, there.parameters + module.parameters, there.macs + module.macs)
    return tuple(sums.values())


def tree(modules: Sequence[Module], signatures: dict[tuple[object, ...], int]) -> Node:
    """Arrange modules as they are nested.

    Args:
        modules: the network among them, or not.
        signatures: of modules that are alike, so far: the same mapping for both builds.
    """
    nodes = {"": Node(next((m for m in modules if not m.path), Module("", "", 0, 0)), 0, None, "")}
    ranked = sorted(enumerate(modules, start=1), key=lambda item: item[1].path.count("."))
    for place, module in ranked:
        if not module.path:
            continue
        around = module.path.rpartition(".")[0]
        while around not in nodes:  # lists of modules are not always told
            around = around.rpartition(".")[0]
        leaf = module.path[len(around) :].removeprefix(".")
        node = nodes[module.path] = Node(module, place, nodes[around], leaf)
        nodes[around].children.append(node)
    for node in sorted(nodes.values(), key=lambda node: -node.path.count(".") if node.path else 1):
        own = node.module
        inside = tuple((child.leaf, child.signature) for child in node.children)
        alike = (own.kind, own.macs, own.parameters, own.calls, inside)
        node.signature = signatures.setdefault(alike, len(signatures))
        node.macs = own.macs + sum(child.macs for child in node.children)
        node.parameters = own.parameters + sum(child.parameters for child in node.children)
    return nodes[""]


def match(old: Node, new: Node) -> None:
    """Make partners of modules that are the same in both builds, under another name perhaps."""
    _align(old, new)
    _moved(old, new)
    for node in old.walk():  # what has its place and another class
        if node.partner is not None:
            left = {child.leaf: child for child in node.partner.children if child.partner is None}
            for child in node.children:
                if child.partner is None and child.leaf in left:
                    _align(child, left[child.leaf])


def _align(old: Node, new: Node) -> None:
    """Make partners of two modules, and of what is the same inside them."""
    pairs = [(old, new)]
    while pairs:
        old, new = pairs.pop()
        old.partner, new.partner = new, old
        left, right = ([child for child in node.children if child.partner is None] for node in (old, new))
        if old.signature == new.signature and len(left) == len(right):
            pairs += zip(left, right, strict=True)
        else:
            pairs += _children(left, right)


def _children(old: Sequence[Node], new: Sequence[Node]) -> list[tuple[Node, Node]]:
    """Pair modules of one place: by their names, or in a sequence that has grown or shrunk by their order."""
    numbered = all(node.leaf.isdecimal() for node in (*old, *new))
    if numbered and len(old) != len(new):
        return _in_sequence(old, new)
    by_name = {node.leaf: node for node in new}
    pairs = [(node, by_name[node.leaf]) for node in old if node.leaf in by_name]
    pairs = [(before, after) for before, after in pairs if before.kind == after.kind]
    paired = {id(node) for pair in pairs for node in pair}
    left = [node for node in new if id(node) not in paired]
    for node in old:
        found = next((other for other in left if other.signature == node.signature), None)
        if id(node) not in paired and found is not None:
            pairs.append((node, found))
            left.remove(found)
    return pairs


def _in_sequence(old: Sequence[Node], new: Sequence[Node]) -> list[tuple[Node, Node]]:
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


def _moved(old: Node, new: Node) -> None:
    """Make partners of what costs something and is alike in any place, and then of what is around it."""
    there: dict[int, list[Node]] = {}
    for node in new.walk():
        if node.partner is None and (node.macs or node.parameters):
            there.setdefault(node.signature, []).append(node)
    for node in old.walk():
        free = [other for other in there.get(node.signature, ()) if other.partner is None]
        if node.partner is not None or not free:
            continue
        found = max(free, key=lambda other: (other.path == node.path, other.leaf == node.leaf))  # else the first
        _align(node, found)
        inner, other = node, found
        while (
            inner.leaf == other.leaf
            and inner.parent is not None
            and other.parent is not None
            and inner.parent.partner is None
            and other.parent.partner is None
            and inner.parent.kind == other.parent.kind
        ):
            inner, other = inner.parent, other.parent
            _align(inner, other)
