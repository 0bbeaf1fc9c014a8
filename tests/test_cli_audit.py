"""`fer-bench audit` as a user calls it, on a network and figures of their own."""

import importlib.metadata
import json
import subprocess
import sys
from datetime import timedelta

import pytest
from torch import nn

from fer_bench.auditing import audit as recounting
from fer_bench.cli.main import main
from fer_bench.records.store import Store
from support.processes import wait_until

CODE = """
from torch import nn


def tiny(num_classes=7):
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, num_classes),
    )
"""


def parameters(classes=7):
    """By hand: two convolutions with biases, a batch norm's scale and shift, the classifier."""
    return 24 * (27 + 1) + 2 * 24 + 48 * (24 * 9 + 1) + classes * (48 + 1)


def macs(side, classes=7):
    return (side // 2) ** 2 * 24 * 27 + (side // 4) ** 2 * 48 * 24 * 9 + classes * 48


def figure(quantity, printed, unit="", **rest):
    fields = {"quantity": quantity, "printed": printed, "unit": unit, "paper": "mine", "where": "Table 1", **rest}
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in fields.items()) + " }"


PLANTED = {
    "right": figure("parameters", f"{parameters()}", row="right", column="a"),
    "twice": figure("parameters", f"{2 * parameters()}", row="twice", column="b"),
    "head": figure("parameters", f"{parameters(1000)}", row="head", column="c"),
    "macs": figure("flops", f"{macs(64) / 1e6:.4f}", "M", row="macs", column="d"),
    "size": figure("flops", f"{2 * macs(96) / 1e6:.5f}", "M", row="size", column="e"),
    "nothing": figure("parameters", "31337", row="nothing", column="f"),
    "time": figure("latency", "1.5", "ns", row="time", column="g", convention="one RTX 3090"),
    "ratio": figure("parameter_ratio", "3.5", "times", row="ratio", column="h", arithmetic="10 / 4"),
    "words": figure("accuracy_rank", "the best", row="words", column="i"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sheets = tmp_path / "sheets"
    (sheets / "papers").mkdir(parents=True)
    (sheets / "mine.py").write_text(CODE)
    (sheets / "mine.toml").write_text(
        '[tiny]\ntitle = "Tiny"\ninput_shape = [3, 64, 64]\nnum_classes = 7\n'
        f"published = [\n  {', '.join(PLANTED.values())},\n]\n".replace(" }, {", " },\n  {")
    )
    (sheets / "papers" / "mine.toml").write_text('[paper]\nid = "mine"\ntitle = "My <paper>"\n')
    return sheets


def audit(capsys, *arguments):
    code = main(["audit", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_hand_counts_are_those_of_the_network():
    scope: dict[str, object] = {}
    exec(CODE, scope)  # our own text, above
    network = scope["tiny"](1000)
    assert isinstance(network, nn.Module)
    assert sum(p.numel() for p in network.parameters()) == parameters(1000)


@pytest.mark.slow
def test_what_was_planted_is_found_and_explained(folder, capsys, tmp_path):
    code, out, err = audit(capsys, "--sheets", folder, "--paper", "mine", "--format", "json", "--save", "counts.json")
    rows = {row["where"].split(", ")[1]: row for row in json.loads(out)[0]["rows"]}
    assert {place: row["verdict"] for place, row in rows.items()} == {
        "right": "confirmed",
        "twice": "slip",
        "head": "another build",
        "macs": "another convention",
        "size": "another build",
        "nothing": "refuted",
        "time": "unit error",
        "ratio": "contradicts itself",
        "words": "statement",
    }
    assert "twice" in rows["twice"]["line"]
    assert "1000 classes" in rows["head"]["line"]
    assert rows["macs"]["line"].startswith("MACs")
    assert "96x96 input" in rows["size"]["line"]
    assert rows["nothing"]["ours"] == f"{parameters():,}"
    assert code == 1
    assert "6 of 9 figures do not stand" in err

    # With the recounts nothing is counted again, and the answer is the same.
    again = audit(capsys, "--sheets", folder, "--paper", "mine", "--format", "json", "--from", "counts.json")
    assert again[1] == out
    assert "tiny" not in again[2]
    assert audit(capsys, "--sheets", folder, "--paper", "mine", "--from", "counts.json", "--exit-zero")[0] == 0

    only_wrong = audit(capsys, "--sheets", folder, "--paper", "mine", "--from", "counts.json", "--wrong")
    assert "confirmed" in only_wrong[1]  # in the summary, which is of all
    assert "Table 1, right, a" not in only_wrong[1]

    assert audit(capsys, "--sheets", folder, "--models", "tiny", "--from", "counts.json", "--out", "drawn")[1] == ""
    names = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert names == {
        "audit.csv",
        "audit.json",
        "audit_mine.md",
        "audit_mine.tex",
        "audit_summary.md",
        "audit_summary.tex",
    }
    assert "My &lt;paper>" in (tmp_path / "drawn" / "audit_mine.md").read_text()


@pytest.mark.slow
def test_a_published_table_of_known_networks_is_audited(folder, capsys, tmp_path):
    (tmp_path / "theirs.csv").write_text(
        "Model,Params,GFLOPs,Classes\nMini-Xception,58423,,7\nOurNet,3M,1,7\ntiny-Xception,1234567,,7\n"
    )
    code, out, _ = audit(capsys, "--table", "theirs.csv", "--format", "json")
    rows = json.loads(out)[0]["rows"]
    assert [(row["subject"], row["verdict"]) for row in rows] == [
        ("Mini-Xception", "another convention"),
        ("OurNet", "out of scope"),
        ("OurNet", "out of scope"),
        ("tiny-Xception", "not explained"),  # of no build that the audit knows, which is no proof that it is wrong
    ]
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--paper", "999"], "--paper 999: there are figures of 000"),
        (["--models", "resnett50"], "did you mean resnet50"),
        (["--paper", "000", "--models", "rarn"], "no printed figure is left"),
        (["--sheets", "missing"], "there is no such folder"),
        (["--from", "missing.json"], "cannot read missing.json"),
        (["--from", "rubbish.json"], "rubbish.json: not a result of fer_bench"),
        (["--table", "missing.csv"], "cannot read the table missing.csv"),
        (["--table", "theirs.csv", "--paper", "000"], "leave --paper and --models out"),
        (["--classes", "7"], "--classes and --input are of --table"),
        (["--table", "theirs.csv", "--input", "48x48"], "is not CxHxW"),
        (["--table", "theirs.csv"], "of how many classes is resnet50"),
    ],
)
def test_a_mistake_gets_one_line(folder, capsys, tmp_path, arguments, message):
    (tmp_path / "rubbish.json").write_text("{}")
    (tmp_path / "theirs.csv").write_text("Model,Params\nresnet50,25.5M\n")
    code, out, err = audit(capsys, *arguments)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert message in err


@pytest.mark.slow
def test_a_network_that_cannot_be_counted_costs_its_own_figures_only(folder, capsys):
    (folder / "broken.py").write_text("def broken(num_classes=7):\n    raise RuntimeError('no such weights')\n")
    printed = f"{figure('parameters', '1.5', 'M')}, {figure('accuracy', '70', '%')}"
    (folder / "broken.toml").write_text(f'[broken]\ntitle = "Broken"\npublished = [ {printed} ]\n')
    code, out, err = audit(capsys, "--sheets", folder, "--models", "broken", "--format", "json")
    assert [row["verdict"] for row in json.loads(out)[0]["rows"]] == ["out of scope", "out of scope"]
    assert "no such weights" in err
    assert code == 0


@pytest.mark.slow
def test_counts_that_cannot_be_saved_are_reported(folder, capsys, tmp_path):
    code, _, err = audit(capsys, "--sheets", folder, "--models", "tiny", "--save", tmp_path / "missing" / "counts.json")
    assert code == 3
    assert "cannot write" in err


WAITS = """
import os, time
from torch import nn


def net(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


def counted(num_classes=7):
    with open("built", "a") as file:
        file.write("x")
    return net(num_classes)


def waits(num_classes=7):
    open("waits_now", "w").close()
    while not os.path.exists("go_on"):
        time.sleep(0.05)
    return net(num_classes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("edited", [False, True])
def test_an_audit_that_was_killed_goes_on_where_it_was_unless_the_code_was_edited(folder, tmp_path, cache, edited):
    (folder / "odd.py").write_text(WAITS)
    printed = figure("parameters", "1.5", "M", paper="odd")
    (folder / "odd.toml").write_text(
        "".join(f'[{name}]\ntitle = "Odd"\npublished = [ {printed} ]\n' for name in ("counted", "waits"))
    )
    command = [sys.executable, "-m", "fer_bench.cli", "audit", "--sheets", folder, "--models", "counted,waits"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until((tmp_path / "waits_now").exists)
    first.kill()
    first.communicate()
    built = (tmp_path / "built").read_text()
    (tmp_path / "go_on").touch()
    if edited:
        (folder / "odd.py").write_text(WAITS + "\n# edited\n")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ("The audit goes on: 1 of 2 networks are counted.\n" in again.stderr) == (not edited), again.stderr
    assert (tmp_path / "built").read_text() == built * (2 if edited else 1)
    with Store.open(str(cache / "fer-bench" / "audits.sqlite"), create=False) as store:
        assert [run.state for run in store.runs()] == (["interrupted"] if edited else [])


@pytest.mark.slow
def test_without_a_cache_folder_an_audit_counts_as_ever(folder, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, out, _ = audit(capsys, "--sheets", folder, "--models", "tiny", "--format", "json")
    assert code == 1
    assert json.loads(out)


def test_recounts_of_long_ago_and_of_other_code_are_not_gone_on_with(cache, monkeypatch):
    with recounting._unfinished_counts() as store:
        mark = recounting._counted_by()
        run = store.begin(mark, "recounts for an audit")
        store.release(run)
        assert recounting._resumed(store, "another mark", 3, show=True) == ""
        assert recounting._resumed(store, mark, 3, show=True) == run
        store.release(run)
        monkeypatch.setattr(recounting, "_KEPT", timedelta(0))
        assert recounting._resumed(store, mark, 3, show=True) == ""
        assert store.runs() == []
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "another")
    assert recounting._counted_by() != mark
