"""Check out revisions of the user's repository side by side, and leave nothing behind.

Each side is a git worktree in a temporary folder, the working tree with its changes too: so both lie on the same disk
under paths of the same length, and nothing changes under a measurement.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from fer_bench.networks.place import Place
from fer_bench.records import units
from fer_bench.records.errors import RevisionError, nearest

_PREFIX = "fer-bench-gate"
_SLOW_S = 600.0  # a checkout that takes longer hangs, on a password perhaps
_LARGEST_UNTRACKED = 64 * 2**20  # bytes of a file that is copied into a checkout though git does not know it
TRAILER = "Fer-Bench-Accept"  # of a commit message, which accepts what the commit changes

# What a hook of git's sets for its own repository and index, and would mislead us in a checkout.
_GITS_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


@dataclass(frozen=True, slots=True)
class Revision:
    """A checkout of a revision.

    Attributes:
        told: as a reader knows it, such as "main (1a2b3c4)".
        commit: its whole hash; of a working tree with changes, of the commit that it started from.
        tree: what was checked out, by a hash that this gate's git knows.
        changed: it is a working tree with changes.
    """

    told: str
    commit: str
    place: Place
    tree: str
    changed: bool = False
    notes: tuple[str, ...] = ()


class Repository:
    """The git repository around a folder, and the worktrees that were made of it; on leaving these are removed.

    Args:
        folder: the current folder.
        sheets: folders of a user's sheets, inside the repository.

    Raises:
        RevisionError: there is no git, or the folder is in no repository.
    """

    _made: Path  # on entering, for the worktrees

    def __init__(self, folder: Path, sheets: Sequence[Path] = ()) -> None:
        self._folder = folder.resolve()
        self._environment = {name: value for name, value in os.environ.items() if name not in _GITS_OWN}
        self._environment["GIT_TERMINAL_PROMPT"] = "0"
        self._objects: dict[str, str] = {}  # of the environment: where a commit of the working tree is kept
        if not shutil.which("git"):
            raise RevisionError("git is not installed, and a revision is git's; --baseline FILE needs none")
        asked = self._run("rev-parse", "--show-toplevel")
        top = asked.stdout.strip()
        if "dubious ownership" in asked.stderr:
            raise RevisionError(
                f"git refuses {folder}, which belongs to somebody else; if you trust it: "
                f"git config --global --add safe.directory {folder.resolve()}"
            )
        if not top:
            raise RevisionError(f"{folder} is in no git repository; run in one, or use --baseline FILE without")
        self.top = Path(top).resolve()
        self._sheets = [self.inside(sheet.resolve()) for sheet in sheets]

    def __enter__(self) -> Self:
        self._remove_left_behind()
        self._made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{os.getpid()}-"))
        return self

    def __exit__(self, *_: object) -> None:
        self._remove(self._made)

    def inside(self, path: Path) -> Path:
        """Return a path relative to the repository; raise RevisionError for one outside."""
        if not path.resolve().is_relative_to(self.top):
            raise RevisionError(f"{path} is outside of the repository {self.top}: no revision has it")
        return path.resolve().relative_to(self.top)

    def commit_of(self, revision: str) -> str | None:
        """Return the commit that a revision names, or None where it names none, or a range of them."""
        commits = self._asked("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return commits if len(commits.split()) == 1 else None

    def base(self, revision: str, candidate: str = "HEAD") -> Revision:
        """Check out what a change is compared with: where the candidate left the revision's line.

        A branch that has moved on since would otherwise count against, or for, a change that has not seen it.

        Raises:
            RevisionError: there is no such revision, or it cannot be checked out.
        """
        commit, head = self._known(revision), self._known(candidate)
        common = self._asked("merge-base", commit, head)
        if common and common not in (commit, head):
            return self._checkout("base", common, f"{self._named(common)}, where {candidate} left {revision}")
        if not common:
            self._refuse_shallow(f"where {candidate} left {revision}")
        notes = () if common else (f"{revision} and {candidate} have no commit in common",)
        return self._checkout("base", commit, self._named(commit, revision), notes=notes)

    def candidate(self, revision: str = "") -> Revision:
        """Check out what is judged: a revision, or without one the working tree with its changes.

        Raises:
            RevisionError: there is no such revision, or it cannot be checked out.
        """
        if revision:
            commit = self._known(revision)
            return self._checkout("head", commit, self._named(commit, revision))
        head = self._known("HEAD")
        changed = self._git("status", "--porcelain", "--untracked-files=all").splitlines()
        if not changed:
            return self._checkout("head", head, self._named(head, "HEAD"))
        many = f"{len(changed)} uncommitted change{'s' if len(changed) > 1 else ''}"
        tree, notes = self._snapshot()
        told = f"the working tree: {self._named(head)} and {many}"
        return self._checkout("head", tree, told, changed_since=head, notes=notes)

    def accepted(self, base: Revision, candidate: Revision) -> list[str]:
        """Return what commits between two have in a trailer ``Fer-Bench-Accept: NETWORK: reason``."""
        form = f"--format=%(trailers:key={TRAILER},valueonly,unfold)"
        trailers = self._asked("log", form, f"{base.commit}..{candidate.commit}")
        return [line.strip() for line in trailers.splitlines() if line.strip()]

    def binaries_changed(self, base: Revision, candidate: Revision) -> bool:
        """Return whether a file that git takes for binary differs: weights, compiled code."""
        changed = self._git("diff", "--numstat", "--no-renames", base.tree, candidate.tree)
        return any(line.startswith("-\t-\t") for line in changed.splitlines())

    def _refuse_shallow(self, missing: str) -> None:
        if self._asked("rev-parse", "--is-shallow-repository") == "true":
            raise RevisionError(
                f"this clone is shallow and does not reach {missing}; fetch it whole: "
                "git fetch --unshallow (GitHub: fetch-depth: 0 for actions/checkout; GitLab: GIT_DEPTH: 0)"
            )

    def _known(self, revision: str) -> str:
        if commit := self.commit_of(revision):
            return commit
        if revision == "HEAD":
            raise RevisionError("this repository has no commit yet: commit first, then there is something to compare")
        self._refuse_shallow(repr(revision))
        branches = self._asked("for-each-ref", "--format=%(refname:short)").splitlines()
        remote = [name for name in branches if name.endswith(f"/{revision}")]
        near = f" (did you mean {remote[0]}?)" if remote else nearest(revision, branches)
        raise RevisionError(f"git knows no revision {revision!r}{near}; a branch, a tag or a commit was expected")

    def _named(self, commit: str, revision: str = "") -> str:
        short = self._asked("rev-parse", "--short", commit)
        return f"{revision} ({short})" if revision and not commit.startswith(revision) else short

    def _checkout(
        self, name: str, commit: str, told: str, changed_since: str = "", notes: tuple[str, ...] = ()
    ) -> Revision:
        root, within = self._made / name, self._folder.relative_to(self.top)
        self._git("worktree", "add", "--detach", "--force", str(root), commit)
        if not (root / within).is_dir():
            raise RevisionError(f"{told} has no folder {within}; run in one that it has")
        for sheet in self._sheets:
            if not (root / sheet).is_dir():
                raise RevisionError(f"{told} has no folder {sheet} of sheets")
        parts = [line.partition("\t") for line in self._git("ls-tree", "-r", commit).splitlines()]
        if modules := [path for about, _, path in parts if about.startswith("160000 ")]:
            empty = f"submodules are empty in {told}: {', '.join(modules)}"
            notes += (f"{empty}; --setup 'git submodule update --init'",)
        sheets = tuple(str(root / sheet) for sheet in self._sheets)
        place = Place(str(root), str(root / within), sheets, str(self.top))
        return Revision(told, changed_since or commit, place, commit, bool(changed_since), notes)

    def _snapshot(self) -> tuple[str, tuple[str, ...]]:
        """Make a commit of the working tree, untracked files included, in a place of our own that git forgets."""
        objects, index = self._made / "objects", self._made / "index"
        objects.mkdir()
        theirs, staged = (
            Path(self._git("rev-parse", "--path-format=absolute", "--git-path", name).strip())
            for name in ("objects", "index")
        )
        self._objects = {"GIT_OBJECT_DIRECTORY": str(objects), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(theirs)}
        untracked = self._git("ls-files", "--others", "--exclude-standard", "-z", "--full-name", ":/").split("\0")
        there = {path: self.top / path for path in untracked if path}
        sizes = {path: at.lstat().st_size for path, at in there.items() if at.is_file() or at.is_symlink()}
        if staged.exists():  # what is staged and in no commit yet is in no other list
            shutil.copyfile(staged, index)
        else:
            self._git("read-tree", "HEAD", index=index)
        self._git("add", "--update", ":/", index=index)
        if small := [f":(top,literal){path}" for path, size in sizes.items() if size <= _LARGEST_UNTRACKED]:
            self._git("add", "--pathspec-from-file=-", "--pathspec-file-nul", index=index, given="\0".join(small))
        tree = self._git("write-tree", index=index).strip()
        who = ("-c", "user.name=fer-bench", "-c", "user.email=fer-bench@localhost")
        commit = self._git(*who, "commit-tree", tree, "-p", "HEAD", "-m", "the working tree").strip()
        large = {path: size for path, size in sizes.items() if size > _LARGEST_UNTRACKED}
        listed = ", ".join(f"{path} ({units.mebibytes.number(size)} MiB)" for path, size in large.items())
        return commit, ((f"left out, since untracked and large: {listed}",) if large else ())

    def _asked(self, *arguments: str) -> str:
        """Return what git answers, "" where it has no answer."""
        return self._run(*arguments).stdout.strip()

    def _git(self, *arguments: str, index: Path | None = None, given: str = "") -> str:
        done = self._run(*arguments, index=index, given=given)
        if done.returncode:
            why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise RevisionError(f"git {' '.join(arguments[:2])} failed: {why}")
        return done.stdout

    def _run(self, *arguments: str, index: Path | None = None, given: str = "") -> subprocess.CompletedProcess[str]:
        # The user's own git; no hook of the repository's runs for what the user does not see.
        command = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(self._folder), *arguments]
        try:
            return subprocess.run(  # noqa: S603
                command,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                env=self._environment | self._objects | ({"GIT_INDEX_FILE": str(index)} if index is not None else {}),
                input=given,
                timeout=_SLOW_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RevisionError(f"git {arguments[0]} did not end within {_SLOW_S:g} s") from error

    def _remove(self, made: Path) -> None:
        self._objects = {}
        interrupts = (signal.SIGINT, signal.SIGTERM)  # ignored, so that pressing Ctrl-C again leaves nothing behind
        before = {one: signal.signal(one, signal.SIG_IGN) for one in interrupts}
        try:
            for _ in range(2):  # again for one that was half made, which git removes once its folder is gone
                for name in ("base", "head"):
                    self._run("worktree", "remove", "--force", "--force", str(made / name))
                shutil.rmtree(made, ignore_errors=True)
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _remove_left_behind(self) -> None:
        """Remove what a gate left that was killed beyond cleaning up."""
        listed = self._asked("worktree", "list", "--porcelain").splitlines()
        parents = {Path(line.removeprefix("worktree ")).parent for line in listed if line.startswith("worktree ")}
        for parent in parents:
            owner = re.fullmatch(rf"{_PREFIX}-(\d+)-\w+", parent.name)
            if owner and not psutil.pid_exists(int(owner[1])):
                self._remove(parent)
