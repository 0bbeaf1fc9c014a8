"""A store keeps what was saved, through kills, full disks and many writers; in SQLite and PostgreSQL alike."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from fer_bench.records import database
from fer_bench.records import store as records_store
from fer_bench.records.errors import StoreBusyError, StoreError, UnstorableError
from fer_bench.records.exchange import export, import_runs, keep, read_file
from fer_bench.records.result import Measurement
from fer_bench.records.store import LEASE_S, Store
from support import postgres
from support.samples import ENVIRONMENT

ELSEWHERE = dataclasses.replace(ENVIRONMENT, cpu="Another CPU")


@pytest.fixture(scope="session")
def postgres_server():
    with postgres.server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server):
    with postgres.database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/deep/results.sqlite"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request):
    """An empty store's URL, of either kind."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def store(url):
    with Store.open(url) as store:
        yield store


@pytest.fixture
def other_url(tmp_path):
    return f"sqlite:///{tmp_path}/other.sqlite"


def execute(url, *statements):
    """Do something to a store behind its back."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return [
            result.all() if result.returns_rows else None
            for result in (connection.exec_driver_sql(statement) for statement in statements)
        ]


def python(code, *arguments):
    """Start a process that has opened the store in its first argument."""
    opened = (
        "import sys, json, os; from fer_bench.records.store import Store; from fer_bench.records.result import Result\n"
    )
    opened += "store = Store.open(sys.argv[1])\n"
    command = [sys.executable, "-c", opened + code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# What goes in comes out


def test_results_come_back_as_they_were_in_the_order_saved(store, make_result):
    awkward = Measurement(
        "odd_j",
        "J",
        (0.1, 1 / 3, 5e-324, 1.7976931348623157e99, -0.0, 2**53 + 1, 123456789.12345679),
        process=3,
        details={"text": 'é × "\\ \x01 \u2028', "nested": {"b": [1, 2.5, None, True], "a": {}}},
        warnings=("first", "second"),
        failure="",
    )
    failed = Measurement("macs", "count", failure="uncounted: aten::odd")
    given = [
        make_result("b", awkward, failed, settings=("width=0.5",), uncertain=("macs",)),
        dataclasses.replace(make_result("a", without=("macs",), input_shape=None), environment=None),
        dataclasses.replace(make_result("c"), measurements=()),
    ]
    run_id = store.begin("print", "title")
    for result in given:
        store.save(run_id, f"key of {result.subject.name}", result)
    assert store.results(run_id) == given
    assert [key for key, _ in store.done(run_id)] == ["key of b", "key of a", "key of c"]
    values = store.results(run_id)[0].samples("odd_j")[0]
    assert list(map(repr, values)) == list(map(repr, awkward.values))


def test_a_key_saved_again_replaces_its_result(store, make_result):
    run_id = store.begin("print", "title")
    for key, name in (("1", "a"), ("2", "b"), ("1", "c")):
        store.save(run_id, key, make_result(name))
    assert [(key, result.subject.name) for key, result in store.done(run_id)] == [("2", "b"), ("1", "c")]


def test_results_in_the_same_environment_share_it_and_the_last_one_takes_it_along(store, url, make_result):
    run_id, other = store.begin("print", "title"), store.begin("print", "title")
    for holder, key in ((run_id, "1"), (run_id, "2"), (other, "1")):
        store.save(holder, key, make_result())
    count = "SELECT count(*) FROM environments", "SELECT count(*) FROM measurements"
    assert execute(url, *count) == [[(1,)], [(3 * 7,)]]
    store.delete(run_id)
    assert execute(url, *count) == [[(1,)], [(7,)]]
    store.delete(other)
    assert execute(url, *count) == [[(0,)], [(0,)]]


def test_the_results_of_a_network_are_those_of_its_runs_with_the_measurements_asked_for(store, make_result):
    energy = {"images": 2, "idle_joules": 1, "idle_w": 0.5, "window_s": 1.5, "source": "RAPL", "text": "é"}
    given = make_result("a", Measurement("energy_j", "J", (1, 0.5), 2, energy, ("noisy",)))
    given = dataclasses.replace(given, environment=dataclasses.replace(given.environment, gpu={"name": "A GPU"}))
    bare = dataclasses.replace(make_result("a", Measurement("energy_j", "J", failure="no counter")), environment=None)
    runs = [store.begin("print", "title") for _ in range(2)]
    store.save(runs[1], "1", given)
    for key, result in (("1", make_result("b")), ("2", bare)):
        store.save(runs[0], key, result)
    for details in (True, False):
        found = [(run, result) for _, run, result in store.results_of("a", ["macs", "energy_j"], details=details)]
        expected = [
            dataclasses.replace(
                result,
                measurements=tuple(
                    dataclasses.replace(m, warnings=(), details=m.details if details else {})
                    for m in result.measurements
                    if m.metric in ("macs", "energy_j")
                ),
            )
            for result in (given, bare)
        ]
        assert found == list(zip((runs[1], runs[0]), expected, strict=True))
    assert store.networks() == ["a", "b"]
    assert store.metrics("a") == {m.metric: m.unit for m in given.measurements}
    assert [result.measurements for *_, result in store.results_of("b", ["nothing"])] == [()]


def test_runs_are_reported_newest_first_and_found_by_the_beginning_of_their_id(store, make_result):
    with pytest.raises(StoreError, match=r"no runs in .* yet; `fer-bench run`"):
        store.find_run("last")
    first, second = store.begin("print", "first"), store.begin("print", "second")
    for key, name in (("1", "b"), ("2", "a"), ("3", "b")):
        store.save(first, key, make_result(name))
    store.finish(first)
    newest, oldest = store.runs()
    assert (newest.id, newest.title, newest.results, newest.networks) == (second, "second", 0, ())
    assert (newest.state, newest.finished_at) == ("under way", None)
    assert (oldest.id, oldest.state, oldest.results, oldest.networks) == (first, "finished", 3, ("b", "a"))
    assert oldest.started_at < oldest.finished_at
    assert store.find_run("last") == newest
    assert store.find_run(first) == oldest
    assert store.find_run(first[:11]) == oldest
    for nonsense in ("nonsense", ""):
        with pytest.raises(StoreError, match=rf"no run '{nonsense}' in .*{second} \(second.*{first} \(first"):
            store.find_run(nonsense)


def test_a_beginning_of_two_ids_names_both(store):
    run = {"title": "t", "started_at": "2026", "finished_at": "2027", "fingerprint": "", "results": []}
    runs = [{"id": "abc1", **run}, {"id": "abc2", **run}]
    import_runs(store, json.dumps({"fer_bench_export": 1, "runs": runs}))
    with pytest.raises(StoreError, match=r"'abc' matches 2 runs: abc1 .*abc2 .*give more"):
        store.find_run("abc")


@pytest.mark.parametrize("act", ["save", "finish", "delete", "done", "resume", "release"])
def test_a_run_that_is_not_there_is_reported(store, make_result, act):
    more = ("key", make_result()) if act == "save" else ()
    with pytest.raises(StoreError, match="no run 0123456789ab in"):
        getattr(store, act)("0123456789ab", *more)


@pytest.mark.parametrize("text", ["results.sqlite", "folder/x.db", "sqlite:///relative.sqlite"])
def test_a_path_is_sqlite_relative_to_the_working_folder(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with Store.open(text) as store:
        run_id = store.begin("print", "title")
    assert (tmp_path / text.removeprefix("sqlite:///")).exists()
    with Store.open(text, create=False) as store:
        assert store.find_run("last").id == run_id


def test_importing_the_store_does_not_load_sqlalchemy():
    code = "import sys, fer_bench.records.store; print('sqlalchemy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_sqlite_lets_readers_in_while_it_is_written_to(sqlite_url):
    with Store.open(sqlite_url) as store:
        assert execute(sqlite_url, "PRAGMA journal_mode") == [[("wal",)]]
        engine = sa.create_engine(sqlite_url, poolclass=sa.NullPool)
        with engine.connect() as writer:
            writer.exec_driver_sql("BEGIN IMMEDIATE")
            writer.exec_driver_sql("UPDATE schema_info SET version = 99")
            assert store.runs() == []


# Many writers, killed writers


def test_writers_at_once_lose_nothing(url, make_result):
    code = """
