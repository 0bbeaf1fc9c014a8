"""What a network counts, exactly, and what is said where that is not what it was: no noise, no level, no statistics."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from fer_bench.gating.module_changes import differences, shift
from fer_bench.gating.module_tree import Module, folded, same
from fer_bench.gating.verdicts import Outcome, Verdict
from fer_bench.records import units
from fer_bench.records.errors import CountingError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Json, Measurement, Result

METRIC = "counts"

# What a gate counts a network by: at its own size, one image.
COUNTS = Plan("counts", metrics=("static", "anatomy"))

PARAMETERS = ("parameters.trainable", "parameters.frozen")
# What is better when less, as written, in the order in which it is told.
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
    "layers.conv_separable_once": "convolutions, separable ones taken as one",
    "layers.conv_shortcut": "convolutions on shortcuts",
    "layers.pool": "poolings",
    "layers.fc": "fully connected layers",
}
# Those that follow from others, told where nothing else is.
_FOLLOW = {
    "parameters.keras_total": "parameters as Keras counts",
    "parameters.parameter_bytes": "bytes of parameters",
    "checkpoint_bytes": "checkpoint bytes",
}
_MOST_OPERATORS = 6  # named in one line


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one build of a network counts.

    Attributes:
        input_shape: (C, H, W).
        num_classes: as asked for.
        batch: images in the pass that was counted; MACs are a sample's, activations the batch's.
        convention: of the MACs.
        counts: by the names that records have: "macs", "layers.conv", ...
        uncounted: calls by operator without a formula: the MACs are then a lower bound.
        operators: calls by operator; None where the record does not tell.
        modules: in the order of registration; None where the record does not tell.
        levels: whether all levels of modules are there, and their calls.
    """

    input_shape: tuple[int, ...]
    num_classes: int | None
    batch: int
    convention: str
    counts: Mapping[str, int]
    uncounted: Mapping[str, int]
    operators: Mapping[str, int] | None = None
    modules: tuple[Module, ...] | None = None
    levels: bool = True

    @property
    def parameters(self) -> int:
        return sum(self.counts[name] for name in PARAMETERS)

    @property
    def macs(self) -> int:
        return self.counts["macs"]

    def cost(self, name: str) -> int | None:
        """Give what is better when less: "macs", "parameters", ..., or None where it was not counted."""
        return self.parameters if name == "parameters" else self.counts.get(name)

    def apart_from_torch(self) -> Self:
        """Give it without what the same network counts otherwise under another version of PyTorch."""
        counts = {name: value for name, value in self.counts.items() if name != "peak_activation_bytes"}
        return dataclasses.replace(self, counts=counts, operators=None)

    @classmethod
    def of(cls, result: Result) -> Self:
        """Take a network's counts from its record.

        Raises:
            CountingError: the network could not be counted, or the record has no counts.
        """
        for metric in COUNTS.metrics:
            failed = result.measurement(metric)
            if failed is not None and failed.failure:
                raise CountingError(f"{result.subject.name} cannot be counted: {failed.failure}")
        counts = {
            name: _whole(value)
            for name in (*_COSTS, *_OTHERS, *_FOLLOW)
            if name != "parameters" and (value := result.value(name)) is not None
        }
        macs = result.measurement("macs")
        missing = [name for name in _NEEDED if name not in counts]
        if missing or macs is None or result.subject.input_shape is None:
            raise CountingError(
                f"the record of {result.subject.name} does not tell {', '.join(missing) or 'its input'}: measure it "
                "with --metrics static,anatomy"
            )
        modules, levels = _modules(result, counts)
        return cls(
            input_shape=result.subject.input_shape,
            num_classes=result.subject.num_classes,
            batch=int(macs.details.get("batch", 1)),
            convention=str(macs.details.get("convention", "")),
            counts=counts,
            uncounted=dict(macs.details.get("uncounted", {})),
            operators=_operators(result),
            modules=modules,
            levels=levels,
        )

    def to_dict(self) -> dict[str, Json]:
        """Give it as JSON has it; a module is a list of its path, class, parameters, MACs and calls."""
        data: dict[str, Json] = {
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "batch": self.batch,
            "convention": self.convention,
            "counts": dict(sorted(self.counts.items())),
            "uncounted": dict(sorted(self.uncounted.items())),
        }
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
            KeyError, TypeError, ValueError: it is something else.
        """
        rest = {key: data[key] for key in ("num_classes", "batch", "convention", "counts", "uncounted")}
        if missing := [name for name in _NEEDED if name not in data["counts"]]:
            raise ValueError(f"its counts lack {', '.join(missing)}")
        return cls(
            input_shape=tuple(data["input_shape"]),
            operators=data.get("operators"),
            modules=tuple(Module(*each) for each in data["modules"]) if "modules" in data else None,
            levels=data.get("levels", True),
            **rest,
        )


def _whole(value: float) -> int:
    """Give a count as a whole number; a network that mixes the samples of a batch has fractions of MACs a sample."""
    return round(value)


def _operators(result: Result) -> dict[str, int] | None:
    measured = result.measurement("operator_calls")
    if measured is None:
        return None
    return dict(zip(measured.details["operators"], map(_whole, measured.values), strict=True))


def _modules(result: Result, counts: Mapping[str, int]) -> tuple[tuple[Module, ...] | None, bool]:
    """Give the modules of a record and whether all levels are among them."""
    own = result.measurement("module_own_macs")
    if own is not None:
        columns = (own.details[name] for name in ("paths", "types", "parameters"))
        rows = zip(*columns, map(_whole, own.values), own.details["calls"], strict=True)
        return tuple(Module(*row) for row in rows), True
    above = result.measurement("module_macs")
    return (_upper_levels(above, counts), False) if above is not None else (None, False)


def _upper_levels(above: Measurement, counts: Mapping[str, int]) -> tuple[Module, ...] | None:
    """Give the upper levels of modules, which a record has with all inside them, each without the others.

    None where modules share parameters, which this cannot take apart.
    """
    if counts.get("parameters.tied"):
        return None
    totals: dict[str, tuple[str, int, int]] = {
        "": ("", sum(counts[name] for name in PARAMETERS), counts["macs"]),
        **{
            module["path"]: (module["type"], module["parameters"], _whole(macs))
            for module, macs in zip(above.details["modules"], above.values, strict=True)
        },
    }
    inside = {path: [0, 0] for path in totals}
    for path in totals:
        around = path
        while around and (around == path or around not in totals):
            around = around.rpartition(".")[0]
        if path:
            inside[around][0] += totals[path][1]
            inside[around][1] += totals[path][2]
    modules = tuple(
        Module(path, kind, parameters - inside[path][0], macs - inside[path][1])
        for path, (kind, parameters, macs) in totals.items()
    )
    return modules if all(module.parameters >= 0 and module.macs >= 0 for module in modules) else None


def uncountable(result: Result) -> str:
    """Return why a network could not be counted; "" where it was."""
    try:
        Snapshot.of(result)
    except CountingError as error:
        return str(error)
    return ""


def judge_results(network: str, base: Result, candidate: Result) -> Verdict:
    """Say what became of a network's counts between two records; what cannot be counted is an error."""
    snapshots = []
    for side, result in (("base", base), ("candidate", candidate)):
        try:
            snapshots.append(Snapshot.of(result))
        except CountingError as error:
            return Verdict(network, METRIC, Outcome.error, f"{side}: {error}")
    versions = [
        result.environment.packages.get("torch") if result.environment is not None else None
        for result in (base, candidate)
    ]
    return judge(network, *snapshots, same_torch=versions[0] == versions[1])


