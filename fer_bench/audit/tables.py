"""The audit as tables: a line for each figure, and how many of each verdict."""

from collections import Counter
from collections.abc import Sequence

from fer_bench import units
from fer_bench.audit import is_condition
from fer_bench.audit.verdicts import COMPUTED, MEANINGS, Claim, Fit, Kind, Verdict
from fer_bench.table import Column, Table
from fer_bench.tables import as_printed


def _share(value: float) -> str:
    return "below 0.1 %" if value < 0.001 else units.percent(value, 2)


def verdicts(found: Sequence[Verdict]) -> Table:
    """Draw the verdicts, a row for each figure; one that a paper repeats has all its places."""
    merged: dict[tuple[object, ...], tuple[Verdict, list[str]]] = {}
    for verdict in found:
        figure = verdict.claim.figure
        key = (figure.paper, verdict.claim.subject, _quantity(verdict.claim), as_text(verdict.claim), verdict.line)
        merged.setdefault((*key, verdict.kind), (verdict, []))[1].append(_place(verdict.claim))
    rows, notes = [], []
    for verdict, places in merged.values():
        claim = verdict.claim
        rows.append(
            {
                "paper": claim.figure.paper,
                "where": "; ".join(dict.fromkeys(places)),
                "subject": claim.subject,
                "quantity": _quantity(claim),
                "printed": as_text(claim),
                "verdict": verdict.kind.value,
                "ours": verdict.ours or None,
                "line": verdict.line,
                "chance": verdict.chance,
                "evidence": verdict.evidence or None,
                "places": len(places),
            }
        )
        notes.append(_notes(verdict))
    columns = (
        Column("paper", "Paper", align="left"),
        Column("where", "Where", align="left"),
        Column("subject", "Subject", align="left"),
        Column("quantity", "Quantity", align="left"),
        Column("printed", "Printed"),
        Column("verdict", "Verdict", align="left"),
        Column("ours", "Recomputed"),
        Column("line", "Arithmetic", align="left"),
        Column("chance", "By chance", _share),
        Column("evidence", "Evidence", align="left"),
    )
    caption = (
        "Verdicts are computed from the printed digits; notes marked so are the sheet's author's. By chance: the share "
        "of random figures of the same size and digits that this explanation or a simpler one would have fitted. "
        f"{_coverage(found)}"
    )
    return Table("Audit of published figures", columns, tuple(rows), caption, tuple(notes))


def summary(found: Sequence[Verdict]) -> Table:
    """Count verdicts by paper."""
    papers = sorted({verdict.claim.figure.paper for verdict in found})
    counted = Counter((verdict.kind, verdict.claim.figure.paper) for verdict in found)
    rows = []
    for kind in Kind:
        of_kind = {f"paper {paper}": counted[kind, paper] for paper in papers}
        if any(of_kind.values()):
            rows.append({"verdict": kind.value, **of_kind, "all": sum(of_kind.values()), "meaning": MEANINGS[kind]})
    columns = (
        Column("verdict", "Verdict", align="left"),
        *(Column(f"paper {paper}", paper) for paper in papers),
        Column("all", "All"),
        Column("meaning", "Meaning", align="left"),
    )
    return Table("Verdicts by paper", columns, tuple(rows), _coverage(found))


def coverage(found: Sequence[Verdict]) -> tuple[int, int, int]:
    """Count the numeric results, those of them with a computed verdict, and the conditions that stand beside."""
    numeric = [verdict for verdict in found if verdict.kind is not Kind.statement]
    results = [v for v in numeric if not (is_condition(v.claim) and v.kind is Kind.out_of_scope)]
    return len(results), sum(v.kind in COMPUTED for v in results), len(numeric) - len(results)


def _coverage(found: Sequence[Verdict]) -> str:
    results, computed, conditions = coverage(found)
    words = sum(verdict.kind is Kind.statement for verdict in found)
    share = f" ({100 * computed / results:.0f} %)" if results else ""
    return (
        f"{results} printed numbers are results; {computed}{share} of them have a computed verdict. Beside them stand "
        f"{conditions} numbers that are conditions which the authors chose, and {words} statements in words."
    )


def as_text(claim: Claim) -> str:
    """Write what is printed; of a confusion matrix its size."""
    printed = claim.figure.printed
    return as_printed(claim.figure) if isinstance(printed, str) else f"a matrix of {len(printed)} rows"


def _quantity(claim: Claim) -> str:
    figure = claim.figure
    beside = ", ".join(filter(None, (figure.stage, figure.dataset)))
    return f"{figure.quantity} ({beside})" if beside else figure.quantity


def _place(claim: Claim) -> str:
    return ", ".join(filter(None, (claim.figure.where, claim.figure.row, claim.figure.column)))


def _notes(verdict: Verdict) -> tuple[str, ...]:
    fits = [f"Fits too: {_fit(fit)}." for fit in verdict.fits if not verdict.line.startswith(fit.text)]
    remarks = [f"{remark[0].upper()}{remark[1:]}." for remark in verdict.remarks]
    figure = verdict.claim.figure
    said = [f"In the paper's sense: {figure.convention}."] if figure.convention else []
    note = [f"Note of the sheet: {figure.note}"] if figure.note else []
    return (*fits, *remarks, *said, *note)


def _fit(fit: Fit) -> str:
    return f"{fit.text}, {fit.arithmetic} ({_share(fit.chance)} by chance)"
