"""Files that users asked for: whole or not at all."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from fer_bench.cli.main import main
from fer_bench.records import files
from fer_bench.records.errors import StoreError
from fer_bench.records.store import Store


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "file.json"
    files.write(found, "before\n")
    return found


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    files.write(tmp_path / "a", "é\r\n")
    files.write(tmp_path / "b", b"\x00\xff")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"\xc3\xa9\r\n", b"\x00\xff")


def fill_the_disk(*_arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["fsync", "replace", "rename"])
def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(path, monkeypatch, step):
    monkeypatch.setattr(os, step, fill_the_disk)
    if step == "rename":  # as pathlib moves a file, in some versions
        monkeypatch.setattr(os, "replace", fill_the_disk)
    with pytest.raises(StoreError, match=r"cannot write .*No space left.* is unchanged: free some space"):
        files.write(path, "after\n")
    assert path.read_text() == "before\n"
    assert os.listdir(path.parent) == [path.name]


@pytest.fixture
def results(tmp_path, make_result):
    """A store with a run of two networks."""
    store = tmp_path / "results.sqlite"
    with Store.open(str(store), create=True) as opened:
        run = opened.begin("", "a run")
        for name in ("resnet50", "mini_xception"):
            opened.save(run, name, make_result(name))
        opened.finish(run)
    return store


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--out", "{file}", "--store", "{store}"),
        ("report", "--html", "{file}", "--store", "{store}"),
        ("report", "--out", "{folder}", "--store", "{store}"),
        ("report", "--figures", "{folder}", "--figure-types", "svg", "--store", "{store}"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_what_a_command_wrote_before_survives_a_full_disk(tmp_path, results, arguments, monkeypatch, capsys):
    file, folder = tmp_path / "out" / "file", tmp_path / "out"
    folder.mkdir()
    words = [word.format(file=file, folder=folder, store=results) for word in arguments]
    assert main(words) == 0
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert before
    monkeypatch.setattr(os, "fsync", fill_the_disk)
    assert main(words) == 1
    assert "cannot write" in capsys.readouterr().err
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_a_link_stays_one_and_the_file_keeps_its_mode(path, tmp_path):
    assert stat.S_IMODE(path.stat().st_mode) & 0o444  # of a new one, what the process's mask leaves
    path.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(path.name)
    files.write(link, "after\n")
    assert link.is_symlink()
    assert path.read_text() == "after\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("write", [files.write, files.append])
def test_a_store_is_not_written_over(tmp_path, write):
    store = tmp_path / "results.sqlite"
    with Store.open(str(store), create=True) as opened:
        opened.begin("", "a run")
    before = store.read_bytes()
    (tmp_path / "link").symlink_to(store.name)
    for name in ("results.sqlite", "results.sqlite-wal", "link"):
        with pytest.raises(StoreError, match=r"results.sqlite is a store, .*: name another file"):
            write(tmp_path / name, "{}")
    assert store.read_bytes() == before
    assert main(["export", "--out", str(store), "--store", str(store)]) == 1
    assert store.read_bytes() == before


@pytest.mark.parametrize("write", [files.write, files.append])
def test_what_cannot_be_written_is_said_with_what_to_do(tmp_path, write):
    with pytest.raises(StoreError, match=r"cannot write .*No such file.*: make its folder first"):
        write(tmp_path / "no" / "file", "x")
    with pytest.raises(StoreError, match=r"cannot write .*: it is a folder, name a file"):
        write(tmp_path, "x")


@pytest.mark.parametrize("write", [files.write, files.append])
def test_what_is_no_file_is_written_to_as_it_is(tmp_path, write):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(pipe, "text")
    assert os.read(reader, 99) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# As a program: a function of this module could not be sent to another process, which does not know the module's name.
APPEND_OFTEN = """
import sys
from pathlib import Path
from fer_bench.records import files
for _ in range(50):
    files.append(Path(sys.argv[1]), sys.argv[2] * 20_000 + "\\n")
"""


def test_several_processes_append_whole_texts(tmp_path):
    path = tmp_path / "summary.md"
    writers = [subprocess.Popen([sys.executable, "-c", APPEND_OFTEN, path, letter]) for letter in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    texts = path.read_text().split("\n\n")
    assert len(texts) == 150
    assert {text.strip("\n") for text in texts} == {letter * 20_000 for letter in "abc"}


def test_a_text_that_does_not_fit_is_taken_back(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fill_the_disk)
    with pytest.raises(StoreError, match="No space left"):
        files.append(path, "after\n")
    assert path.read_text() == "before\n"