run_id = store.begin("print", sys.argv[2])
for number in range(20):
    store.save(run_id, str(number), Result.from_json(sys.argv[3]))
store.finish(run_id)
"""
    writers = [python(code, url, name, make_result(name).to_json()) for name in ("a", "b")]  # both make the tables
    for writer in writers:
        assert writer.communicate(timeout=100)[1] == ""
    with Store.open(url, create=False) as store:
        assert {run.title: (run.state, run.results) for run in store.runs()} == dict.fromkeys(
            ("a", "b"), ("finished", 20)
        )
        for run in store.runs():
            assert store.results(run.id) == [make_result(run.title)] * 20


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_what_a_writer_saved_before_it_was_stopped_is_there_and_its_run_goes_on(url, make_result, stop):
    code = """
import itertools, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
run_id = store.begin("print", "title")
for number in itertools.count():
    store.save(run_id, str(number), Result.from_json(sys.argv[2]))
    print(number, flush=True)
"""
    writer = python(code, url, make_result().to_json())
    for _ in range(15):
        writer.stdout.readline()
    writer.send_signal(stop)
    said = 15 + len(writer.stdout.readlines())  # communicate would miss what readline has read ahead
    writer.communicate(timeout=100)
    with Store.open(url) as store:
        run = store.resumable("print")
        assert run.state == "interrupted"
        assert said <= run.results <= said + 1
        assert store.results(run.id) == [make_result()] * run.results
        assert store.resume(run.id)
        store.save(run.id, "more", make_result("more"))
        assert [key for key, _ in store.done(run.id)] == [*map(str, range(run.results)), "more"]


def test_an_interrupt_in_a_save_saves_all_or_nothing(store, make_result):
    run_id = store.begin("print", "title")
    store.save(run_id, "1", make_result("before"))
    statements = 0
    interrupted = 0

    def interrupt(*_):
        nonlocal statements
        statements -= 1
        if statements < 0:
            raise KeyboardInterrupt

    for event in ("before_cursor_execute", "commit"):
        for allowed in range(20):
            statements = allowed
            sa.event.listen(sa.Engine, event, interrupt)
            try:
                store.save(run_id, "1", make_result("after"))
                break
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                sa.event.remove(sa.Engine, event, interrupt)
            assert store.results(run_id) == [make_result("before")]
        assert store.results(run_id) == [make_result("after")]
        store.save(run_id, "1", make_result("before"))
    assert interrupted > 5


# Resuming


def held(store, url, **changes):
    """Begin a run and change its holder."""
    run_id = store.begin("print", "title")
    [[(holder,)]] = execute(url, f"SELECT CAST(holder AS TEXT) FROM runs WHERE id = '{run_id}'")
    changed = json.dumps(json.loads(holder) | changes)
    execute(url, f"UPDATE runs SET holder = '{changed}' WHERE id = '{run_id}'")
    return run_id


@pytest.fixture
def dead_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_run_is_interrupted_when_its_process_is_gone_even_if_another_has_its_number(store, url, dead_pid):
    for change in ({"pid": dead_pid}, {"process_started": 1}):
        run_id = held(store, url, **change)
        assert store.find_run(run_id).state == "interrupted"
        assert store.resumable("print").id == run_id
        assert store.resumable("another print") is None
        assert store.resume(run_id)
        assert store.find_run(run_id).state == "under way"
        assert store.resumable("print") is None
        assert not store.resume(run_id)


def test_the_latest_interrupted_run_is_resumed(store, url, dead_pid):
    held(store, url, pid=dead_pid)
    later = held(store, url, pid=dead_pid)
    store.begin("print", "under way")
    assert store.resumable("print").id == later


def test_a_process_that_was_killed_and_not_yet_waited_for_is_gone(store, url):
    zombie = subprocess.Popen(["sleep", "100"])
    started = int(Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[19])
    run_id = held(store, url, pid=zombie.pid, process_started=started)
    assert store.find_run(run_id).state == "under way"
    zombie.kill()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert store.find_run(run_id).state == "interrupted"
    zombie.wait()


# Another container of this host, whose processes have numbers of their own; another host; this one, started anew.
ELSEWHERE = ({"namespace": "pid:[1]"}, {"host": "another"}, {"machine": "another"}, {"boot": "another"})


@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=lambda change: next(iter(change)))
def test_of_a_process_elsewhere_the_lease_says_whether_it_lives(store, url, elsewhere, dead_pid):
    run_id = held(store, url, **elsewhere, pid=dead_pid, process_started=1)
    assert store.find_run(run_id).state == "under way"
    assert store.resumable("print") is None
    assert not store.resume(run_id)
    told = rf"^run {run_id} is under way in process {dead_pid} of .*, or was killed: "
    with Store.open(url) as other, pytest.raises(StoreError, match=told):
        other.delete(run_id)
    held_elsewhere = store.held_elsewhere("print")
    assert held_elsewhere.startswith(f"run {run_id} is under way in process {dead_pid} of ")
    assert 0 < int(held_elsewhere.split()[-2]) <= LEASE_S
    assert store.held_elsewhere("another print") == ""
    run_out = held(store, url, **elsewhere, expires_s=time.time() - 1)
    assert store.find_run(run_out).state == "interrupted"
    assert store.resumable("print").id == run_out
    assert store.resume(run_out)
    assert store.find_run(run_out).state == "under way"


def test_a_process_of_this_machine_that_was_stopped_for_longer_than_its_lease_keeps_its_run(store, url):
    run_id = held(store, url, expires_s=0)
    assert store.find_run(run_id).state == "under way"
    assert store.held_elsewhere("print") == ""


@pytest.mark.parametrize(("boot", "host", "state"), [("b", "h", "elsewhere"), ("b", None, "interrupted")])
def test_a_holder_of_a_store_from_before_there_were_leases(store, url, boot, host, state):
    run_id = store.begin("print", "title")
    here = json.loads(execute(url, "SELECT CAST(holder AS TEXT) FROM runs")[0][0][0])
    old = {name: here[name] for name in ("host", "machine", "boot", "pid", "process_started")}
    execute(url, f"UPDATE runs SET holder = '{json.dumps(old)}'")
    with Store.open(url) as other:
        assert other.find_run(run_id).state == "under way"
        execute(url, f"UPDATE runs SET holder = '{json.dumps(old | {'boot': boot, 'host': host or old['host']})}'")
        assert other.find_run(run_id).state == state
        assert other.resume(run_id)


def test_a_lease_is_renewed_while_a_network_is_measured(store, url, monkeypatch):
    monkeypatch.setattr(records_store, "HEARTBEAT_S", 0.01)
    run_id = held(store, url, expires_s=1)

    def expires_s():
        [[(holder,)]] = execute(url, f"SELECT CAST(holder AS TEXT) FROM runs WHERE id = '{run_id}'")
        return json.loads(holder)["expires_s"]

    with store.held(run_id):
        for _ in range(1000):
            if expires_s() > 1:
                break
            time.sleep(0.01)
    assert expires_s() == pytest.approx(time.time() + LEASE_S, abs=60)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease of")]


def test_a_heartbeat_that_fails_is_followed_by_another(store, monkeypatch):
    monkeypatch.setattr(records_store, "HEARTBEAT_S", 0.001)
    beats = []

    def renew(run_id):
        beats.append(run_id)
        raise StoreError("locked")

    monkeypatch.setattr(store, "renew", renew)
    with store.held("run"):
        for _ in range(1000):
            if len(beats) > 2:
                break
            time.sleep(0.01)
    assert beats[:3] == ["run"] * 3


def test_a_process_that_lost_its_run_saves_nothing_more_into_it_and_leaves_it_to_the_other(url, make_result):
    with Store.open(url) as store, Store.open(url) as other:
        run_id = held(store, url, namespace="pid:[1]", expires_s=0)
        assert other.resume(run_id)
        store.renew(run_id)
        store.release(run_id)
        assert store.find_run(run_id).state == "under way"
        for act in (lambda: store.save(run_id, "1", make_result()), lambda: store.finish(run_id)):
            with pytest.raises(
                StoreError, match=rf"^run {run_id} is under way in process {os.getpid()} .*took it over"
            ):
                act()
        other.save(run_id, "1", make_result())
        other.finish(run_id)
        assert store.results(run_id) == [make_result()]


def test_a_run_under_way_is_not_deleted_and_one_that_has_ended_is(url):
    with Store.open(url) as store, Store.open(url) as other:
        run_id = store.begin("print", "title")
        with pytest.raises(
            StoreError, match=rf"^run {run_id} is under way in process {os.getpid()} of .*; stop it first"
        ):
            other.delete(run_id)
        assert [run.id for run in other.runs()] == [run_id]
        store.release(run_id)
        other.delete(run_id)
        assert other.runs() == []


def test_a_run_that_was_let_go_may_be_resumed_by_the_same_process(store):
    run_id = store.begin("print", "title")
    assert store.resumable("print") is None
    store.release(run_id)
    assert store.resumable("print").id == run_id
    assert store.resume(run_id)


def test_a_finished_run_is_not_resumed(store):
    run_id = store.begin("print", "title")
    store.finish(run_id)
    assert store.resumable("print") is None
    assert not store.resume(run_id)


def test_of_processes_that_resume_a_run_at_once_one_wins(url):
    with Store.open(url) as store:
        run_id = held(store, url, process_started=1)
    code = "print('ready', flush=True); input(); print(store.resume(sys.argv[2]), flush=True); input()"
    rivals = [python(code, url, run_id) for _ in range(3)]
    for rival in rivals:
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        rival.stdin.write("\n")
        rival.stdin.flush()
    assert sorted(rival.stdout.readline() for rival in rivals) == ["False\n", "False\n", "True\n"]
    for rival in rivals:
        rival.communicate("\n")


# Troubles of the database


def no_more_pages(connection, _):
    connection.execute("PRAGMA max_page_count = 1")  # SQLite makes it the number of pages that there are


POSTGRESQL_FULL = (
    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING "
    "ERRCODE = '53100', MESSAGE = 'could not extend file \"base/5/16384\": No space left on device'; END $$",
    "CREATE TRIGGER full_disk BEFORE INSERT ON measurements EXECUTE FUNCTION full_disk()",
)


def test_a_full_disk_is_reported_and_what_was_there_stays(store, url, make_result):
    run_id = store.begin("print", "title")
    store.save(run_id, "1", make_result("a"))
    large = make_result("b", Measurement("latency_s", "s", tuple(number / 7 for number in range(10_000))))
    if url.startswith("sqlite"):
        sa.event.listen(sa.Engine, "connect", no_more_pages)
    else:
        execute(url, *POSTGRESQL_FULL)
    try:
        with pytest.raises(StoreError, match=r"^the store .* is full: .*; free some space.*--store$") as told:
            store.save(run_id, "2", large)
    finally:
        if url.startswith("sqlite"):
            sa.event.remove(sa.Engine, "connect", no_more_pages)
        else:
            execute(url, "DROP TRIGGER full_disk ON measurements")
    assert_plain(told)
    assert store.results(run_id) == [make_result("a")]
    store.save(run_id, "2", large)
    assert store.results(run_id) == [make_result("a"), large]


def assert_plain(told):
    """A message is one line, without SQL and without SQLAlchemy's advertisement."""
    message = str(told.value)
    assert "\n" not in message
    assert not [word for word in ("sqlalche", "INSERT INTO", "SELECT ", " SET ", "LINE 1") if word in message]


