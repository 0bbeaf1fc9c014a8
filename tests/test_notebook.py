"""The notebook of the documents runs from top to bottom, and the reference is what the docstrings say."""

import json
from pathlib import Path

import nbclient
import nbformat
import pytest

from support.api_reference import page

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook with its outputs, run in an empty folder."""
    notebook = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    limit_s = 600  # for what hangs
    nbclient.NotebookClient(notebook, timeout=limit_s, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def shown(notebook, source):
    """Give the results of the cell whose code has a text, by their types."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source]
    data = [output["data"] for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
    assert [output for output in cell.outputs if output.output_type == "stream"] == []
    return data


@pytest.mark.slow
def test_the_notebook_runs_and_its_objects_show_themselves(executed):
    (count,) = shown(executed, 'fb.count("mini_xception")')
    assert count["text/html"].startswith('<table id="table-static-counts"')
    assert "5.52 M" in count["text/plain"]
    *progress, table = shown(executed, '"wide": SmallNet(32)')
    assert [line["text/plain"].split(" (")[0].rpartition(":")[0] for line in progress] == ["[2/2] wide"]
    assert table["text/html"].startswith('<table id="table-efficiency"')
    assert "isolation: shared" in table["text/html"]
    *_, frame = shown(executed, '"images_per_s"')
    assert frame["text/plain"].count("shared") >= 2
    assert "forked" in frame["text/plain"]
    (verdict,) = shown(executed, "fb.compare(")
    assert "worse" in verdict["text/plain"]
    (result,) = shown(executed, 'fb.load("last"')
    assert result["text/html"].startswith("<pre>mini_xception: 1x48x48, 7 classes; quick on cpu")
    *_, verdicts = shown(executed, "fb.audit(")
    assert "another convention" in verdicts["text/html"]


def test_no_output_of_the_notebook_is_committed():
    cells = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["source"] for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_the_reference_is_written_from_the_docstrings():
    """Run ``python tests/support/api_reference.py > docs/api.md`` where this fails, and read the difference."""
    assert (DOCS / "api.md").read_text(encoding="utf-8") == page()
