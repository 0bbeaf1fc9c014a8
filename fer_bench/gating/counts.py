"""What a network counts, exactly, and the verdict where that is not what it was: no noise, no level, no statistics."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypedDict

from fer_bench.gating.module_changes import differences, first, shift
from fer_bench.gating.module_tree import Module, around, folded, same
from fer_bench.gating.verdicts import Outcome, Verdict
from fer_bench.records import schema, units
from fer_bench.records.errors import CountingError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement, Result
from fer_bench.records.schema import Count, Shape, Size, Whole

METRIC = "counts"

# What a gate counts a network by: at its own size, one image.
COUNTS = Plan("counts", metrics=("static", "anatomy"))

PARAMETERS = ("parameters.trainable", "parameters.frozen")
# What is better when less, as written, in the order of the report.
_COSTS = {
    "macs": "MACs",
    "parameters": "parameters",
    "peak_activation_bytes": "peak activation bytes",
    "state_dict_bytes": "state-dict bytes",
}
_NEEDED = ("macs", *PARAMETERS, "state_dict_bytes")  # without which nothing passes
# Other counts, as written.
_OTHERS = {
    "parameters.trainable": "trainable parameters",
    "parameters.frozen": "frozen parameters",
    "parameters.buffers": "elements of buffers",
    "parameters.tied": "tied elements",
    "layers.conv": "convolutions",
    "layers.conv_separable_once": "convolutions, separable ones counted once",
    "layers.conv_shortcut": "convolutions on shortcuts",
    "layers.pool": "poolings",
    "layers.fc": "fully connected layers",
}
# Those that follow from others, listed where nothing else is.
_FOLLOW = {
    "parameters.keras_total": "parameters as Keras counts",
    "parameters.parameter_bytes": "bytes of parameters",
    "checkpoint_bytes": "checkpoint bytes",
}
_MOST_OPERATORS = 6  # named in one line

# How the metrics begin that a record counts.
_STORED = ("parameters.", "state_dict_bytes", "checkpoint_bytes")  # which depends on no image
_LISTS = ("module_", "operator_")  # with a value for each part of the network, of which there may be none
_KINDS = (*_STORED, *_LISTS, "macs", "layers.", "peak_activation_bytes", *COUNTS.metrics)  # a group that failed, too
_OF_TORCH = ("peak_activation_bytes", "operator_")  # which another PyTorch counts otherwise
_ANATOMY = ("module_own_macs", "operator_calls")  # the others are of the group "static"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one build of a network counts.

    Attributes:
        input_shape: (C, H, W).
        batch: images in the pass that was counted; MACs are a sample's, activations the batch's.
        counts: by the names that records have: "macs", "layers.conv", ...
        uncounted: calls by operator without a formula: the MACs are then a lower bound.
        decided_by: operators that read values of the images: what is done then depends on these.
        operators: calls by operator; None where the record has none.
        modules: in the order of registration; None where the record has none.
        levels: whether all levels of modules are there, and their calls.
    """

    input_shape: Shape
    num_classes: Whole | None
    batch: Size
    convention: str
    counts: Mapping[str, Count]
    uncounted: Mapping[str, Count]
    operators: Mapping[str, Count] | None = None
    modules: tuple[Module, ...] | None = None
    levels: bool = True
    decided_by: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(self.counts[name] for name in PARAMETERS)

    @property
    def macs(self) -> int:
        return self.counts["macs"]

    def cost(self, name: str) -> int | None:
        """Return what is better when less: "macs", "parameters", ..., or None where it was not counted."""
        return self.parameters if name == "parameters" else self.counts.get(name)

    def summary(self) -> str:
        """Write it in a line: "1,455 parameters, 215,318,720 MACs"."""
        return f"{self.parameters:,} parameters, {self.macs:,} MACs"

    def apart_from_torch(self) -> Self:
        """Return it without what the same network counts otherwise under another version of PyTorch."""
        counts = {name: value for name, value in self.counts.items() if not name.startswith(_OF_TORCH)}
        return dataclasses.replace(self, counts=counts, operators=None)

    def without_work(self) -> Self:
        """Return it without what values of the images decide: all but what is stored."""
        kept = {name: value for name, value in self.counts.items() if name.startswith(_STORED)}
        return dataclasses.replace(self, counts=kept, uncounted={}, operators=None, modules=None)

    @classmethod
    def of(cls, result: Result) -> Self:
        """Read a network's counts from its record.

        Raises:
            CountingError: a count failed, or the record has none.
        """
        for one in filter(is_count, result.measurements):
            if one.failure:
                what = "" if one.metric in COUNTS.metrics else f"{one.metric}: "
                raise CountingError(f"{result.subject.name} cannot be counted: {what}{one.failure}")
        # A network that mixes the samples of a batch has fractions of MACs a sample.
        counts = {
            name: round(value)
            for name in (*_COSTS, *_OTHERS, *_FOLLOW)
            if name != "parameters" and (value := result.value(name)) is not None
        }
        macs, operators = result.measurement("macs"), result.measurement("operator_calls")
        missing = [name for name in _NEEDED if name not in counts]
        if missing or macs is None or result.subject.input_shape is None:
            lacking = f"the record of {result.subject.name} does not contain {', '.join(missing) or 'its input'}"
            raise CountingError(f"{lacking}: measure it with --metrics static,anatomy")
        modules, levels = _modules(result, counts)
        return cls(
            input_shape=result.subject.input_shape,
            num_classes=result.subject.num_classes,
            batch=int(macs.details.get("batch", 1)),
            convention=str(macs.details.get("convention", "")),
            counts=counts,
            uncounted=dict(macs.details.get("uncounted", {})),
            operators=dict(_values(operators, "operators")) if operators is not None else None,
            modules=modules,
            levels=levels,
            decided_by=tuple(macs.details.get("decided_by", ())),
        )

    def to_dict(self) -> dict[str, Json]:
        """Return it as JSON has it; a module is a list of its path, class, parameters, MACs and calls."""
        data: dict[str, Json] = {
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "batch": self.batch,
            "convention": self.convention,
            "counts": dict(sorted(self.counts.items())),
            "uncounted": dict(sorted(self.uncounted.items())),
        }
        if self.decided_by:
            data["decided_by"] = list(self.decided_by)
        if self.operators is not None:
            data["operators"] = dict(sorted(self.operators.items()))
        if self.modules is not None:
            data["levels"] = self.levels
            data["modules"] = [[m.path, m.kind, m.parameters, m.macs, m.calls] for m in self.modules]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> Self:
        """Read what ``to_dict`` gives.

        Raises:
            ValueError: it is something else.
        """
        listed = schema.fields(_Listed, data).get("modules")
        modules = tuple(Module(*each) for each in listed) if listed is not None else None
        of_modules = ("modules", "counted_with")
        read = schema.read(cls, {name: value for name, value in data.items() if name not in of_modules})
        if missing := [name for name in _NEEDED if name not in read.counts]:
            raise ValueError(f"its counts lack {', '.join(missing)}")
        if modules is not None and len({module.path for module in modules} | {""}) > len(modules):
            raise ValueError("modules: the network itself is missing, or two have one path")
        return dataclasses.replace(read, modules=modules)


