"""A network's parts: what each module costs and gives, and what the modules of one role have in common."""

import math

from torch import nn

from fer_bench.measuring.counting.recorder import Trace
from fer_bench.records.result import Json, Measurement

_DEEPEST = 2  # levels of modules in a record: enough for stages and their blocks; all would be most of a record
_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def elements(module: nn.Module) -> int:
    """Count the distinct parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs_inside(trace: Trace, path: str) -> int:
    """Sum up the MACs of a module and of all inside it; "" is the whole network, a backward pass included."""
    if not path:
        return trace.macs
    return sum(macs for other, macs in trace.modules.items() if other == path or other.startswith(f"{path}."))


def measure_modules(model: nn.Module, trace: Trace) -> Measurement:
    """Return MACs a sample by module, each with all inside it, and what the module is.

    Modules stand in the order in which they are registered, each once, the network left out. A list or mapping of
    modules, which does not run, is no part and no level: its members are.
    """
    holders = {path for path, module in model.named_modules() if isinstance(module, nn.ModuleList | nn.ModuleDict)}
    macs: list[int | float] = []
    described: list[Json] = []
    for path, module in model.named_modules():
        names = path.split(".")
        level = sum(".".join(names[:n]) not in holders for n in range(1, len(names) + 1))
        if path and path not in holders and level <= _DEEPEST:
            first, *_ = trace.shapes.get(path, [()])
            macs.append(trace.per_sample(macs_inside(trace, path)))
            described.append(
                {
                    "path": path,
                    "type": type(module).__name__,
                    "parameters": elements(module),
                    "output_shape": list(first[1:]) if first else None,
                }
            )
    return Measurement("module_macs", "count", tuple(macs), details={"batch": trace.batch, "modules": described})


def measure_anatomy(model: nn.Module, trace: Trace) -> tuple[Measurement, Measurement]:
    """Return what distinguishes one build of a network from another: every module at every level, and every operator.

    Returns:
        MACs a sample that each module dispatched itself, without those inside it, in the order in which modules are
        registered, the network first as "". In the details, likewise: paths, types, distinct parameters that no module
        before it holds, and calls that gave a tensor. And calls by operator. Modules' values add up to the network's.
    """
    modules = dict(model.named_modules())
    held: set[int] = set()
    parameters: list[Json] = []
    for module in modules.values():
        own = {id(parameter): parameter for parameter in module.parameters(recurse=False)}
        parameters.append(sum(parameter.numel() for key, parameter in own.items() if key not in held))
        held |= own.keys()
    operators = dict(sorted(trace.operators.items()))
    return (
        Measurement(
            "module_own_macs",
            "count",
            tuple(trace.per_sample(trace.modules.get(path, 0)) for path in modules),
            details={
                "batch": trace.batch,
                "paths": list(modules),
                "types": [type(module).__name__ for module in modules.values()],
                "parameters": parameters,
                "calls": [len(trace.shapes.get(path, ())) for path in modules],
            },
        ),
        Measurement(
            "operator_calls",
            "count",
            tuple(operator.calls for operator in operators.values()),
            details={"batch": trace.batch, "operators": list(operators)},
        ),
    )


def other_operations(model: nn.Module, trace: Trace) -> dict[str, int]:
    """Count what other conventions count beside MACs, in one pass, and parameters by what they do.

    Returns:
        norm_elements: values that normalisations give.
        bias_elements: values to which a convolution or linear layer adds a bias.
        norm_parameters, bias_parameters: scales and shifts of normalisations; biases of convolutions and linear layers.
        weight_macs: MACs of layers with weights of their own: what is left out are products of two activations.
    """
    counts = dict.fromkeys(("norm_elements", "bias_elements", "norm_parameters", "bias_parameters", "weight_macs"), 0)
    for path, module in model.named_modules():
        given = sum(math.prod(shape) for shape in trace.shapes.get(path, ()))
        if isinstance(module, _NORMALISATIONS):
            counts["norm_elements"] += given
            counts["norm_parameters"] += elements(module)
        elif isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            counts["weight_macs"] += trace.modules.get(path, 0)
            if module.bias is not None:
                counts["bias_elements"] += given
                counts["bias_parameters"] += module.bias.numel()
    return counts


def module_roles(model: nn.Module) -> dict[str, list[str]]:
    """Group modules by their role, the name that they have in the module around them: "downsample", "conv1".

    Numbers are places in a sequence and no roles. Of nested modules of one role the outermost stands for all. A role
    that occurs in several kinds of the network's own parts is also given for each kind: "downsample in Mask".

    Returns:
        The paths of each role that at least two modules have.
    """
    found: dict[str, list[str]] = {}
    for path, _ in model.named_modules():
        *around, role = path.split(".")
        if role and not role.isdecimal() and role not in around:
            found.setdefault(role, []).append(path)
            kind = type(model.get_submodule(path.split(".")[0])).__name__
            if around:
                found.setdefault(f"{role} in {kind}", []).append(path)
    return {role: paths for role, paths in found.items() if len(paths) > 1}