def test_a_store_that_cannot_be_written_to_is_reported_at_its_opening_and_can_be_read(url, make_result):
    with Store.open(url) as store:
        run_id = store.begin("print", "title")
        store.save(run_id, "1", make_result())
    read_only = url
    if url.startswith("sqlite"):
        read_only = url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    else:
        execute(url, f"ALTER DATABASE {sa.make_url(url).database} SET default_transaction_read_only = on")
    with pytest.raises(StoreError, match=r"cannot be written to: .*read-?only") as told:
        Store.open(read_only)
    assert_plain(told)
    with Store.open(read_only, create=False) as store:
        assert store.results(run_id) == [make_result()]
        with pytest.raises(StoreError, match="cannot be written to"):
            store.finish(run_id)


def test_a_store_that_another_process_keeps_locked_is_reported(store, url, monkeypatch):
    monkeypatch.setattr(database, "WAIT_S", 0.05)
    lock = "BEGIN IMMEDIATE" if url.startswith("sqlite") else "BEGIN; LOCK TABLE runs"
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    with Store.open(url) as impatient, engine.connect() as other:
        other.exec_driver_sql(lock)
        with pytest.raises(StoreBusyError, match=r"is locked by another process: .*wait until") as told:
            impatient.begin("print", "title")
        other.rollback()
        assert_plain(told)
        impatient.begin("print", "title")


