"""The page: tables, figures to explore, audit and machines in one file of HTML that asks for nothing.

``page`` is the way in. ``payload`` has what the scripts draw, ``document`` fills the template; ``assets/`` has the
document, its style and its scripts, which sort, filter and draw.

The scripts are our own. Plotly, Bokeh or DataTables would put up to five megabytes into the page, which change with the
installed version where the same records are to give the same bytes, and no keyboard reaches a mark of Plotly's.
"""

from fer_bench.reporting.page.document import page

__all__ = ["page"]
