"""Where the multiply-accumulates of a network go, module by module."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from fer_bench.records import units
from fer_bench.records.result import Result
from fer_bench.reporting.figures.common import doubted, hollow, labels, of_one_setting
from fer_bench.reporting.figures.plots import Axis, Division, Divisions, Part
from fer_bench.reporting.tables.common import joined

# Share of the MACs: a module with more hides where they go. One with almost all is drawn by what lies in it, however
# much that is; one with most where that is not crowded.
_ALMOST_ALL, _MOST, _CROWDED = 0.9, 0.5, 12
_SMALL = 0.03  # share of the MACs: neighbours with less are drawn as one, or a deep network's bar is a comb
_ROUNDING = 1e-9  # share that sums of shares may miss


def divisions(results: Sequence[Result]) -> Divisions | None:
    """Draw the share of each module of a network, or None where no record has modules."""
    kept, notes = of_one_setting([result for result in results if _division("", result) is not None])
    networks = list(filter(None, map(_division, labels(kept), kept)))
    if not networks:
        return None
    if len(networks) > 1:  # a single one has a bar for each module, with room for all names
        networks = [replace(network, parts=tuple(_merged(network.parts))) for network in networks]
    others = f'Neighbours below {units.percent(_SMALL, 1)} each are drawn as one part, "others".'
    return Divisions(
        title="MACs by module",
        caption=joined(
            "Shares of the multiply-accumulates per image (conv+matmul-v1) in the modules of the top level, with "
            "submodules, in the order of the network. A module with more than "
            f"{units.percent(_MOST, 2)} is split into its submodules, unless these are too many. At the right: "
            "MACs of the whole network. Where room is short, a name is cut to its last part, a number gets its "
            "parent's first letter, or the name is left out.",
            others if any(part.merged for network in networks for part in network.parts) else "",
        ),
        x=Axis("Share of MACs", "share"),
        networks=tuple(networks),
        left_out=" ".join(notes),
        notes=(*notes, *doubted(kept)),
    )


def _division(label: str, result: Result) -> Division | None:
    measured, macs = result.measurement("module_macs"), result.value("macs")
    if measured is None or not measured.values or not macs:
        return None
    known = [
        Part(m["path"], m["type"], value, m["parameters"], value / macs)
        for m, value in zip(measured.details["modules"], measured.values, strict=True)
    ]
    parts = tuple(part for part in _drawn("", macs, known, macs) if part.macs > _ROUNDING * macs)
    return Division(label, macs, parts, parts, hollow(result))


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """Draw neighbours that are small as one."""
    for small, run in itertools.groupby(parts, lambda part: part.share < _SMALL):
        members = tuple(run)
        if small and len(members) > 1:
            macs, parameters = sum(part.macs for part in members), sum(part.parameters for part in members)
            paths = tuple(part.path for part in members)
            yield Part("others", "", macs, parameters, sum(part.share for part in members), paths)
        else:
            yield from members


def _drawn(around: str, own: float, known: Sequence[Part], whole: float) -> Iterator[Part]:
    """Return what is drawn of the network, or of a module or list of modules.

    Args:
        around: its path, with a dot at the end; "" for the network.
        own: its MACs.
        known: all modules inside it.
        whole: MACs of the network.
    """
    inside: dict[str, list[Part]] = {}
    for module in known:
        inside.setdefault(around + module.path.removeprefix(around).split(".")[0], []).append(module)
    for path, modules in inside.items():
        itself = _together(path, modules, whole)
        rest = [module for module in modules if module.path != path]
        if _hides(itself.share, {module.path.removeprefix(f"{path}.").split(".")[0] for module in rest}):
            yield from _drawn(f"{path}.", itself.macs, rest, whole)
        else:
            yield itself
    left = own - sum(_together(path, modules, whole).macs for path, modules in inside.items())
    yield Part(f"({around.rstrip('.') or 'network'}, outside modules)", "", left, 0, left / whole)


def _together(path: str, modules: Sequence[Part], whole: float) -> Part:
    """Return the module of a path; where that is a list of modules, which does not run and has no record, their sum."""
    if modules[0].path == path:
        return modules[0]
    members = [m for m in modules if not any(m.path.startswith(f"{other.path}.") for other in modules)]
    macs = sum(m.macs for m in members)
    return Part(path, "", macs, sum(m.parameters for m in members), macs / whole)


def _hides(share: float, names: Collection[str]) -> bool:
    """Report whether a module hides where the MACs go, so that what lies in it is drawn instead."""
    return bool(names) and (share > _ALMOST_ALL or (share > _MOST and len(names) <= _CROWDED))