@pytest.mark.postgres
def test_a_connection_that_is_lost_is_reported_and_the_next_one_works(postgres_url, make_result):
    cut = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def lose(_connection, _cursor, statement, *_):
        if statement.startswith("INSERT INTO measurements"):
            execute(postgres_url, cut)

    with Store.open(postgres_url) as store:
        run_id = store.begin("print", "title")
        sa.event.listen(sa.Engine, "before_cursor_execute", lose)
        try:
            with pytest.raises(StoreBusyError, match="cannot be reached: ") as told:
                store.save(run_id, "1", make_result())
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", lose)
        assert_plain(told)
        assert store.results(run_id) == []
        store.save(run_id, "1", make_result())
        assert store.results(run_id) == [make_result()]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_not_is_refused_by_both(store, make_result, value):
    run_id = store.begin("print", "title")
    with pytest.raises(UnstorableError, match=r"a value that is not valid JSON or text: "):
        store.save(run_id, "1", make_result("a", Measurement("latency_s", "s", (value,))))
    assert store.results(run_id) == []


@pytest.mark.postgres
def test_a_text_that_postgresql_has_not_is_refused_as_such(postgres_url, make_result):
    with Store.open(postgres_url) as store:
        run_id = store.begin("print", "title")
        with pytest.raises(UnstorableError, match=r"a value that is not valid JSON or text: "):
            store.save(run_id, "1", make_result("a", Measurement("latency_s", "s", failure="a\0b")))


