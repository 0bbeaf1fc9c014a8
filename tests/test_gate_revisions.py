"""Revisions are checked out side by side and removed again, whatever happens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_bench.gating.revisions import Repository
from fer_bench.records.errors import RevisionError
from support.processes import heed_ctrl_c
from support.repositories import git


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits on main, the second of which is checked out; the current folder is nets/."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    top = tmp_path / "repository"
    (top / "nets").mkdir(parents=True)
    git(top, "init", "-q")
    for number in (1, 2):
        (top / "nets" / "net.py").write_text(f"NUMBER = {number}\n")
        git(top, "add", "-A")
        git(top, "commit", "-qm", f"number {number}")
    return top


def nothing_is_left(top):
    return len(git(top, "worktree", "list").splitlines()) == 1 and not any((top.parent / "temporary").iterdir())


def net(revision):
    return Path(revision.place.folder, "net.py").read_text()


def test_both_sides_lie_under_paths_of_one_length_and_are_removed(repository):
    with Repository(repository / "nets") as found:
        base, head = found.base("HEAD~1"), found.candidate()
        assert (net(base), net(head)) == ("NUMBER = 1\n", "NUMBER = 2\n")
        assert len(base.place.root) == len(head.place.root)
        assert head.told == f"HEAD ({git(repository, 'rev-parse', '--short', 'HEAD')})"
        assert not head.changed
    assert nothing_is_left(repository)


def test_uncommitted_changes_and_new_files_are_judged_and_nothing_is_written_to_the_repository(repository):
    (repository / "nets" / "net.py").write_text("NUMBER = 3\n")
    (repository / "nets" / "new [1].py").write_text("NEW = True\n")
    (repository / ".gitignore").write_text("ignored.py\n")
    (repository / "ignored.py").write_text("")
    git(repository, "add", "nets/net.py")
    before = git(repository, "status", "--porcelain"), git(repository, "count-objects")
    with Repository(repository / "nets") as found:
        head = found.candidate()
        assert net(head) == "NUMBER = 3\n"
        assert Path(head.place.folder, "new [1].py").read_text() == "NEW = True\n"
        assert not Path(head.place.root, "ignored.py").exists()
        assert head.told.endswith("and 3 uncommitted changes")
        assert head.commit == git(repository, "rev-parse", "HEAD")
    assert (git(repository, "status", "--porcelain"), git(repository, "count-objects")) == before
    assert nothing_is_left(repository)


def test_a_file_that_is_staged_and_in_no_commit_is_judged(repository):
    (repository / "nets" / "staged.py").write_text("STAGED = True\n")
    git(repository, "add", "nets/staged.py")
    git(repository, "mv", "nets/net.py", "nets/moved.py")
    with Repository(repository / "nets") as found:
        head = Path(found.candidate().place.folder)
        assert sorted(path.name for path in head.iterdir()) == ["moved.py", "staged.py"]


def test_other_worktrees_of_the_user_stay_registered_though_they_are_not_there_now(repository):
    other = repository.parent / "unplugged"
    git(repository, "worktree", "add", "--detach", str(other), "HEAD")
    other.rename(repository.parent / "elsewhere")
    with Repository(repository) as found:
        found.base("HEAD~1")
    assert str(other) in git(repository, "worktree", "list")


def test_a_binary_that_differs_is_told(repository):
    (repository / "weights.pt").write_bytes(bytes(range(256)))
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "weights")
    with Repository(repository) as found:
        base, head = found.base("HEAD~1"), found.candidate()
        assert found.binaries_changed(base, head)
        assert not found.binaries_changed(base, base)
    (repository / "nets" / "net.py").write_text("NUMBER = 9\n")
    with Repository(repository) as found:
        assert not found.binaries_changed(found.base("HEAD"), found.candidate())


def test_submodules_are_told_to_be_empty(repository, tmp_path):
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository / ".git"), "lib")
    git(repository, "commit", "-qm", "a submodule")
    with Repository(repository) as found:
        assert "submodules are empty in HEAD" in found.candidate().notes[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
def test_a_repository_of_another_owner_is_told_with_its_cure(repository):
    os.chown(repository / ".git", 12345, 12345)
    os.chown(repository, 12345, 12345)
    with pytest.raises(RevisionError, match=r"safe\.directory"):
        Repository(repository)


def test_a_deleted_file_is_gone_from_the_candidate(repository):
    (repository / "nets" / "net.py").unlink()
    (repository / "nets" / "other.py").write_text("")
    with Repository(repository / "nets") as found:
        assert not Path(found.candidate().place.folder, "net.py").exists()


def test_a_large_untracked_file_is_left_out_and_told(repository, monkeypatch):
    monkeypatch.setattr("fer_bench.gating.revisions._LARGEST_UNTRACKED", 1000)
    (repository / "data.bin").write_bytes(bytes(2**20))
    with Repository(repository) as found:
        head = found.candidate()
        assert not Path(head.place.root, "data.bin").exists()
        assert head.notes == ("left out, since untracked and large: data.bin (1.00 MiB)",)


def test_a_branch_is_held_against_where_it_began(repository):
    start = git(repository, "rev-parse", "--short", "HEAD")
    git(repository, "checkout", "-qb", "mine")
    (repository / "nets" / "net.py").write_text("NUMBER = 10\n")
    git(repository, "commit", "-qam", "mine")
    git(repository, "checkout", "-q", "main")
    (repository / "nets" / "net.py").write_text("NUMBER = 3\n")
    git(repository, "commit", "-qam", "main moves on")
    git(repository, "checkout", "-q", "mine")
    with Repository(repository / "nets") as found:
        base = found.base("main")
        assert net(base) == "NUMBER = 2\n"
        assert base.told == f"{start}, where HEAD left main"


def test_a_revision_that_git_does_not_know_has_a_near_one_named(repository):
    git(repository, "update-ref", "refs/remotes/origin/develop", "HEAD")
    with Repository(repository) as found:
        with pytest.raises(RevisionError, match=r"no revision 'man' \(did you mean main\?\)"):
            found.base("man")
        with pytest.raises(RevisionError, match=r"did you mean origin/develop\?"):
            found.base("develop")


def test_a_revision_cannot_pass_for_an_option(repository):
    with Repository(repository) as found, pytest.raises(RevisionError, match="no revision '--all'"):
        found.base("--all")


def test_a_shallow_clone_says_how_to_fetch_the_rest(repository, tmp_path):
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", str(shallow))
    with Repository(shallow) as found, pytest.raises(RevisionError, match=r"shallow.*fetch-depth: 0"):
        found.base("HEAD~1")


def test_a_repository_without_a_commit_and_no_repository_say_so(tmp_path):
    git(tmp_path, "init", "-q")
    with Repository(tmp_path) as found, pytest.raises(RevisionError, match="no commit yet"):
        found.candidate()
    with pytest.raises(RevisionError, match="in no git repository"):
        Repository(Path("/"))


def test_without_git_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RevisionError, match="git is not installed"):
        Repository(tmp_path)


def test_sheets_must_be_in_the_repository(repository, tmp_path):
    (tmp_path / "sheets").mkdir()
    with pytest.raises(RevisionError, match="outside of the repository"):
        Repository(repository, [tmp_path / "sheets"])


def test_a_folder_that_the_revision_does_not_have_is_told(repository):
    (repository / "later").mkdir()
    (repository / "later" / "net.py").write_text("")
    with Repository(repository / "later") as found, pytest.raises(RevisionError, match="has no folder later"):
        found.base("HEAD")
    assert nothing_is_left(repository)


def test_a_commit_accepts_by_its_trailer(repository):
    (repository / "nets" / "net.py").write_text("NUMBER = 3\n")
    git(repository, "commit", "-qam", "wider\n\nFer-Bench-Accept: net.py:build: a wider stem\nSigned-off-by: A <a@b>")
    with Repository(repository) as found:
        base, head = found.base("HEAD~1"), found.candidate()
        assert found.accepted(base, head) == ["net.py:build: a wider stem"]


def test_no_hook_of_the_repository_runs(repository):
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\ntouch hook-ran\n")
    hook.chmod(0o755)
    with Repository(repository) as found:
        assert not Path(found.base("HEAD~1").place.root, "hook-ran").exists()


def test_what_a_hook_sets_for_its_own_repository_does_not_mislead(repository, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    with Repository(repository / "nets") as found:
        assert net(found.base("HEAD~1")) == "NUMBER = 1\n"


def test_checkouts_of_a_gate_that_was_killed_are_removed_by_the_next(repository):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = repository.parent / "temporary" / f"fer-bench-gate-{gone.pid}-abcd1234"
    git(repository, "worktree", "add", "--detach", str(left / "base"), "HEAD~1")
    own = repository.parent / "temporary" / f"fer-bench-gate-{os.getpid()}-abcd1234"
    git(repository, "worktree", "add", "--detach", str(own / "base"), "HEAD~1")
    with Repository(repository):
        assert not left.exists()
        assert (own / "base").exists()  # of a gate that runs


HANGS = """
import sys, time
from pathlib import Path
from fer_bench.gating.revisions import Repository
with Repository(Path(sys.argv[1])) as repository:
    repository.base("HEAD~1")
    repository.candidate()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("signals", [1, 3])
def test_ctrl_c_removes_the_checkouts_even_when_pressed_again_and_again(repository, signals):
    environment = {**os.environ, "TMPDIR": str(repository.parent / "temporary")}
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, str(repository)],
        stdout=subprocess.PIPE,
        env=environment,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )
    assert process.stdout.readline() == b"ready\n"
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert process.wait(60)
    assert nothing_is_left(repository)
