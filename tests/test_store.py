"""Results on the disk: nothing that was added is lost."""

import resource
import signal

import pytest

from fer_bench import store
from fer_bench.errors import StoreError


def test_results_come_back_in_order_from_a_file_or_its_folder(tmp_path, make_result):
    file = tmp_path / "deep" / "results.jsonl"
    store.check_writable(file)
    for name in ("b", "a"):
        store.append(file, make_result(name))
    for place in (file, file.parent):
        assert store.load(place) == [make_result("b"), make_result("a")]


def test_a_torn_last_line_is_passed_over_and_the_next_result_takes_its_place(tmp_path, make_result):
    file = tmp_path / "results.jsonl"
    store.append(file, make_result("a"))
    with file.open("a") as torn:
        torn.write(make_result("b").to_json()[:50])
    assert [r.subject.name for r in store.load(file)] == ["a"]
    store.append(file, make_result("c"))
    assert [r.subject.name for r in store.load(file)] == ["a", "c"]


def test_a_line_that_is_no_result_is_told_by_its_number(tmp_path, make_result):
    file = tmp_path / "results.jsonl"
    file.write_text(make_result().to_json() + "\nnonsense\n")
    with pytest.raises(StoreError, match="line 2: not a result"):
        store.load(file)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_missing_or_no_text_is_named(tmp_path, content):
    file = tmp_path / "results.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StoreError, match=r"results\.jsonl"):
        store.load(file)


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*--out"):
        store.check_writable(tmp_path / "file" / "results.jsonl")


def test_a_full_disk_is_told_and_what_was_there_stays_readable(tmp_path, make_result):
    file = tmp_path / "results.jsonl"
    store.append(file, make_result("a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 100, hard))
        with pytest.raises(StoreError, match=r"cannot write to .*free some space"):
            store.append(file, make_result("b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert store.load(file) == [make_result("a")]
