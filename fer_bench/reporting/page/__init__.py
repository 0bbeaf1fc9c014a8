"""The page: tables, figures to explore, audit and machines in one file of HTML that asks for nothing.

``page`` is the way in. What the figures are drawn from is worked out here, in base units and in written texts
(``explorer``, ``speed``, ``modules``, ``sweep``); ``assets/`` has the document, its style and its scripts, which sort,
filter and draw.

The scripts are our own. Plotly, Bokeh or DataTables would put up to five megabytes into the page, which change with the
installed version where the same records are to give the same bytes, and no keyboard reaches a mark of Plotly's.
"""

from collections.abc import Mapping, Sequence

from fer_bench.records.result import Result
from fer_bench.reporting.page.document import fill
from fer_bench.reporting.page.explorer import explorer
from fer_bench.reporting.page.modules import modules
from fer_bench.reporting.page.speed import latencies, roofs
from fer_bench.reporting.page.sweep import sweep
from fer_bench.reporting.table import Table

__all__ = ["page"]


def page(title: str, results: Sequence[Result], tables: Mapping[str, Table], audit: Mapping[str, Table] = {}) -> str:
    """Write results as one self-contained HTML page. The same arguments give the same bytes on any machine.

    It makes no request, and its content security policy lets no script run but its own. Without scripts, and in print,
    the tables and notes are all there.

    Args:
        title: heading of the page.
        results: what the figures of latency and the environments are of; failed ones count too.
        tables: in this order, by the stems of their files; what the axes of the figure to explore are taken from.
        audit: likewise; verdicts stand in a column ``verdict``.

    Returns:
        The document. It is UTF-8, and says so.
    """
    charts = {
        "explorer": explorer(results, tables),
        "latency": latencies(results),
        "roofline": roofs(results),
        "modules": modules(results),
        "sweep": sweep(results),
    }
    drawn = {name: chart for name, chart in charts.items() if chart is not None}
    return fill(title, results, tables, audit, drawn)