class _Listed(TypedDict, total=False):
    modules: list[tuple[str, str, Count, Count, Count | None]]


def _values(measured: Measurement, detail: str) -> Iterator[tuple[Json, int]]:
    """Yield what a detail of a measurement lists, each with its value, a count."""
    return zip(measured.details[detail], map(round, measured.values), strict=True)


def _modules(result: Result, counts: Mapping[str, int]) -> tuple[tuple[Module, ...] | None, bool]:
    own, above = result.measurement("module_own_macs"), result.measurement("module_macs")
    if own is None:
        return _upper_levels(above, counts) if above is not None else None, False
    paths, kinds, parameters, calls = (own.details[name] for name in ("paths", "types", "parameters", "calls"))
    rows = zip(paths, kinds, parameters, map(round, own.values), calls, strict=True)
    return tuple(Module(*row) for row in rows), True


def _upper_levels(above: Measurement, counts: Mapping[str, int]) -> tuple[Module, ...] | None:
    """Return the upper levels of modules, which a record has with all inside them, each without the others.

    None where modules share parameters, which this cannot take apart.
    """
    if counts.get("parameters.tied"):
        return None
    whole = Module("", "", sum(counts[name] for name in PARAMETERS), counts["macs"])
    modules = {"": whole} | {
        module["path"]: Module(module["path"], module["type"], module["parameters"], macs)
        for module, macs in _values(above, "modules")
    }
    own = dict(modules)
    for path, module in modules.items():
        if path:
            outer = own[around(path.rpartition(".")[0], modules)]
            parameters, macs = outer.parameters - module.parameters, outer.macs - module.macs
            own[outer.path] = dataclasses.replace(outer, parameters=parameters, macs=macs)
    sound = all(min(module.parameters, module.macs) >= 0 for module in own.values())
    return tuple(own.values()) if sound else None