def test_what_cannot_be_saved_is_kept_beside_the_store_or_else_here(tmp_path, monkeypatch, make_result):
    folder, here = tmp_path / "deep", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with Store.open(f"{folder}/results.sqlite") as store:
        run_id = store.begin("print", "title")
        part = dataclasses.replace(store.contents(run_id), results=(("1", make_result("a")),))
        for number in (1, 2):  # an older file is left
            assert keep(store, part).startswith(
                f"a, measured last, is kept in {folder}/fer-bench-kept-{run_id}-{number}"
            )
        store.folder = tmp_path / "gone"
        assert f"is kept in fer-bench-kept-{run_id}-1.json: " in keep(store, part)
        here.joinpath(f"fer-bench-kept-{run_id}-2.json").symlink_to(tmp_path / "gone" / "file")  # so that "x" fails
        told = keep(store, part)
        assert told.startswith("a, measured last, is lost: cannot write ")
        assert "No such file" in told
        store.delete(run_id)
        import_runs(store, (folder / f"fer-bench-kept-{run_id}-1.json").read_text())
        assert store.results(run_id) == [make_result("a")]


@pytest.mark.parametrize("content", [b"", b"PNG nonsense" * 1000], ids=["empty", "another program's"])
def test_a_file_that_is_no_store(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"is no SQLite database.*--store" if content else "there is no store at"):
        Store.open(str(file), create=False)
    assert file.read_bytes() == content