def judge(network: str, base: Snapshot, candidate: Snapshot, *, same_torch: bool = True) -> Verdict:
    """Say what became of a network's counts.

    ``worse`` is any cost that grew, or an operator without a formula, since MACs are then a lower bound; ``better`` is
    costs that only fell; ``changed`` is the same costs of another structure; ``incomparable`` is what was counted on
    another input, for other classes or by another convention.

    Args:
        network: as it is told.
        base: before.
        candidate: after.
        same_torch: one PyTorch counted both. Another one dispatches other operators and keeps other activations for the
            same network, so that these are compared only then.
    """
    untold = [] if same_torch else ["operators and activations not compared: another PyTorch counted the base"]
    if not same_torch:
        base, candidate = base.apart_from_torch(), candidate.apart_from_torch()
    if apart := _apart(base, candidate):
        return Verdict(network, METRIC, Outcome.incomparable, apart)
    costs = {name: (base.cost(name), candidate.cost(name)) for name in _COSTS}
    known = {
        name: (before, after) for name, (before, after) in costs.items() if before is not None and after is not None
    }
    grew = any(after > before for before, after in known.values())
    fell = any(after < before for before, after in known.values())
    blind = _more_uncounted(base.uncounted, candidate.uncounted)
    others = _other_lines(base, candidate)
    modules, modules_differ = _module_lines(base, candidate)
    operators = _operator_line(base.operators, candidate.operators)
    untold += [f"{_COSTS[name]} not compared: only one side has them" for name, pair in costs.items() if _one_of(*pair)]
    if grew or blind:
        word = Outcome.worse
    elif fell:
        word = Outcome.better
    elif others or modules_differ or operators or base.uncounted != candidate.uncounted:
        word = Outcome.changed
    else:
        word = Outcome.same
    if candidate.uncounted and not blind:
        untold.append(f"MACs are a lower bound: operators without a formula: {_calls(candidate.uncounted)}")
    said = _said(known, word)
    if blind:
        said = f"operators without a formula: {blind}; MACs are a lower bound; {said}"
    details = (*modules, *others, *([f"operators: {operators}"] if operators else []), *untold)
    return Verdict(network, METRIC, word, said, details)


