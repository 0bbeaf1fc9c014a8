"""Exports, sheets and baselines with random mutations: whatever they say, no command ends in an unforeseen error.

FER_BENCH_MUTATIONS is the number of mutations in all, FER_BENCH_SEED another draw of them.
"""

import contextlib
import io
import itertools
import json
import os
import random
import shutil
import tomllib

import pytest

from fer_bench.cli.main import main
from fer_bench.gating import baseline
from fer_bench.records import exit_codes, schema
from fer_bench.records.errors import FerBenchError
from fer_bench.records.exchange import read_file
from support.samples import RECOUNTS

MUTATIONS = int(os.environ.get("FER_BENCH_MUTATIONS", "60"))
SEED = int(os.environ.get("FER_BENCH_SEED", "1"))
CODES = {value for name, value in vars(exit_codes).items() if name.isupper()}
REPORTS = RECOUNTS.parents[1]
ROOT = REPORTS.parent

HUGE = "x" * 100_000
VALUES = (
    *(None, True, False, 0, 1, -1, 3.5, 2**63, -(2**63) - 1, 2**64, 10**400, 1e99, 1e308, 5e-324, -0.0),
    *(float("nan"), float("inf"), float("-inf")),
    *("", "x", "0", "\x00", "\x1b]0;title\x07", "\ud800", "\N{RIGHT-TO-LEFT OVERRIDE}", "a\nb", "{}", "<b>", HUGE),
    *("1e999999999", "nan", "2026-11-21T12:00:00+00:00", "0001-01-01T00:00:00+14:00", "mini_xception", "../../x"),
    *([], {}, [[]], [None], ["x"], [1, 2, 3], [0, 0, 0], {"": 0}, {"x": "y"}, [{"x": []}]),
)


def places(data, path=()):
    """Yield each container and key in a document, with the path on which it lies: all members of a list lie on one."""
    members = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in members:
        here = (*path, key if isinstance(data, dict) else "*")
        yield here, (data, key)
        yield from places(value, here)


def by_path(data):
    """Return the places of a document by their path, so that a field of one record is drawn as often as one of many."""
    found = {}
    for path, place in places(data):
        found.setdefault(path, []).append(place)
    return list(found.values())