def uncountable(result: Result) -> str:
    """Return why a network could not be counted; "" where it was."""
    try:
        Snapshot.of(result)
    except CountingError as error:
        return str(error)
    return ""


def is_count(measured: Measurement) -> bool:
    """Return whether a measurement is a count, or says why there is none."""
    return measured.metric.startswith(_KINDS)


def judge_results(network: str, base: Result, candidate: Result) -> Verdict:
    """Return what became of a network's counts between two records.

    What cannot be counted, in whole or in part, is an error. A count that only one side has is incomparable, unless
    another is a finding; what a plan did not ask for is not compared.
    """
    for side, result in (("base", base), ("candidate", candidate)):
        if why := uncountable(result):
            return Verdict(network, METRIC, Outcome.error, f"{side}: {why}")
    before, after = (each.environment and each.environment.packages.get("torch") for each in (base, candidate))
    snapshots = Snapshot.of(base), Snapshot.of(candidate)
    verdict = judge(network, *snapshots, same_torch=before == after)
    if verdict.outcome not in (Outcome.same, Outcome.better):
        return verdict
    has, had = (
        {
            name: one
            for name, one in _recorded(each).items()
            if (before == after or not name.startswith(_OF_TORCH))
            and (name.startswith(_STORED) or not any(side.decided_by for side in snapshots))
        }
        for each in (candidate, base)
    )
    missing = [("candidate", name) for name in had.keys() - has.keys() if _group(name) in candidate.plan.metrics]
    missing += [("base", name) for name in has.keys() - had.keys() if _group(name) in base.plan.metrics]
    if missing:
        lacking = ", ".join(f"the {side} has no {name}" for side, name in sorted(missing))
        return dataclasses.replace(
            verdict,
            outcome=Outcome.incomparable,
            reason=f"{lacking}: measure both with one version of fer-bench, or accept it with --accept REASON",
        )
    lines = [line for name in sorted(has.keys() & had.keys()) if (line := _difference(had[name], has[name]))]
    if verdict.outcome is Outcome.same and lines:
        details = (*lines, *verdict.details)
        return dataclasses.replace(verdict, outcome=Outcome.changed, reason=_costs_line({}), details=details)
    return verdict


def _recorded(result: Result) -> dict[str, Measurement]:
    """Return the counts of a record that have values, by metric."""
    counted = [one for one in result.measurements if is_count(one) and (one.values or one.metric.startswith(_LISTS))]
    return {one.metric: one for one in counted}


def _group(metric: str) -> str:
    """Return by which name a plan asks for a count."""
    return "anatomy" if metric in _ANATOMY else "static"


def _difference(base: Measurement, candidate: Measurement) -> str:
    """Write how a count differs, in whatever order the network has its parts; "" where it does not."""
    if not base.metric.startswith(_LISTS):
        before, after = base.values[0], candidate.values[0]
        return f"{base.metric} {before:,.15g} -> {after:,.15g}" if before != after else ""
    parts = [Counter(_parts(one)) for one in (base, candidate)]
    changed = (parts[0] - parts[1]) + (parts[1] - parts[0])
    if not changed:
        return ""
    paths = ", ".join(first(sorted({str(path) for path, *_ in changed if path}), _MOST_OPERATORS))
    sums = " -> ".join(f"{len(one.values):,} values of {sum(one.values):,.15g} in all" for one in (base, candidate))
    return f"{base.metric}: {sums}{f' ({paths})' if paths else ''}"


def _parts(measured: Measurement) -> list[tuple[Json, ...]]:
    """Return each value of a list, with the path and the parameters of the module that it is of, where it is of one."""
    modules = measured.details.get("modules") or [{}] * len(measured.values)
    pairs = zip(modules, measured.values, strict=True)
    return [(module.get("path", ""), module.get("parameters"), value) for module, value in pairs]


