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
from support.repositories import contents, git


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
    return not any((top.parent / "temporary").iterdir())


def net(revision):
    return Path(revision.place.folder, "net.py").read_text()


def test_both_sides_lie_under_paths_of_one_length_and_are_removed(repository):
    with Repository(repository / "nets") as found:
        base, head = found.base("HEAD~1"), found.candidate()
        assert (net(base), net(head)) == ("NUMBER = 1\n", "NUMBER = 2\n")
        assert len(base.place.root) == len(head.place.root)
        assert head.label == f"HEAD ({git(repository, 'rev-parse', '--short', 'HEAD')})"
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
        assert head.label.endswith("and 3 uncommitted changes")
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


def test_a_binary_that_differs_is_reported(repository):
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


def test_submodules_are_reported_to_be_empty(repository, tmp_path):
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository / ".git"), "lib")
    git(repository, "commit", "-qm", "a submodule")
    (repository / "nets" / "net.py").write_text("NUMBER = 3\n")
    git(repository / "lib", "checkout", "-q", "HEAD~1")
    (repository / "lib" / "nets" / "net.py").write_text("of no commit")
    before = contents(repository)
    with Repository(repository) as found:
        base, head = found.base("HEAD"), found.candidate()
        assert "submodules are empty in HEAD" in base.notes[0]
        assert head.label.endswith("2 uncommitted changes")
        for revision, number in ((base, 2), (head, 1)):  # what the note says to do
            root = revision.place.root
            git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
            assert Path(root, "lib", "nets", "net.py").read_text() == f"NUMBER = {number}\n"
        assert contents(repository) == before
    assert contents(repository) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
def test_a_repository_of_another_owner_is_reported_with_its_cure(repository):
    os.chown(repository / ".git", 12345, 12345)
    os.chown(repository, 12345, 12345)
    with pytest.raises(RevisionError, match=r"safe\.directory"):
        Repository(repository)


def test_a_deleted_file_is_gone_from_the_candidate(repository):
    (repository / "nets" / "net.py").unlink()
    (repository / "nets" / "other.py").write_text("")
    with Repository(repository / "nets") as found:
        assert not Path(found.candidate().place.folder, "net.py").exists()


def test_a_large_untracked_file_is_left_out_and_reported(repository, monkeypatch):
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
        assert base.label == f"{start}, where HEAD left main"


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


def test_a_folder_without_a_working_tree_is_refused_with_a_remedy(repository, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    with pytest.raises(RevisionError, match=r"bare\.git is a bare repository.* git clone .*bare\.git FOLDER"):
        Repository(tmp_path / "bare.git")
    with pytest.raises(RevisionError, match="run in the working tree"):
        Repository(repository / ".git" / "objects")


def test_without_git_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RevisionError, match="git is not installed"):
        Repository(tmp_path)


def test_sheets_must_be_in_the_repository(repository, tmp_path):
    (tmp_path / "sheets").mkdir()
    with pytest.raises(RevisionError, match="outside of the repository"):
        Repository(repository, [tmp_path / "sheets"])


def test_a_folder_that_the_revision_does_not_have_is_reported(repository):
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


def filtered(repository):
    """Commit two files with a filter, change one, add another, and write the same to the other again."""
    (repository / ".gitattributes").write_text("*.bin filter=large\n")
    (repository / "old [1].bin").write_text("content 1")
    (repository / "same.bin").write_text("content 0")
    git(repository, "config", "filter.large.clean", "sed s/content/pointer/")
    git(repository, "config", "filter.large.smudge", "sed s/pointer/content/")
    git(repository, "config", "filter.large.required", "true")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "filtered")
    assert git(repository, "show", "HEAD:same.bin") == "pointer 0"
    (repository / "old [1].bin").write_text("content of pointer 2")
    (repository / "new 'é.bin").write_text("content of pointer 3")
    os.utime(repository / "same.bin", (0, 0))


def test_a_change_of_the_same_size_in_the_second_of_the_commit_is_seen(repository):
    for number in range(3, 9):
        (repository / "nets" / "net.py").write_text(f"NUMBER = {number}\n")
        with Repository(repository / "nets") as found:
            assert net(found.candidate()) == f"NUMBER = {number}\n"
        git(repository, "commit", "-qam", f"number {number}")


HOOKS = ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "post-commit", "fsmonitor")


def test_no_hook_and_no_monitor_of_the_user_runs_nor_a_filter_for_what_is_in_no_commit(repository, tmp_path):
    mark = f"touch {tmp_path / 'ran'}"
    for name in HOOKS:
        hook = repository / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{mark}\n")
        hook.chmod(0o755)
    filtered(repository)
    git(repository, "config", "filter.large.clean", f"{mark}; cat")
    git(repository, "config", "core.fsmonitor", str(repository / ".git" / "hooks" / "fsmonitor"))
    (tmp_path / "ran").unlink(missing_ok=True)
    before = contents(repository)
    with Repository(repository) as found:
        found.base("HEAD")
        head = found.candidate().place.root
        subprocess.run(["git", "-C", head, "update-ref", "refs/heads/of-a-setup", "HEAD"], check=True)
    assert not (tmp_path / "ran").exists()
    assert contents(repository) == before