def _apart(base: Snapshot, candidate: Snapshot) -> str:
    """Say why two snapshots cannot be compared, or ""."""
    for what, before, after in (
        ("the input is", units.size(candidate.input_shape), units.size(base.input_shape)),
        ("the number of classes is", candidate.num_classes, base.num_classes),
        ("the batch counted is of", candidate.batch, base.batch),
        ("the MACs are by the convention", candidate.convention, base.convention),
    ):
        if before != after:
            return f"{what} {before}, and was {after}: count both alike, or accept it with --accept REASON"
    return ""


def _said(known: Mapping[str, tuple[int, int]], word: Outcome) -> str:
    """Give the costs in one line: those that differ, and that MACs and parameters do not."""
    if word is Outcome.same:
        return "all counts same"
    told = [
        f"{_COSTS[name]} {before:,} -> {after:,} ({shift(before, after)})"
        for name, (before, after) in known.items()
        if before != after
    ]
    kept = [_COSTS[name] for name in ("macs", "parameters") if known[name][0] == known[name][1]]
    if not told:
        return "costs same, structure differs"
    return ", ".join([*told, *([f"{' and '.join(kept)} same"] if kept else [])])


def _other_lines(base: Snapshot, candidate: Snapshot) -> list[str]:
    """Say which other counts differ, those left out that follow from one told."""
    both = base.counts.keys() & candidate.counts.keys()
    differ = {name for name in both if base.counts[name] != candidate.counts[name]}
    if "parameters.frozen" not in differ:
        differ.discard("parameters.trainable")  # then it did what the parameters did
    words = _OTHERS | ({} if differ - _FOLLOW.keys() or base.parameters != candidate.parameters else _FOLLOW)
    lines = [f"{words[name]} {base.counts[name]:,} -> {candidate.counts[name]:,}" for name in words if name in differ]
    return [", ".join(lines)] if lines else []


def _module_lines(base: Snapshot, candidate: Snapshot) -> tuple[list[str], bool]:
    """Say what became of the modules that both sides tell, and whether they differ."""
    if base.modules is None or candidate.modules is None:
        return [], False
    before, after = base.modules, candidate.modules
    if base.levels != candidate.levels:
        coarse = after if base.levels else before
        paths = [module.path for module in coarse]
        before, after = folded(before, paths), folded(after, paths)
        if "" in (_root_kind(before), _root_kind(after)):
            before, after = (_unnamed(modules) for modules in (before, after))
    if same(before, after):
        return [], False
    return differences(before, after), True


def _root_kind(modules: Sequence[Module]) -> str:
    return next((module.kind for module in modules if not module.path), "")


def _unnamed(modules: Sequence[Module]) -> tuple[Module, ...]:
    """Leave out the class of the network itself, which the upper levels of a record do not tell."""
    return tuple(
        module if module.path else Module("", "", module.parameters, module.macs, module.calls) for module in modules
    )


def _operator_line(base: Mapping[str, int] | None, candidate: Mapping[str, int] | None) -> str:
    """Say how many more or fewer calls of operators there are: "+12 aten::convolution, -3 aten::relu_"."""
    if base is None or candidate is None:
        return ""
    shifts = {name: candidate.get(name, 0) - base.get(name, 0) for name in base.keys() | candidate.keys()}
    told = sorted((name for name, by in shifts.items() if by), key=lambda name: (-abs(shifts[name]), name))
    left = [f"and {len(told) - _MOST_OPERATORS} more"] if len(told) > _MOST_OPERATORS else []
    return ", ".join([*(f"{shifts[name]:+,} {name}" for name in told[:_MOST_OPERATORS]), *left])


def _more_uncounted(base: Mapping[str, int], candidate: Mapping[str, int]) -> str:
    """Name operators without a formula that were not there, or not so often."""
    return _calls({name: calls for name, calls in candidate.items() if calls > base.get(name, 0)})


def _calls(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({calls})" for name, calls in sorted(operators.items()))


def _one_of(before: int | None, after: int | None) -> bool:
    return (before is None) != (after is None)
