"""No secret is written down or printed."""

import shlex

import pytest

from fer_bench.cli.main import main
from fer_bench.records.errors import StoreError
from fer_bench.records.masking import command_line, masked, masked_url
from fer_bench.records.store import Store

# Passwords that users have, each with the part of it that must not be seen: all of its letters.
PASSWORDS = ["Geheim7", "p@ss/w:rd", "a@b@c", "x y", "q?r=s", "h#i", "a&b", "per%40cent", "'quoted'", "100@5432/db"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:{}@host/results",
        "postgres://me:{}@host:5432/results?sslmode=require",
        "postgresql+psycopg://:{}@/results",
        "postgresql//me:{}@host/results",
        "postgresql:/me:{}@host/results",
        "postgresql://host/results?user=me&password={}",
        "postgresql://host/results?sslpassword={}",
    ],
)
def test_a_url_is_shown_without_its_password(url, password):
    shown = masked_url(url.format(password))
    assert shown == url.format("***").partition("***")[0] + "***" + (url.partition("{}")[2])
    for line in (
        command_line(["report", "last", "--store", url.format(password)]),
        command_line(["report", "last", f"--store={url.format(password)}"]),
    ):
        assert password not in line
        assert shlex.split(line)[-1].removeprefix("--store=") == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "pip install git+https://tok123@github.com/me/x && make",
            "pip install git+https://***@github.com/me/x && make",
        ),
        (
            "git clone https://me:tok123@host/x https://b:tok123@host/y",
            "git clone https://me:***@host/x https://b:***@host/y",
        ),
        ("PGPASSWORD=tok123 make", "PGPASSWORD=*** make"),
        ("export HF_TOKEN='tok123 tok123'; make", "export HF_TOKEN=***; make"),
        ("curl --token tok123 --api-key=tok123", "curl --token *** --api-key=***"),
        ("curl -H 'Authorization: Bearer tok123'", "curl -H 'Authorization: Bearer ***'"),
        ("curl https://host/x?access_token=tok123", "curl https://host/x?access_token=***"),
    ],
)
def test_a_command_is_shown_without_its_secrets(text, shown):
    assert masked(text) == shown
    assert "tok123" not in command_line(["gate", "--setup", text])


@pytest.mark.parametrize(
    "word",
    [
        *("resnet50", "--input=3x96x96", "file.py:factory", "3x224x224", "key=value", "sqlite:///a/b.sqlite"),
        *("postgresql://host:5432/results", "postgresql://me@host/results", "results/2026:11@home.json", "a@b"),
        *("--set=tokens=3", "tokens:77:int64", "image:3x224x224,tokens:77:int64", "torchvision:vit_b_16"),
    ],
)
def test_what_is_no_secret_stays(word):
    assert masked(word) == masked_url(word) == word


@pytest.mark.parametrize("password", [each for each in PASSWORDS if "@" in each])
def test_a_raw_password_is_no_host_to_look_up(password, monkeypatch):
    """Where a password has an @, what follows it would be the host."""
    monkeypatch.setattr("sqlalchemy.create_engine", lambda *_a, **_k: pytest.fail("connects"))
    with pytest.raises(StoreError, match=r"names no store.*written %40 or %2F") as said:
        Store.open(f"postgresql://me:{password}@localhost/results")
    assert "me:***@localhost" in str(said.value)


SECRET = "Geheim-7"
URL = f"postgresql://me:{SECRET}@127.0.0.1:1/results"  # where nobody listens
COMMANDS = [
    ["runs"],
    ["show-run", "last"],
    ["export"],
    ["import", "{export}"],
    ["delete", "last", "--yes"],
    ["report"],
    ["why", "efficiency", "x", "macs"],
    ["history", "resnet50"],
    ["run", "mini_xception", "--metrics", "static"],
    ["compare", "resnet50", "resnet18"],
    ["gate", "--against", "last"],
]


@pytest.mark.parametrize("store", [URL, URL.replace(SECRET, f"x@{SECRET}/y:z"), f"postgresql://me:{SECRET}"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_no_command_prints_the_password_of_a_store_that_fails(command, store, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export.json").write_text('{"fer_bench_export": 1, "runs": []}')
    words = [word.format(export="export.json") for word in command]
    assert main([*words, "--store", store, "--debug"] if command[0] == "run" else [*words, "--store", store]) != 0
    out, err = capfd.readouterr()
    assert SECRET not in out + err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_no_file_of_the_gate_has_the_password(tmp_path, monkeypatch, capfd):
    """The command line is recorded by the baseline and each report."""
    monkeypatch.chdir(tmp_path)
    words = ["gate", "mini_xception", "--baseline", "kept.json", "--store", URL]
    monkeypatch.setattr("sys.argv", ["fer-bench", *words])
    more = ["--summary", "summary.md", "--junit", "junit.xml", "--json", "gate.json"]
    assert main([*words, "--accept", "first", *more]) == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(written) == {"kept.json", "summary.md", "junit.xml", "gate.json"}
    assert SECRET not in "".join(written.values()) + "".join(capfd.readouterr())
    for name in ("kept.json", "gate.json"):
        assert "me:***@127.0.0.1" in written[name]