def test_a_file_with_a_filter_is_checked_out_as_the_user_has_it(repository):
    filtered(repository)
    with Repository(repository) as found:
        revisions = found.base("HEAD"), found.candidate()
        base, head = (Path(revision.place.root) for revision in revisions)
        assert {path.name: path.read_text() for path in base.glob("*.bin")} == {
            "old [1].bin": "content 1",
            "same.bin": "content 0",
        }
        assert {path.name: path.read_text() for path in head.glob("*.bin")} == {
            "old [1].bin": "content of pointer 2",
            "same.bin": "content 0",
            "new 'é.bin": "content of pointer 3",
        }
        assert revisions[1].label.endswith("2 uncommitted changes")  # the third has another time alone


def plain(repository):
    return repository


def linked_worktree_of_a_bare_one(repository):
    bare = repository.parent / "bare.git"
    git(repository.parent, "clone", "-q", "--bare", str(repository), str(bare))
    git(bare, "worktree", "add", "-q", "-b", "mine", str(repository.parent / "linked"))
    return repository.parent / "linked"


def submodule(repository):
    outer = repository.parent / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "lib")
    return outer / "lib"


def split_index_with_a_cache(repository):
    git(repository, "config", "core.untrackedCache", "true")
    git(repository, "update-index", "--split-index", "--untracked-cache")
    git(repository, "status")
    return repository


def packed_with_alternates(repository):
    git(repository, "gc", "-q")
    git(repository.parent, "clone", "-q", "--shared", str(repository), "shared")
    return repository.parent / "shared"


def shallow(repository):
    git(repository.parent, "clone", "-q", "--depth", "2", f"file://{repository}", "shallow")
    return repository.parent / "shallow"


def partial(repository):
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(repository.parent, "clone", "-q", "--filter=tree:0", f"file://{repository}", "partial")
    return repository.parent / "partial"


def sparse(repository):
    (repository / "elsewhere").mkdir()
    (repository / "elsewhere" / "large.py").write_text("")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "--amend", "-m", "number 2")
    git(repository, "sparse-checkout", "set", "--cone", "--sparse-index", "nets")
    assert not (repository / "elsewhere").exists()
    return repository


def sha256(repository):
    top = repository.parent / "sha256"
    (top / "nets").mkdir(parents=True)
    git(top, "init", "-q", "--object-format=sha256")
    for number in (1, 2):
        (top / "nets" / "net.py").write_text(f"NUMBER = {number}\n")
        git(top, "add", "-A")
        git(top, "commit", "-qm", f"number {number}")
    return top


KINDS = (plain, linked_worktree_of_a_bare_one, submodule, split_index_with_a_cache, packed_with_alternates, shallow)


@pytest.mark.parametrize("kind", [*KINDS, partial, sparse, sha256])
def test_each_kind_of_repository_is_only_read(repository, kind):
    top = kind(repository)
    git(top, "tag", "v1")
    (top / "nets" / "net.py").write_text("NUMBER = 3\n")
    (top / "nets" / "staged.py").write_text("")
    git(top, "add", "nets/staged.py")
    (top / "nets" / "staged.py").write_text("STAGED = False\n")
    (top / "nets" / "new.py").write_text("NEW = True\n")
    os.utime(top / "nets" / "staged.py", (0, 0))  # a refresh of the index would be written
    before = contents(repository.parent)
    with Repository(top / "nets") as found:
        base, head = found.base("HEAD~1"), found.candidate()
        assert (net(base), net(head)) == ("NUMBER = 1\n", "NUMBER = 3\n")
        assert head.label.endswith("and 3 uncommitted changes")
        assert {path.name for path in Path(head.place.folder).iterdir()} == {"net.py", "staged.py", "new.py"}
        assert Path(head.place.folder, "staged.py").read_text() == "STAGED = False\n"
        assert git(head.place.root, "status", "--porcelain") == ""
        assert git(base.place.root, "describe", "--tags", "--always", "v1") == "v1"
        assert not Path(head.place.root, "elsewhere").exists()
        assert not found.binaries_changed(base, head)
        during = contents(repository.parent)
        assert {path: during.get(path) for path in before} == before
        assert all(path.startswith("temporary/") for path in during.keys() - before.keys())
    assert contents(repository.parent) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_repository_is_sound_in_the_middle_and_after_a_kill(repository, kind):
    top = kind(repository)
    (top / "nets" / "net.py").write_text("NUMBER = 3\n")
    before = contents(top), contents(repository)
    environment = {**os.environ, "TMPDIR": str(repository.parent / "temporary")}
    command = [sys.executable, "-c", HANGS, str(top / "nets")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            assert (contents(top), contents(repository)) == before
            sound(top)
            with Repository(top):  # which removes no folder that is in use
                assert len(list((repository.parent / "temporary").iterdir())) == 2
            before = contents(top), contents(repository)
        finally:
            process.kill()
    assert (contents(top), contents(repository)) == before
    sound(top)
    assert not nothing_is_left(repository)
    with Repository(top):  # the next gate removes the temporary folder
        assert len(list((repository.parent / "temporary").iterdir())) == 1
    assert nothing_is_left(repository)


def sound(top):
    """Have git check a repository in the ways that a reference or a worktree without its commit fails."""
    for command in (("fsck", "--full", "--strict"), ("gc", "-q", "--prune=now"), ("log", "--all", "--oneline")):
        done = subprocess.run(["git", "-C", str(top), *command], capture_output=True, text=True, check=False)
        assert (done.returncode, [line for line in done.stderr.splitlines() if "dangling" not in line]) == (0, [])


def test_what_a_hook_sets_for_its_own_repository_does_not_mislead(repository, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    with Repository(repository / "nets") as found:
        assert net(found.base("HEAD~1")) == "NUMBER = 1\n"


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
