"""What converters cannot lower: operators with the same values in their place, and reasons that name them."""

import operator
import re
from collections import Counter
from typing import Any, cast

import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from fer_bench.networks.backends.interface import DeployError, one_line

_ATEN = torch.ops.aten
_NEAREST, _HALF_PIXEL = _ATEN.upsample_nearest2d.vec, _ATEN._upsample_nearest_exact2d.vec
_OPERATOR = re.compile(r"aten(?:\.|::|_)(\w+)")
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception): .*", re.MULTILINE)


def replace_unsupported(program: Any, backend: str) -> tuple[str, ...]:
    """Replace in a program of ``torch.export`` what ExecuTorch and LiteRT cannot lower, by the same values.

    An adaptive max pooling to one pixel becomes a max pooling whose kernel is the whole map. Of "executorch" alone
    PReLU on vectors, behind a fully connected layer, becomes relu(x) - w relu(-x). A maximum over channels, which its
    partitioner gives to XNNPACK and XNNPACK refuses, becomes amax, which is left to the portable kernels. Of "litert"
    alone nearest-neighbour resizing becomes slices that are joined, unless it enlarges by a whole number: its converter
    writes a resizing with half-pixel centres, PyTorch's "nearest-exact", which takes other pixels else.

    Returns:
        What was replaced, for the notes of the artefact.
    """
    graph, replaced, executorch = program.graph, Counter[str](), backend == "executorch"
    for node in list(graph.nodes):
        if node.target is _ATEN.adaptive_max_pool2d.default and set(node.args[1]) == {1} and _only_values(node):
            with graph.inserting_before(node):
                height, width = node.args[0].meta["val"].shape[-2:]
                pooled = _call(graph, _ATEN.max_pool2d.default, node, node.args[0], [height, width])
            _replace_values(program, node, pooled)
            replaced["adaptive max pooling to one pixel is a max pooling over the whole map"] += 1
        elif executorch and node.target is _ATEN.max.dim and _only_values(node) and not _is_of_a_map(node):
            with graph.inserting_before(node):
                given, dim, *keepdim = node.args
                _replace_values(program, node, _call(graph, _ATEN.amax.default, node, given, [dim], *keepdim))
            replaced["a maximum over channels is amax, which XNNPACK is not given"] += 1
        elif executorch and node.target is _ATEN.prelu.default and node.args[0].meta["val"].ndim == 2:
            given, weight = node.args
            with graph.inserting_before(node):
                above = _call(graph, _ATEN.relu.default, node, given)
                negative = _call(graph, _ATEN.neg.default, node, given)
                below = _call(graph, _ATEN.relu.default, node, negative)
                scaled = _call(graph, _ATEN.mul.Tensor, node, below, weight)
                _replace(program, node, _call(graph, _ATEN.sub.Tensor, node, above, scaled))
            replaced["PReLU on a vector is relu(x) - w relu(-x)"] += 1
        elif backend == "litert" and node.target is _NEAREST and _taken(node, _NEAREST) != _taken(node, _HALF_PIXEL):
            with graph.inserting_before(node):
                _replace(program, node, _by_slices(graph, node))
            replaced["nearest-neighbour resizing, of which LiteRT has another one, is slices that are joined"] += 1
    if replaced:
        graph.eliminate_dead_code()
        program.graph_module.recompile()
    return tuple(f"{what} ({count} of them)" for what, count in replaced.items())


def _only_values(node: Node) -> bool:
    """Whether only the maxima of a pooling are used, and not where they are."""
    return all(user.target is operator.getitem and (user.args[1] == 0 or not user.users) for user in node.users)


def _is_of_a_map(node: Node) -> bool:
    """Whether a maximum is over the height or width of maps, (N, C, H, W)."""
    given: Any = node.args[0]
    dim: Any = node.args[1]
    return bool(given.meta["val"].ndim == 4 and dim % 4 >= 2)


def _taken(node: Node, resize: Any) -> list[list[int]]:
    """Return the rows and the columns that an operator takes in resizing as a node does, in their order."""
    given: Any = node.args[0]
    height, width = given.meta["val"].shape[-2:]
    rows = torch.arange(height, dtype=torch.float32).reshape(1, 1, height, 1).expand(1, 1, height, width)
    columns = torch.arange(width, dtype=torch.float32).expand(1, 1, height, width)
    size = node.meta["val"].shape[-2:] if resize is _HALF_PIXEL else node.args[1]
    scales = None if resize is _HALF_PIXEL else node.args[2]
    found = resize(rows, size, scales)[0, 0, :, 0], resize(columns, size, scales)[0, 0, 0]
    return [[int(place) for place in each] for each in found]


def _by_slices(graph: Graph, node: Node) -> Node:
    """Resize maps, (N, C, H, W), by taking rows and then columns: those that the operator itself takes."""
    found = cast(Node, node.args[0])
    for dim, places in zip((2, 3), _taken(node, node.target), strict=True):
        parts = [_call(graph, _ATEN.slice.Tensor, node, found, dim, at, at + 1) for at in places]
        found = _call(graph, _ATEN.cat.default, node, parts, dim)
    return found


def _replace_values(program: Any, node: Node, new: Node) -> None:
    """Replace the values, and drop the places, of a node that gives both."""
    for user in list(node.users):
        _replace(program, user, new)


def _call(graph: Graph, target: Any, origin: Node, *args: Any) -> Node:
    made = graph.call_function(target, args)
    made.meta = {key: value for key, value in origin.meta.items() if key in ("nn_module_stack", "stack_trace")}
    made.meta["val"] = target(*map_arg(args, lambda arg: arg.meta["val"]))
    return made


def _replace(program: Any, old: Node, new: Node) -> None:
    old.replace_all_uses_with(new)
    program.graph_signature.replace_all_uses(old.name, new.name)  # an output of the network, perhaps
    program.graph.erase_node(old)


def cannot_lower(backend: str, program: Any, error: BaseException | str) -> DeployError:
    """Return the error of a converter that failed, with the operator and the module where its message names one."""
    if isinstance(error, str):  # what another interpreter printed
        raised = _RAISED.findall(error) or error.strip().splitlines() or ["it ended without a word"]
        said = raised[-1]
    else:
        said = one_line(error, 2000)
    names = {match.partition("_default")[0] for match in _OPERATOR.findall(said)}
    for node in program.graph.nodes:
        if node.op == "call_function" and (name := getattr(node.target, "__name__", "").partition(".")[0]) in names:
            return DeployError(
                f"{backend} cannot lower {name} of {_module(node)}, and no way round is known; other backends may: "
                f"{said[:200]}"
            )
    if names:
        return DeployError(f"{backend} cannot lower {', '.join(sorted(names))}: {said[:300]}")
    return DeployError(f"the converter of {backend} failed: {said[:300]}")


def _module(node: Node) -> str:
    """Name the innermost module that a node comes from, with its class."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "the network"
    path, kind = stack[-1]
    return f"{path or 'the network'} ({str(kind).rpartition('.')[2]})"


def input_shape(program: Any) -> tuple[int, ...]:
    """Return the shape of a program's one input."""
    (given,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    return tuple(given.meta["val"].shape)


def weights_of(program: Any) -> dict[str, int]:
    """Return the bytes of the real numbers that a program holds, by their type."""
    found: Counter[str] = Counter()
    held = [*program.state_dict.values(), *program.constants.values()]
    for tensor in held:
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            found[str(tensor.dtype).removeprefix("torch.")] += tensor.nbytes
    return dict(found)
