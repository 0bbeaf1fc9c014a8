"""The audit as tables: a line for each figure, and how many of each verdict."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from fer_bench.auditing import is_condition
from fer_bench.auditing.verdicts import COMPUTED, MEANINGS, Claim, Kind, Verdict
from fer_bench.networks.spec import Paper
from fer_bench.records import units
from fer_bench.records.result import Json
from fer_bench.reporting.table import Column, Table, text_columns
from fer_bench.reporting.tables.catalogue import as_printed, in_its_sense

_SAID = (
    "Verdicts are computed from the printed digits; notes that say so are the sheet's author's. By chance: the share "
    "of random figures with as many digits, within a factor of two or of the root of ten up and down, that this "
    "explanation or a simpler one would have fitted."
)


def _share(value: float) -> str:
    return "below 0.1 %" if value < 0.001 else units.percent(value, 2)


def verdicts(found: Sequence[Verdict]) -> Table:
    """Draw the verdicts, a row for each figure; one that a paper repeats has all its places."""
    columns = (
        *text_columns(paper="Paper", where="Where", subject="Subject", quantity="Quantity", printed="Printed"),
        *text_columns(verdict="Verdict", line="Arithmetic", ours="Recomputed"),
        Column("chance", "By chance", _share),
        *text_columns(evidence="Evidence"),
        Column("places", "Places"),
    )
    rows, notes = _rows(found)
    return Table("Audit of published figures", columns, rows, f"{_SAID} {_coverage(found)}", notes, name="audit")


def by_paper(found: Sequence[Verdict], papers: Mapping[str, Paper]) -> dict[str, Table]:
    """Draw the verdicts on numbers in a form that fits a page: a table for each paper, by the stem of its files."""
    columns = (
        *text_columns(what="Figure"),
        Column("printed", "Printed"),
        *text_columns(verdict="Verdict", line="Arithmetic"),
    )
    drawn = {}
    for paper in sorted({verdict.claim.figure.paper for verdict in found}):
        mine = [verdict for verdict in found if verdict.claim.figure.paper == paper]
        results = [v for v in mine if v.kind is not Kind.statement and not _is_condition(v)]
        if results:
            rows, notes = _rows(results)
            rows = tuple({**row, "what": _what(row)} for row in rows)
            stem = f"audit_{re.sub(r'[^A-Za-z0-9-]', '_', paper)}"
            known = papers.get(paper)
            title = f"Paper {paper}, audited" + (f": {known.cited}" if known is not None else "")
            drawn[stem] = Table(title, columns, rows, f"{_SAID} {_coverage(mine)}", notes, name=stem)
    return drawn


def _what(row: Mapping[str, Json]) -> str:
    """Name a figure in one cell: its place, and what it is of where the place does not say so by row and column."""
    where: str = row["where"]
    return where if where.count(", ") > 1 else f"{where}: {row['subject']}, {row['quantity']}"


def _rows(found: Sequence[Verdict]) -> tuple[tuple[dict[str, Json], ...], tuple[tuple[str, ...], ...]]:
    merged: dict[tuple[object, ...], tuple[Verdict, list[str]]] = {}
    for verdict in found:
        claim, figure = verdict.claim, verdict.claim.figure
        key = (figure.paper, claim.subject, _quantity(claim), as_text(claim), verdict.line, verdict.kind)
        place = ", ".join(filter(None, (figure.where, figure.row, figure.column)))
        merged.setdefault(key, (verdict, []))[1].append(place)
    rows = tuple(
        {
            "paper": verdict.claim.figure.paper,
            "where": "; ".join(dict.fromkeys(places)),
            "subject": verdict.claim.subject,
            "quantity": _quantity(verdict.claim),
            "printed": as_text(verdict.claim),
            "verdict": verdict.kind.value,
            "ours": verdict.ours or None,
            "line": verdict.line,
            "chance": verdict.chance,
            "evidence": verdict.evidence or None,
            "places": len(places),
        }
        for verdict, places in merged.values()
    )
    return rows, tuple(_notes(verdict) for verdict, _ in merged.values())


def summary(found: Sequence[Verdict]) -> Table:
    """Count verdicts by paper."""
    known = sorted({verdict.claim.figure.paper for verdict in found})
    counted = Counter((verdict.kind, verdict.claim.figure.paper) for verdict in found)
    rows = []
    for kind in Kind:
        of_kind = {f"paper {paper}": counted[kind, paper] for paper in known}
        if any(of_kind.values()):
            rows.append({"verdict": kind.value, **of_kind, "all": sum(of_kind.values()), "meaning": MEANINGS[kind]})
    counts = (*(Column(f"paper {paper}", paper) for paper in known), Column("all", "All"))
    columns = (*text_columns(verdict="Verdict"), *counts, *text_columns(meaning="Meaning"))
    return Table("Verdicts by paper", columns, tuple(rows), _coverage(found), name="audit_summary")


def coverage(found: Sequence[Verdict]) -> tuple[int, int, int]:
    """Count the results that can be judged, those with a computed verdict, and the conditions that stand beside."""
    numeric = [verdict for verdict in found if verdict.kind is not Kind.statement]
    results = [v for v in numeric if not _is_condition(v)]
    return len(results), sum(v.kind in COMPUTED for v in results), len(numeric) - len(results)


def _is_condition(verdict: Verdict) -> bool:
    return verdict.kind is Kind.out_of_scope and is_condition(verdict.claim)


def _coverage(found: Sequence[Verdict]) -> str:
    results, computed, conditions = coverage(found)
    undecided = sum(verdict.kind is Kind.undecidable for verdict in found)
    possible = sum(verdict.kind is Kind.possible for verdict in found)
    words = sum(verdict.kind is Kind.statement for verdict in found)
    share = f" ({100 * computed / results:.0f} %)" if results else ""
    return (
        f"{results} printed figures are results; {computed}{share} of them have a computed verdict, if only that the "
        f"digits decide nothing ({undecided}) or that no check speaks against them ({possible}). Beside them stand "
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


def _notes(verdict: Verdict) -> tuple[str, ...]:
    others = [
        f"{fit.text}, {fit.arithmetic} ({_share(fit.chance)} by chance)"
        for fit in verdict.fits
        if not verdict.line.startswith(fit.text)
    ]
    fits = [f"Fits too: {'; '.join(others)}."] if others else []
    remarks = [f"{remark[0].upper()}{remark[1:]}." for remark in verdict.remarks]
    figure = verdict.claim.figure
    said = [in_its_sense(figure.convention)] if figure.convention else []
    note = [f"Note of the sheet: {figure.note}"] if figure.note else []
    return (*fits, *remarks, *said, *note)
