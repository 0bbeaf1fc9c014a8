"""An environment and a table for tests that need some, and where the committed records lie."""

from pathlib import Path

from fer_bench.records import units
from fer_bench.records.result import Environment
from fer_bench.reporting.table import Column, Table

RECOUNTS = Path(__file__).parents[2] / "reports" / "audit" / "recounts.json"

ENVIRONMENT = Environment(
    cpu="Some CPU",
    cores=2,
    memory_bytes=8 * 2**30,
    os="Linux",
    python="3.13.0",
    packages={"torch": "2.9.0"},
    device="cpu",
    device_name="Some CPU",
    threads=2,
    allocator="system",
    load_1min=0.5,
    commit="0" * 40,
    dirty=False,
)

# What is awkward in one format or another.
HOSTILE = r"a_b\c{d}[e] 50% $x^2$ ~#&|<i>`*" + "'' -- \x1b[31m"

TABLE = Table(
    "A title",
    (
        Column("name", "Network", align="left"),
        Column("macs", "MACs", units.scaled),
        Column("latency_s", "ms", units.milliseconds),
        Column("where", "Where", align="left"),
    ),
    (
        {"name": "plain", "macs": 4_093_539_446, "latency_s": 0.0105, "where": "Table 2"},
        {"name": HOSTILE, "macs": None, "where": "section 1, which has a long name; " * 2},
    ),
    "A caption of 50 %.",
    (("First note.",), ("First note.", "Second | note_2.")),
)

# What two networks say of a hundred images of three classes.
THREE = ("happy", "sad", "fear")
LABELS = [0] * 50 + [1] * 40 + [2] * 10
GOOD = [0] * 45 + [1] * 5 + [1] * 30 + [0] * 10 + [2] * 5 + [0] * 5  # 45, 30 and 5 right: 80 of 100
POOR = [0] * 60 + [1] * 30 + [1] * 10  # 50, 30 and 0 right: 80 of 100, fear never said
TRUNCATIONS = RECOUNTS.parents[1] / "truncations" / "results.json"
