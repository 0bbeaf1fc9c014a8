"""The document around tables and figures: sections, notes, machines, sources, and what the browser may run."""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING

from fer_bench.networks.registry import Registry
from fer_bench.networks.spec import Paper
from fer_bench.records import output
from fer_bench.records.result import Result
from fer_bench.reporting.page.payload import charts
from fer_bench.reporting.render.html import anchor, to_html
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables.accuracy import RENDERED
from fer_bench.reporting.tables.environments import FACTS

if TYPE_CHECKING:
    from markupsafe import Markup

_SCRIPTS = "dom chart tables explorer latency roofline modules sweep accuracy backends curves main".split()
# Beside which table a figure stands; where there is none or it is left out, the figure has a section of its own.
_FIGURES = {
    "explorer": "efficiency",
    "latency": "latency",
    "backends": "deployment",
    "roofline": "roofline",
    "modules": "",
    "sweep": "",
    "curves": "trainings",
}
for _of in ("", RENDERED):
    _FIGURES |= {f"classes{_of}": f"accuracy_classes{_of}", f"confusion{_of}": f"confusion{_of}"}
    _FIGURES |= {f"reliability{_of}": f"accuracy{_of}"}

_Section = dict[str, "Markup | str | int"]  # a part of the page: a table, the figure beside it, or both


def page(
    title: str,
    results: Sequence[Result],
    tables: Mapping[str, Table],
    registry: Registry,
    audit: Mapping[str, Table] = {},
    tones: Mapping[str, str] = {},
) -> str:
    """Write results as one self-contained HTML page. The same arguments give the same bytes on any machine.

    It makes no request, and its content security policy lets no script run but its own. Without scripts, and in print,
    the tables and notes are all there. Every text is escaped, since names and notes come from users' files.

    Args:
        title: heading of the page.
        results: what the figures of latency and the environments are of; failed ones count too.
        tables: in this order, by the stems of their files; what the axes of the figure to explore come from.
        registry: the sheets, of accuracies and sources.
        audit: as ``tables``; verdicts stand in a column ``verdict``.
        tones: how a verdict is shown, "right", "nearly" or "wrong"; one that is not named is "open".

    Returns:
        The document. It is UTF-8, and says so.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    style, theme = _asset("page.css"), _asset("theme.js")
    drawn = charts(results, tables, registry.networks)
    script = "".join(_asset(f"{name}.js") for name in _SCRIPTS)
    document = environment.from_string(_asset("page.html.j2")).render(
        title=title,
        policy=_policy((theme, script), style),
        style=Markup(style),  # noqa: S704 - our own files, with no user's text in them
        theme=Markup(theme),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=output.each_text({"charts": drawn, "tones": tones}),
        facts=_facts(results),
        sections=_sections(tables, drawn),
        audit=list(map(_section, audit.values())),
        machines=_machines(results),
        sources=_sources(results, audit, registry),
    )
    return output.printable(document, lines=True)


def _asset(name: str) -> str:
    return resources.files("fer_bench.reporting.page").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str], style: str) -> str:
    """Write the content security policy: these scripts and this style, and nothing else at all.

    No script may come from a text either: ``trusted-types`` allows no policy that would turn one into markup.
    """
    allowed = {"script-src": " ".join(map(_hash, scripts)), "style-src": _hash(style), "img-src": "data:"}
    closed = {"base-uri": "'none'", "form-action": "'none'", "require-trusted-types-for": "'script'"}
    rules = {"default-src": "'none'", **allowed, **closed, "trusted-types": "'none'"}
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Summarise the content of the page, in a few words each."""
    networks = len({result.subject.name for result in results})
    measured = [result.environment for result in results if result.environment is not None]
    facts = {
        "Networks": str(networks),
        "Results": str(len(results)) if len(results) != networks else "",
        "Protocol": _each(result.plan.protocol for result in results),
        "Batch": _each(str(result.plan.batch_size) for result in results),
        "Device": _each(f"{where.device} ({where.device_name})" for where in measured),
        "Threads": _each(str(where.threads) for where in measured),
        "PyTorch": _each(str(where.packages.get("torch", "")) for where in measured),
    }
    return [(heading, text) for heading, text in facts.items() if text]


def _each(texts: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, texts)))


def _sections(tables: Mapping[str, Table], drawn: Iterable[str]) -> list[_Section]:
    beside = {_FIGURES[chart]: chart for chart in drawn if _FIGURES[chart] in tables}
    sections = [_section(table, beside.get(stem, "")) for stem, table in tables.items()]
    alone = [chart for chart in drawn if _FIGURES[chart] not in tables]
    return sections + [{"anchor": f"figure-{chart}", "title": "", "table": "", "chart": chart} for chart in alone]


def _section(table: Table, chart: str = "") -> _Section:
    from markupsafe import Markup

    html, end, notes = to_html(table).partition("</table>")  # texts are escaped: no cell has such an end
    return {
        "anchor": f"section-{anchor(table)}",
        "title": table.title,
        "table": Markup(html + end),  # noqa: S704 - to_html has escaped it
        "notes": Markup(notes.strip()),  # noqa: S704
        "count": len(table.note_texts),
        "chart": chart,
    }


def _machines(results: Sequence[Result]) -> Counter[tuple[tuple[str, str], ...]]:
    """Count the results of each environment and commit, as headings and texts."""
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    for result in results:
        where = result.environment
        if where is None:
            continue
        facts = {fact.heading: fact.read(where) for fact in FACTS.values()}
        facts["Device"] = f"{where.device} ({where.device_name})"
        facts["Pinned to cores"] = ", ".join(map(str, where.affinity)) if len(where.affinity) < where.cores else ""
        facts["Commit"] = f"{where.commit}{', with uncommitted changes' if where.dirty else ''}" if where.commit else ""
        counts[tuple((heading, text) for heading, text in facts.items() if text)] += 1
    return counts


def _sources(results: Sequence[Result], audit: Mapping[str, Table], registry: Registry) -> list[Paper]:
    """Return the papers whose figures stand on the page."""
    zoo = registry.networks
    named = {figure.paper for r in results if r.subject.name in zoo for figure in zoo[r.subject.name].published}
    named |= {row["paper"] for table in audit.values() for row in table.rows if "paper" in row}
    return [paper for key, paper in registry.papers.items() if key in named]