def judge(network: str, base: Snapshot, candidate: Snapshot, *, same_torch: bool = True) -> Verdict:
    """Return what became of a network's counts.

    ``worse`` is any cost that grew, or an operator without a formula, since MACs are then a lower bound; ``better`` is
    costs that only fell; ``changed`` is the same costs of another structure; ``incomparable`` is what was counted on
    another input, for other classes or by another convention. Another PyTorch dispatches other operators and keeps
    other activations for the same network, so that these are compared only where one counted both (``same_torch``).
    """
    remarks = []
    if not same_torch:
        base, candidate = base.apart_from_torch(), candidate.apart_from_torch()
        remarks.append("operators and activations not compared: another PyTorch counted the base")
    if apart := _apart(base, candidate):
        return Verdict(network, METRIC, Outcome.incomparable, apart)
    if deciding := sorted({*base.decided_by, *candidate.decided_by}):
        base, candidate = base.without_work(), candidate.without_work()
        remarks.append(f"MACs, activations and layers not judged: they depend on values ({', '.join(deciding)})")
    costs: dict[str, tuple[int, int]] = {}
    for name, noun in _COSTS.items():
        before, after = base.cost(name), candidate.cost(name)
        if before is not None and after is not None:
            costs[name] = before, after
        elif before != after:
            remarks.append(f"{noun} not compared: only one side has them")
    # Operators without a formula that were not there, or not so often.
    blind = _calls({name: n for name, n in candidate.uncounted.items() if n > base.uncounted.get(name, 0)})
    structure = [*_module_lines(base, candidate), *_other_lines(base, candidate), *_operator_line(base, candidate)]
    if blind or any(after > before for before, after in costs.values()):
        outcome = Outcome.worse
    elif any(after < before for before, after in costs.values()):
        outcome = Outcome.better
    elif structure or base.uncounted != candidate.uncounted:
        outcome = Outcome.changed
    else:
        outcome = Outcome.same
    if candidate.uncounted and not blind:
        remarks.append(f"MACs are a lower bound: operators without a formula: {_calls(candidate.uncounted)}")
    reason = f"{'what is stored' if deciding else 'all counts'} same" if outcome is Outcome.same else _costs_line(costs)
    if blind:
        reason = f"operators without a formula: {blind}; MACs are a lower bound; {reason}"
    return Verdict(network, METRIC, outcome, reason, (*structure, *remarks))


def _apart(base: Snapshot, candidate: Snapshot) -> str:
    """Return why two snapshots cannot be compared, or ""."""
    for what, before, after in (
        ("the input is", units.size(candidate.input_shape), units.size(base.input_shape)),
        ("the number of classes is", candidate.num_classes, base.num_classes),
        ("the batch counted is of", candidate.batch, base.batch),
        ("the MACs are by the convention", candidate.convention, base.convention),
    ):
        if before != after:
            return f"{what} {before}, and was {after}: count both alike, or accept it with --accept REASON"
    return ""


def _costs_line(costs: Mapping[str, tuple[int, int]]) -> str:
    differ = [
        f"{_COSTS[name]} {before:,} -> {after:,} ({shift(before, after)})"
        for name, (before, after) in costs.items()
        if before != after
    ]
    if not differ:
        return "costs same, structure differs"
    kept = [_COSTS[name] for name in ("macs", "parameters") if name in costs and costs[name][0] == costs[name][1]]
    return ", ".join([*differ, *([f"{' and '.join(kept)} same"] if kept else [])])


def _other_lines(base: Snapshot, candidate: Snapshot) -> list[str]:
    """Write which other counts differ, those left out that follow from one that is listed."""
    differ = {name for name, value in base.counts.items() if candidate.counts.get(name, value) != value}
    if "parameters.frozen" not in differ:
        differ.discard("parameters.trainable")  # then it did what the parameters did
    words = _OTHERS | ({} if differ - _FOLLOW.keys() or base.parameters != candidate.parameters else _FOLLOW)
    lines = [f"{words[name]} {base.counts[name]:,} -> {candidate.counts[name]:,}" for name in words if name in differ]
    return [", ".join(lines)] if lines else []


def _module_lines(base: Snapshot, candidate: Snapshot) -> list[str]:
    before, after = base.modules, candidate.modules
    if before is None or after is None:
        return []
    if base.levels != candidate.levels:
        paths = [module.path for module in (after if base.levels else before)]
        before, after = folded(before, paths), folded(after, paths)
    return [] if same(before, after) else differences(before, after)


def _operator_line(base: Snapshot, candidate: Snapshot) -> list[str]:
    """Write how many more or fewer calls of operators there are: "+12 aten::convolution, -3 aten::relu_"."""
    before, after = base.operators, candidate.operators
    if before is None or after is None:
        return []
    shifts = {name: after.get(name, 0) - before.get(name, 0) for name in before.keys() | after.keys()}
    names = sorted((name for name, by in shifts.items() if by), key=lambda name: (-abs(shifts[name]), name))
    parts = first([f"{shifts[name]:+,} {name}" for name in names], _MOST_OPERATORS)
    return [f"operators: {', '.join(parts)}"] if parts else []


def _calls(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({calls})" for name, calls in sorted(operators.items()))