def test_a_damaged_file_is_reported(tmp_path, make_result):
    file = tmp_path / "results.sqlite"
    with Store.open(str(file)) as store:
        run_id = store.begin("print", "title")
        for number in range(20):
            store.save(run_id, str(number), make_result())
    content = file.read_bytes()
    assert len(content) > 8 * 4096
    file.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(StoreError, match=r"is damaged: .*malformed; .*import") as told, Store.open(str(file)) as store:
        store.results(run_id)
    assert_plain(told)


def test_a_store_that_is_not_there_is_not_made_by_reading(url, tmp_path):
    with pytest.raises(StoreError, match=r"no store at .*; `fer-bench run` makes one, or name another .*--store"):
        Store.open(url, create=False)
    assert list(tmp_path.iterdir()) == []
    Store.open(url).close()
    Store.open(url, create=False).close()


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make the folder of the store .*: .*--store"):
        Store.open(f"sqlite:///{tmp_path}/file/results.sqlite")
    with pytest.raises(StoreError, match=r"cannot be opened: "):
        Store.open(str(tmp_path))


def test_a_database_of_another_program_is_left_alone(url):
    Path(url.removeprefix("sqlite:///")).parent.mkdir(exist_ok=True) if url.startswith("sqlite") else None
    execute(url, "CREATE TABLE runs (run_uuid TEXT)")
    with pytest.raises(StoreError, match=r"holds tables of another program \(runs\); name another store with --store"):
        Store.open(url)
    with pytest.raises(StoreError, match="no store at"):
        Store.open(url, create=False)


SECRET = "Geheim-7"


@pytest.mark.parametrize(
    "given",
    [
        f"mysql://me:{SECRET}@localhost/results",
        f"nonsense://me:{SECRET}@",
        f"postgresql://me:{SECRET}@host:port/results",
        f"postgresql://me:x@{SECRET}@localhost/results",
        f"postgresql//me:{SECRET}@localhost/results",
        f"postgresql://me:x/{SECRET}@{SECRET}@localhost/results",
        "://",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://two/slashes",
        "sqlite:///x.sqlite?unknown=1",
    ],
)
def test_what_names_no_store_is_reported_without_its_password(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"names no store; expected a file such as .*postgresql://USER") as told:
        Store.open(given)
    assert SECRET not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_be_reached_is_reported_without_the_password():
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://me:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/results?sslpassword={SECRET}"
        with pytest.raises(StoreError, match=r"//me:\*\*\*@127.*cannot be reached: .*server runs") as told:
            Store.open(url)
    assert SECRET not in str(told.value)
    assert_plain(told)


@pytest.mark.postgres
@pytest.mark.parametrize("change", [{"database": "not_there"}, {"username": "stranger", "password": SECRET}])
def test_a_database_or_user_that_the_server_does_not_know_is_reported(postgres_url, change):
    with pytest.raises(StoreError, match=r"cannot be reached: .*(not_there|stranger).*database are right") as told:
        Store.open(sa.make_url(postgres_url).set(**change).render_as_string(hide_password=False))
    assert SECRET not in str(told.value)
    assert_plain(told)


def test_a_driver_that_is_not_installed_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"needs psycopg 3.*pip install 'psycopg\[binary\]'"):
        Store.open("postgresql://localhost/results")


# Versions


def test_a_later_database_is_reported(url):
    Store.open(url).close()
    execute(url, "UPDATE schema_info SET version = 99")
    for create in (True, False):
        with pytest.raises(StoreError, match=r"later fer_bench \(version 99; .*pip install --upgrade"):
            Store.open(url, create=create)


def test_a_result_saved_by_the_first_schema_is_refused_by_its_number(store, url, make_result):
    run_id = store.begin("print", "title")
    store.save(run_id, "1", make_result("a"))
    execute(url, "UPDATE results SET schema_version = 1")
    with pytest.raises(StoreError, match=rf"^a in run {run_id} of .*\(schema 1, this one reads 2\)"):
        store.results(run_id)