def deep(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


def mutate(data, draw):
    """Change one to three places of a document, and say how."""
    said = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        known = by_path(data)
        around, key = draw.choice(draw.choice(known))
        how = draw.choice(("set", "set", "set", "remove", "rename", "double", "swap", "deepen"))
        said.append(f"{how} {str(key)[:40]}")
        if how == "set":
            around[key] = value = draw.choice(VALUES)
            said[-1] += f" to {value!r:.40}"
        elif how == "remove":
            del around[key]
        elif how == "rename" and isinstance(around, dict):
            around[draw.choice(("x", "", "name", "values"))] = around.pop(key)
        elif how == "double" and isinstance(around, list):
            around.append(around[key])
        elif how == "deepen":
            around[key] = deep(draw.choice((5, 40, 150)))
        else:
            other, name = draw.choice(draw.choice(known))
            with contextlib.suppress(KeyError, IndexError):
                around[key] = json.loads(json.dumps(other[name]))
        if not by_path(data):
            break
    return "; ".join(said)


def damage(text, draw):
    """Change the text itself: cut it, change a character, or nest it without end."""
    place = draw.randrange(len(text))
    how = draw.choice(("cut", "change", "insert", "nest", "digits"))
    put = {"cut": "", "nest": "[" * 100_000, "digits": "9" * 5000}.get(how, draw.choice('[]{}",:0e-N\\\x00é'))
    rest = {"cut": len(text), "insert": place, "nest": place, "digits": place}.get(how, place + 1)
    return text[:place] + put + text[rest:], f"{how} at {place}"


def toml(value):
    """Write a value as TOML has it; None and what it cannot say as an empty text."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {toml(member)}" for key, member in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float | bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return json.dumps("" if value is None else value).replace("\\ud800", "")


class Commands:
    """Commands in this process; the first unforeseen error fails the test with the mutation that led to it."""

    def __init__(self):
        self.mutation = ""
        self.ends = []

    def __call__(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        given = list(map(str, arguments))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(given)
            except BaseException as error:
                raise AssertionError(f"{given[0]} after {self.mutation}: {error!r}") from error
        said = f"{' '.join(given)[:200]} after {self.mutation}: exit {code}: {err.getvalue()[:500]}"
        assert code in CODES, said
        assert "--debug shows where" not in err.getvalue(), said
        assert "Traceback" not in err.getvalue() + out.getvalue(), said
        self.ends.append(code)
        return code


@pytest.fixture
def command():
    return Commands()


@pytest.fixture
def mutations(command):
    """Yield a generator of random numbers for each of a third of the mutations."""

    def each(kind):
        for number in range(MUTATIONS // 3):
            draw = random.Random(f"{SEED} {kind} {number}")
            command.mutation = f"mutation {number} of {kind} (seed {SEED})"
            yield number, draw

    return each


def exports():
    """Return small exports that hold every kind of record there is."""
    for name in ("quick-cpu", "training-cpu", "occupancy-cpu", "counts", "sweep-cpu", "audit"):
        file = REPORTS / name / ("recounts.json" if name == "audit" else "results.json")
        document = json.loads(file.read_text())
        run = document["runs"][0]
        run["results"] = run["results"][:2]
        for record in run["results"]:  # a few values tell as much as hundreds
            for measured in record["result"]["measurements"]:
                if measured["metric"] in ("latency_s", "minor_faults", "involuntary_switches"):
                    measured["values"] = measured["values"][:12]
        yield document


@pytest.mark.faults
def test_no_export_breaks_a_command_or_blocks_another_run(mutations, command, tmp_path):
    file, store = tmp_path / "export.json", tmp_path / "results.sqlite"
    known = list(exports())
    whole = json.loads(json.dumps(known[1]))
    whole["runs"][0]["id"] = "whole"
    for number, draw in mutations("exports"):
        document = json.loads(json.dumps(known[number % len(known)]))
        document["runs"].append(json.loads(json.dumps(whole["runs"][0])))
        if draw.random() < 0.9:
            run = document["runs"][0]
            said = mutate(draw.choice((document, run, run["results"])) or document, draw)
            text = json.dumps(document)
        else:
            text, said = damage(json.dumps(document), draw)
        command.mutation += f": {said}"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        store.unlink(missing_ok=True)
        command("import", file, "--store", store)
        name = known[number % len(known)]["runs"][0]["results"][0]["result"]["subject"]["name"]
        command("runs", "--store", store)
        shown, fmt = draw.choice(("last", "whole")), draw.choice(("table", "csv", "json", "latex"))
        metric = draw.choice(("macs", "latency_s", "peak_rss_bytes"))
        others = [
            ("show-run", shown, "--store", store),
            ("report", shown, "--store", store, "--format", fmt),
            ("history", name, metric, "--store", store),
            ("export", shown, "--store", store, "--out", tmp_path / "again.json"),
            ("report", file),
            ("compare", file, REPORTS / "counts" / "results.json", "--metrics", "counts"),
        ]
        for other in draw.sample(others, 4):
            command(*other)
    assert command.ends.count(exit_codes.OK) > len(command.ends) / 4  # most mutations leave something to show


@pytest.mark.faults
def test_no_sheet_breaks_a_command(mutations, command, tmp_path):
    sheets = [ROOT / "models" / name for name in ("mini_xception.toml", "resnet_fer.toml", "papers/004.toml")]
    tables = {path: tomllib.loads(path.read_text()) for path in sheets}
    for number, draw in mutations("sheets"):
        path = sheets[number % len(sheets)]
        data = json.loads(json.dumps(tables[path]))
        if path.parent.name == "papers":
            data["paper"]["id"] = "mine"
            for figure in data.get("figures", ()):
                figure["paper"] = "mine"
        else:
            data = {f"my_{name}": table for name, table in itertools.islice(data.items(), 2)}
        said = mutate(data, draw)
        text = "\n".join(f"{json.dumps(str(key))} = {toml(value)}" for key, value in data.items())
        if draw.random() < 0.1:
            text, said = damage(text, draw)
        command.mutation += f": {said}"
        folder = tmp_path / "sheets"
        shutil.rmtree(folder, ignore_errors=True)
        mine = folder / ("papers/mine.toml" if path.parent.name == "papers" else "mine.toml")
        mine.parent.mkdir(parents=True)
        mine.write_text(text, encoding="utf-8", errors="replace")
        command("list", "--sheets", folder)
        name = next(iter(data), "mini_xception") if mine.parent == folder else "mini_xception"
        command("show", name or "x", "--sheets", folder)
        command("audit", "--from", RECOUNTS, "--sheets", folder, "--paper", "mine") if number % 3 == 2 else None
        command("report", REPORTS / "occupancy-cpu" / "results.json", "--sheets", folder)
    assert exit_codes.OK in command.ends


@pytest.mark.faults
def test_no_baseline_breaks_the_gate(mutations, command, tmp_path):
    """The checksum is made anew, so that what is below it is read, too; counting, which takes long, is done before."""
    known = json.loads((ROOT / "benchmarks" / "baseline.json").read_text())
    names = ["mtcnn_pnet", "mini_xception"]
    known["networks"] = {name: known["networks"][name] for name in names}
    counted = {result.subject.name: result for result in read_file(REPORTS / "counts" / "results.json")}
    results = {name: counted[name] for name in names}
    file = tmp_path / "baseline.json"
    read = 0
    for _, draw in mutations("baselines"):
        data = json.loads(json.dumps(known))
        del data["checksum"]
        said = mutate(draw.choice((data, data["networks"], data["networks"][names[0]])), draw)
        with contextlib.suppress(ValueError, RecursionError):
            data["checksum"] = baseline._checksum(json.loads(json.dumps(data)))
        text = json.dumps(data)
        if draw.random() < 0.1:
            text, said = damage(text, draw)
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            found = baseline.read(file)
            verdicts, _ = baseline.judge(found, results, names)
            again = baseline.with_accepted(found, results, verdicts, reason="fuzz", when="2026-11-26")
            baseline.write(file, again)
            read += 1
        except FerBenchError:
            pass  # one message
        except BaseException as error:
            raise AssertionError(f"{command.mutation}: {said}: {error!r}") from error
    assert read


@pytest.mark.parametrize("text", ["[" * 100_000, '{"fer_bench_export": 1, "runs": ' + "[" * 100_000, "9" * 5000])
def test_what_no_parser_should_read_is_one_line(command, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    command.mutation = "none"
    assert command("import", tmp_path / "x.json", "--store", tmp_path / "results.sqlite") == exit_codes.FAILED
    with pytest.raises(ValueError, match=r"nested deeper|Exceeds the limit|Extra data|."):
        schema.parse(text)
