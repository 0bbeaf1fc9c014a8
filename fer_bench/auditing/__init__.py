"""The audit: what is right, and what is wrong in which way, of the figures that papers print.

Every figure of the sheets is compared with what can be recomputed:

- recounts of its network in many builds and by many conventions, and of its variants (``counts``);
- arithmetic on the paper's own figures (``arithmetic``);
- what a device can do (``times``);
- facts that others published (``facts_and_bounds``).

Verdicts are computed from the digits, never looked up; what a
sheet's author noted beside a figure is shown as a note.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from fer_bench.auditing import hypotheses
from fer_bench.auditing.evidence import Evidence
from fer_bench.auditing.judge import Judge, is_condition
from fer_bench.auditing.verdicts import Claim, Verdict
from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import ModelSpec
from fer_bench.reporting.analysis.sweeps import Series

__all__ = ["claims_of", "is_condition", "judge_all", "needed", "varied"]


def claims_of(registry: Registry) -> list[Claim]:
    """Return every printed figure of networks and papers."""
    claims = []
    of_networks = [(figure, spec) for spec in registry.networks.values() for figure in spec.published]
    of_papers = [(figure, None) for paper in registry.papers.values() for figure in paper.figures]
    for figure, spec in (*of_networks, *of_papers):
        named = tuple(map(registry.find, figure.networks))
        claims.append(Claim(figure, spec or next(iter(named), None), named))
    return claims


def needed(claims: Iterable[Claim]) -> list[ModelSpec]:
    """Name the networks whose recounts the claims are judged by."""
    quantities = (*hypotheses.RECOUNTED, "latency", "output_size", "memory_percent")
    specs = {
        (spec.name, spec.input_shape, spec.num_classes): spec
        for claim in claims
        if claim.figure.quantity in quantities
        for spec in (claim.spec, *claim.named)
        if spec is not None and spec.can_be_built
    }
    return list(specs.values())


def varied(claims: Iterable[Claim]) -> list[ModelSpec]:
    """Name the networks whose variants the claims are judged by."""
    return list({spec.name: spec for claim in claims if claim.figure.over for spec in claim.named}.values())


def judge_all(
    claims: Sequence[Claim],
    evidence: Sequence[Evidence],
    specs: Mapping[str, ModelSpec],
    chosen: Sequence[Claim] | None = None,
    watch: Callable[[Sequence[Claim]], Iterable[Claim]] = iter,
    tried: Sequence[Series] = (),
) -> list[Verdict]:
    """Return a verdict for each claim.

    Args:
        claims: what papers print.
        evidence: recounts of the networks that ``needed`` names, as far as they are to be had.
        specs: all networks by name, to tell which are of one family.
        chosen: which of the claims are judged; None for all.
        watch: yields the claims that it is given, and may show how far it has come.
        tried: variants of the networks that ``varied`` names, likewise.

    Raises:
        SheetError: a sheet's arithmetic or unit is none.
    """
    judge = Judge(claims, evidence, specs, tried)
    return [judge.verdict(claim) for claim in watch(claims if chosen is None else chosen)]