def test_a_plan_with_a_value_that_no_plan_has_is_refused_by_its_network_and_blocks_no_other_run(
    store, url, make_result
):
    bad, good = store.begin("print", "bad"), store.begin("print", "good")
    for run_id in (bad, good):
        store.save(run_id, "1", make_result("a"))
    plan = json.dumps({**make_result().plan.to_dict(), "precision": "fp8"})
    execute(url, f"UPDATE results SET plan = '{plan}' WHERE run_id = '{bad}'")
    with pytest.raises(StoreError, match=f"^a in run {bad} of .*: not a result.*: plan: precision is 'fp8'; known: "):
        store.results(bad)
    assert len(store.runs()) == 2
    assert store.results(good) == [make_result("a")]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE results SET plan = '[' WHERE name = 'a'",
        "UPDATE results SET wall_s = 'long' WHERE name = 'a'",
        "UPDATE results SET subject = CAST(X'ff' AS TEXT) WHERE name = 'a'",
        "UPDATE results SET started_at = X'ff00' WHERE name = 'a'",
        "UPDATE environments SET data = '{}' WHERE id = (SELECT environment_id FROM results WHERE name = 'a')",
        "UPDATE measurements SET samples = '{\"a\":1}' WHERE result_id = (SELECT id FROM results WHERE name = 'a')",
        "UPDATE measurements SET process = 'x' WHERE result_id = (SELECT id FROM results WHERE name = 'a')",
    ],
)
def test_a_damaged_record_is_left_out_with_a_line_and_blocks_no_other(sqlite_url, make_result, damage):
    with Store.open(sqlite_url) as store:
        run_id = store.begin("print", "title")
        store.save(run_id, "1", dataclasses.replace(make_result("a"), environment=ELSEWHERE))
        store.save(run_id, "2", make_result("b"))
        execute(sqlite_url, damage)
        lines = []
        assert store.results(run_id, lines.append) == [make_result("b")]
        assert len(lines) == 1
        assert lines[0].startswith(
            f"run {run_id} of {sqlite_url}: left out 1 of 2 records: a: not a result of fer_bench"
        )
        with pytest.raises(StoreError, match=f"^a in run {run_id} of "):
            store.results(run_id)


@pytest.mark.parametrize(
    "damage",
    [
        "title = X'00ff'",
        "title = CAST(X'ff' AS TEXT)",
        "started_at = X'ff'",
        "holder = '['",
        "holder = '{\"pid\": []}'",
    ],
)
def test_a_run_whose_head_is_damaged_is_listed_with_the_others_and_can_be_deleted(sqlite_url, make_result, damage):
    with Store.open(sqlite_url) as store:
        bad, good = store.begin("print", "bad"), store.begin("print", "good")
        execute(sqlite_url, f"UPDATE runs SET {damage} WHERE id = '{bad}'")
        assert {run.id for run in store.runs()} == {bad, good}
        store.delete(store.find_run(bad).id)
        assert [run.id for run in store.runs()] == [good]


# Export and import


@pytest.fixture
def filled(store, url, make_result):
    """A store with a finished run of two results and an unfinished one of none."""
    run_id = store.begin("print", "first ×")
    store.save(run_id, "key a", make_result("a", Measurement("odd_j", "J", (0.1, 1 / 3), details={"b": 1, "a": 2})))
    store.save(run_id, "key b", dataclasses.replace(make_result("b"), environment=None))
    store.finish(run_id)
    store.begin("print 2", "second")
    return store


def test_an_export_is_imported_again_as_it_was(filled, other_url):
    text = export(filled, filled.runs())
    with Store.open(other_url) as other:
        newest, oldest = filled.runs()
        assert import_runs(other, text) == ([oldest.id, newest.id], [], [])
        assert export(other, list(reversed(other.runs()))) == text
        for run in filled.runs():
            assert other.contents(run.id) == filled.contents(run.id)
        assert import_runs(other, text) == ([], [oldest.id, newest.id], [])
        assert [run.state for run in other.runs()] == ["elsewhere", "finished"]


def test_each_result_stands_on_a_line_of_an_export(filled):
    text = export(filled, filled.runs())
    document = json.loads(text)
    assert document["fer_bench_export"] == 1
    first, second = document["runs"]
    assert list(first) == ["id", "title", "started_at", "finished_at", "fingerprint", "results"]
    assert (first["title"], first["fingerprint"], second["results"]) == ("first ×", "print", [])
    assert [each["key"] for each in first["results"]] == ["key a", "key b"]
    lines = [line.rstrip(",") for line in text.splitlines()]
    for each in first["results"]:
        assert each in [json.loads(line) for line in lines if line.startswith('{"key"')]


def test_nothing_is_imported_when_a_run_is_there_already_and_differs(filled, make_result):
    newest, oldest = filled.runs()
    text = export(filled, filled.runs())
    filled.delete(oldest.id)
    filled.save(newest.id, "more", make_result())
    with pytest.raises(StoreError, match=f"run {newest.id} is in .* and differs; nothing was imported: delete"):
        import_runs(filled, text)
    assert [run.id for run in filled.runs()] == [newest.id]


@pytest.fixture
def in_lines(make_result):
    """Two results, a day apart."""
    earlier = make_result("a")
    return [dataclasses.replace(make_result("b"), started_at="2026-01-02T00:00:00+00:00"), earlier]


def test_lines_of_results_become_a_finished_run(store, in_lines):
    text = "".join(f"{result.to_json()}\n" for result in in_lines)
    [run_id], *others = import_runs(store, text)
    assert others == [[], []]
    run = store.find_run(run_id)
    assert (run.state, run.results) == ("finished", 2)
    assert (run.started_at, run.finished_at) == ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
    assert store.results(run_id) == in_lines
    assert import_runs(store, text) == ([], [run_id], [])


