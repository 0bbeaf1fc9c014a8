"""The committed reports are drawn from the committed records: drawing them again changes no byte."""

from pathlib import Path

import pytest

from fer_bench import exports, report
from fer_bench.render import write_all

REPORTS = Path(__file__).parent.parent / "reports"


@pytest.mark.parametrize("records", sorted(REPORTS.glob("*/results.json")), ids=lambda path: path.parent.name)
def test_redrawing_a_report_changes_no_byte(records, tmp_path):
    write_all(tmp_path, report.report(exports.read_file(records)))
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in records.parent.iterdir() if path.name != records.name}
    assert drawn == kept


def test_there_are_records():
    assert list(REPORTS.glob("*/results.json"))