def test_a_file_or_folder_of_results_is_read(filled, in_lines, tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "results.jsonl").write_text("".join(f"{result.to_json()}\n" for result in in_lines))
    for place in (folder, folder / "results.jsonl"):
        assert read_file(place) == in_lines
    (folder / "results.json").write_text(export(filled, filled.runs()))
    for place in (folder, folder / "results.json"):
        assert read_file(place) == filled.results(filled.runs()[1].id)


@pytest.mark.parametrize(("end", "read"), [("\n", 2), ("", 2), (None, 1)])
def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path, make_result, end, read):
    file = tmp_path / "results.jsonl"
    line = make_result("b").to_json()
    file.write_text(make_result("a").to_json() + "\n" + (line[:50] if end is None else line + end))
    assert [result.subject.name for result in read_file(file)] == ["a", "b"][:read]


def damaged(text, run_id, change):
    """Return an export in which a member of the first record of a run is another."""
    document = json.loads(text)
    (run,) = (run for run in document["runs"] if run["id"] == run_id)
    change(run)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: run["results"][0]["result"]["subject"].update(name=3), "record key a of run {}: .*: name is 3: "),
        (lambda run: run["results"][0]["result"].update(schema_version=99), "record key a of run {}: .*schema 99"),
        (lambda run: run["results"][1].update(key="key a"), "record key a of run {}: there is another one with this"),
        (lambda run: run["results"].append(None), "record 3 of run {}: it is None: an object was expected"),
        (lambda run: run.update(title=10**400), "run 1 of the file: title is an integer beyond 64 bits"),
        (lambda run: run.update(title=["x"] * 3), "run 1 of the file: title is a list of 3: a text was expected"),
    ],
)
def test_a_run_that_cannot_be_read_is_refused_and_the_others_are_imported(filled, other_url, change, told):
    newest, oldest = filled.runs()
    text = damaged(export(filled, filled.runs()), oldest.id, change)
    with Store.open(other_url) as other:
        added, there, refused = import_runs(other, text)
        assert (added, there) == ([newest.id], [])
        assert re.match(told.format(oldest.id), refused[0])
        assert [run.id for run in other.runs()] == [newest.id]


def test_an_import_of_nothing_that_can_be_read_is_an_error(filled, other_url):
    oldest = filled.runs()[1]
    text = damaged(export(filled, [oldest]), oldest.id, lambda run: run["results"].append(3))
    with Store.open(other_url) as other:
        with pytest.raises(StoreError, match=f"record 3 of run {oldest.id}: .*; remove that record"):
            import_runs(other, text)
        assert other.runs() == []


LATER = '{"fer_bench_export": 2, "runs": []}'
BAD_FILES = {
    "a line": ('{"schema_version": 2}\n', r"line 1: not a result.*; correct or remove that line"),
    "the last line": ('{"schema_version": 2}\nnonsense\n', r"line 1: not a result.*; correct or remove that line"),
    "other JSON": ('{"subject": 1}', "not a result of fer_bench on each line, nor an export; expected a file"),
    "one result indented": ('{\n "schema_version": 2\n}\n', "not a result of fer_bench on each line, nor an export"),
    "nothing": ("", "no result in it"),
    "cut short": ('{"fer_bench_export": 1, "runs": [', "cut short or damaged.*; export it again"),
    "no runs": ('{"fer_bench_export": 1}', "no export of fer_bench: lacks 'runs'; export it again"),
    "a strange run": (
        '{"fer_bench_export": 1, "runs": [{"results": []}]}',
        "run 1 of the file: lacks .*'title'; remove",
    ),
    "later": (LATER, "exported by a later fer_bench; upgrade"),
    "no text": (b"\xff\xfe\x00", "utf-8"),
    "missing": (None, "No such file or directory; expected a file that `fer-bench export`"),
}


def test_a_value_that_was_damaged_in_an_export_is_reported_with_its_record_and_a_cure(tmp_path, make_result):
    with Store.open(str(tmp_path / "results.sqlite")) as store:
        import_runs(store, make_result("a").to_json() + "\n" + make_result("b").to_json() + "\n")
        text = export(store, store.runs())
    file = tmp_path / "results.json"
    place = text.rindex("0.009")
    file.write_text(text[:place] + "NaN" + text[place + 5 :])
    told = r"results\.json: record 2:b of run .*latency_s of process 0: values\[0\] is nan.*; remove that record"
    with pytest.raises(StoreError, match=told):
        read_file(file)


@pytest.mark.parametrize(("content", "told"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_holds_something_else_is_named(tmp_path, content, told):
    file = tmp_path / "file.json"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(StoreError, match=rf"file\.json: .*{told}"):
        read_file(file)
    if isinstance(content, str):
        with Store.open(str(tmp_path / "results.sqlite")) as store:
            with pytest.raises(StoreError, match=told):
                import_runs(store, content)
            assert store.runs() == []
