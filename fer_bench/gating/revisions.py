"""Check out revisions of the user's repository side by side, and write nothing to it.

Each side is a clone of its own in a temporary folder, the working tree with its changes too. So both lie on the same
disk under paths of the same length, and nothing changes under a measurement. A clone reads the objects of the user's
repository, which does not know of it. After kill -9, too, nothing but the temporary folder is left.
"""

import contextlib
import fcntl
import filecmp
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, Self

from fer_bench.networks.place import Place
from fer_bench.records import git, units
from fer_bench.records.errors import RevisionError, nearest

_PREFIX = "fer-bench-gate"
_LOCK = "in-use"  # a file of the temporary folder, locked by the gate that made it; a killed one holds no lock
_SLOW_S = 600.0  # a checkout that takes longer hangs, on a password perhaps
_LARGEST_UNTRACKED = 64 * 2**20  # bytes of a file that is copied into a checkout though git does not know it
TRAILER = "Fer-Bench-Accept"  # of a commit message, which accepts what the commit changes

# Of a clone, after the user's own configuration: hooks stay off for what --setup calls, too.
_CLONES_OWN = """
[core]
	bare = false
	hooksPath = /dev/null
	fsmonitor = false
	splitIndex = false
	untrackedCache = false
	safecrlf = false
[gc]
	auto = 0
[maintenance]
	auto = false
"""
_NO_FILTER = ("unspecified", "unset")  # as git writes it of an attribute
_SPARSE = ("sparseCheckout", "sparseCheckoutCone")  # which a linked worktree may have of its own


@dataclass(frozen=True, slots=True)
class Revision:
    """A checkout of a revision.

    Attributes:
        label: as a reader knows it, such as "main (1a2b3c4)".
        commit: its whole hash; of a working tree with changes, of the commit that it started from.
        tree: what was checked out, by a hash that this gate's git knows.
        changed: it is a working tree with changes.
    """

    label: str
    commit: str
    place: Place
    tree: str
    changed: bool = False
    notes: tuple[str, ...] = ()


class Repository:
    """The git repository around a folder, which is only read, and clones of it; on leaving these are removed.

    Args:
        folder: the current folder.
        sheets: folders of a user's sheets, inside the repository.

    Raises:
        RevisionError: there is no git, or the folder is in no working tree of a repository.

    Attributes:
        environment: of processes that work in a checkout.
    """

    _made: Path  # on entering, for the clones
    _lock: IO[str]  # held as long as these are in use

    def __init__(self, folder: Path, sheets: Sequence[Path] = ()) -> None:
        self._folder = folder.resolve()
        self.environment = git.environment()
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
            self._refuse_without_working_tree()
        self.top = Path(top).resolve()
        self._sheets = [self.inside(sheet.resolve()) for sheet in sheets]

    def __enter__(self) -> Self:
        _remove_left_behind()
        self._made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-"))
        self._lock = (self._made / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        interrupts = (signal.SIGINT, signal.SIGTERM)  # ignored, so that pressing Ctrl-C again leaves nothing behind
        before = {one: signal.signal(one, signal.SIG_IGN) for one in interrupts}
        try:
            shutil.rmtree(self._made, ignore_errors=True)
            self._lock.close()
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

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
        root = self._clone("head", head)
        changed = self._changed(root)
        if not changed:
            return self._checkout("head", head, self._named(head, "HEAD"))
        many = f"{len(changed)} uncommitted change{'s' if len(changed) > 1 else ''}"
        tree, notes = self._snapshot(root, changed)
        label = f"the working tree: {self._named(head)} and {many}"
        return self._checkout("head", tree, label, changed_since=head, notes=notes)

    def accepted(self, base: Revision, candidate: Revision) -> list[str]:
        """Return what commits between two have in a trailer ``Fer-Bench-Accept: NETWORK: reason``."""
        form = f"--format=%(trailers:key={TRAILER},valueonly,unfold)"
        trailers = self._asked("log", form, f"{base.commit}..{candidate.commit}")
        return [line.strip() for line in trailers.splitlines() if line.strip()]

    def binaries_changed(self, base: Revision, candidate: Revision) -> bool:
        """Return whether a file that git takes for binary differs: weights, compiled code."""
        changed = self._git(
            "diff", "--numstat", "--no-renames", base.tree, candidate.tree, at=Path(candidate.place.root)
        )
        return any(line.startswith("-\t-\t") for line in changed.splitlines())

    def _refuse_without_working_tree(self) -> NoReturn:
        if self._asked("rev-parse", "--is-bare-repository") == "true":
            raise RevisionError(
                f"{self._folder} is a bare repository, which has no working tree: make one, and run in it: "
                f"git clone {self._folder} FOLDER"
            )
        if self._asked("rev-parse", "--is-inside-git-dir") == "true":
            raise RevisionError(f"{self._folder} belongs to git; run in the working tree of its repository")
        raise RevisionError(f"{self._folder} is in no git repository; run in one, or use --baseline FILE without")

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
        self, name: str, commit: str, label: str, changed_since: str = "", notes: tuple[str, ...] = ()
    ) -> Revision:
        root, within = self._clone(name, commit), self._folder.relative_to(self.top)
        (root / ".git" / "index").unlink(missing_ok=True)  # the candidate's is of the user's files
        self._git("checkout", "--quiet", "--force", "--detach", commit, at=root)
        if not (root / within).is_dir():
            raise RevisionError(f"{label} has no folder {within}; run in one that it has")
        for sheet in self._sheets:
            if not (root / sheet).is_dir():
                raise RevisionError(f"{label} has no folder {sheet} of sheets")
        parts = [line.partition("\t") for line in self._git("ls-tree", "-r", commit, at=root).splitlines()]
        if modules := [path for about, _, path in parts if about.startswith("160000 ")]:
            empty = f"submodules are empty in {label}: {', '.join(modules)}"
            notes += (f"{empty}; --setup 'git submodule update --init'",)
        sheets = tuple(str(root / sheet) for sheet in self._sheets)
        place = Place(str(root), str(root / within), sheets, str(self.top))
        return Revision(label, changed_since or commit, place, commit, bool(changed_since), notes)

    def _clone(self, name: str, commit: str) -> Path:
        """Return a clone with nothing checked out, which has the user's objects, references and configuration.

        ``git clone`` would copy the objects of a shallow or partial repository, and name the user's as the origin.
        """
        root = self._made / name
        if root.exists():  # the candidate's, in which the user's changes were looked for
            return root
        kind = self._git("rev-parse", "--show-object-format").strip()
        self._git("init", "--quiet", "--template=", f"--object-format={kind}", str(root))
        own = root / ".git"
        config = self._their_file("config")
        sparse = [f"\t{key} = {self._asked('config', '--type=bool', f'core.{key}') or 'false'}\n" for key in _SPARSE]
        include = f"[include]\n\tpath = {_quoted(str(config))}\n"
        _write(own / "config", "".join([include, (own / "config").read_text(), _CLONES_OWN, "[core]\n", *sparse]))
        _write(own / "objects" / "info" / "alternates", f"{self._their_file('objects')}\n")
        (own / "info").mkdir(exist_ok=True)
        for each in ("info/attributes", "info/exclude", "info/sparse-checkout", "shallow"):
            if (there := self._their_file(each)).exists():
                shutil.copyfile(there, own / each)
        _write(own / "packed-refs", self._git("for-each-ref", "--format=%(objectname) %(refname)"))
        _write(own / "HEAD", f"{commit}\n")
        return root

    def _changed(self, root: Path) -> dict[str, str]:
        """Return what git status has of the user's working tree: two letters of each path that changed.

        It is asked of a clone with a copy of the user's index, which is so neither locked nor refreshed.
        """
        own = root / ".git"
        index = self._their_file("index")
        if index.exists():
            for each in (index, *index.parent.glob("sharedindex.*")):
                shutil.copy2(each, own / each.name)  # with its time, by which git knows which files to read
        else:
            self._git("read-tree", "HEAD", at=root)
        with _attributes(own, "* -filter\n"):
            options = ("--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")
            listed = self._git("status", *options, at=root, of=self.top).split("\0")
        changed = {entry[3:]: entry[:2] for entry in listed if entry}
        modified = self._filtered(root, [path for path, letters in changed.items() if letters[1] == "M"])
        self._git("checkout-index", "-z", "--stdin", at=root, given="\0".join(modified))
        for path in modified:  # git has read it without the filter: it is as it was if a checkout has the same
            if filecmp.cmp(self.top / path, root / path, shallow=False):
                changed[path] = changed[path][0] + " "
        return {path: letters for path, letters in changed.items() if letters != "  "}

    def _filtered(self, root: Path, paths: Sequence[str]) -> list[str]:
        """Return which of the user's files have a filter, such as Git LFS."""
        listed = self._git("check-attr", "-z", "--stdin", "filter", at=root, of=self.top, given="\0".join(paths))
        fields = listed.split("\0")
        return [path for path, value in zip(fields[::3], fields[2::3], strict=False) if value not in _NO_FILTER]

    def _snapshot(self, root: Path, changed: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        """Make a commit of the working tree in a clone, untracked files included.

        What a filter would change is committed and checked out as the user's file is: no filter runs for it.
        """
        own = root / ".git"
        untracked = {path: self.top / path for path, letters in changed.items() if letters == "??"}
        sizes = {path: at.lstat().st_size for path, at in untracked.items() if at.is_file() or at.is_symlink()}
        large = {path: size for path, size in sizes.items() if size > _LARGEST_UNTRACKED}
        added = [path for path, letters in changed.items() if letters[1] not in " ?"]  # the rest is in the index
        added += [path for path in sizes if path not in large]
        unfiltered = "".join(f"{_pattern(path)} -filter\n" for path in self._filtered(root, added))
        with (own / "info" / "attributes").open("ab") as attributes:
            attributes.write(os.fsencode(f"\n{unfiltered}"))
        if added:
            given = "\0".join(f":(top,literal){path}" for path in added)
            options = ("--all", "--pathspec-from-file=-", "--pathspec-file-nul")
            self._git("add", *options, at=root, of=self.top, given=given)
        tree = self._git("write-tree", at=root).strip()
        who = ("-c", "user.name=fer-bench", "-c", "user.email=fer-bench@localhost")
        commit = self._git(*who, "commit-tree", tree, "-p", "HEAD", "-m", "the working tree", at=root).strip()
        listed = ", ".join(f"{path} ({units.mebibytes.number(size)} MiB)" for path, size in large.items())
        return commit, ((f"left out, since untracked and large: {listed}",) if large else ())

    def _their_file(self, name: str) -> Path:
        """Return where the user's repository, or its linked worktree, has a file of its own."""
        return Path(self._git("rev-parse", "--path-format=absolute", "--git-path", name).removesuffix("\n"))

    def _asked(self, *arguments: str) -> str:
        """Return what git answers of the user's repository, "" where it has no answer."""
        return self._run(*arguments).stdout.strip()

    def _git(self, *arguments: str, at: Path | None = None, of: Path | None = None, given: str = "") -> str:
        done = self._run(*arguments, at=at, of=of, given=given)
        if done.returncode:
            why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise RevisionError(f"git {' '.join(arguments[:2])} failed: {why}")
        return done.stdout

    def _run(
        self, *arguments: str, at: Path | None = None, of: Path | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run git in the user's repository, which it must only read, or in a clone, there also of the user's files."""
        where: tuple[str, ...] = ("-C", str(at or self._folder))
        if at is not None and of is not None:
            where = ("-C", str(of), "--git-dir", str(at / ".git"), "--work-tree", str(of))
        try:
            return subprocess.run(  # noqa: S603
                [*git.ONLY_READ, *where, *arguments],  # the user's own git
                capture_output=True,
                text=True,
                errors="surrogateescape",
                env=self.environment | {"GIT_TERMINAL_PROMPT": "0", "GIT_DEFAULT_REF_FORMAT": "files"},
                input=given,
                timeout=_SLOW_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RevisionError(f"git {arguments[0]} did not end within {_SLOW_S:g} s") from error


def _write(file: Path, text: str) -> None:
    file.write_bytes(os.fsencode(text))


def _quoted(text: str) -> str:
    """Return text as git's files have it in quotation marks."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _pattern(path: str) -> str:
    """Return the pattern of an attributes file that matches one path alone."""
    return _quoted("/" + re.sub(r"([\\*?\[])", r"\\\1", path))


@contextlib.contextmanager
def _attributes(own: Path, text: str) -> Iterator[None]:
    """Have attributes in a clone that go before all others."""
    file = own / "info" / "attributes"
    before = file.read_bytes() if file.exists() else b""
    file.write_bytes(before + b"\n" + os.fsencode(text))
    yield
    file.write_bytes(before)


def _remove_left_behind() -> None:
    """Remove the temporary folder of a gate that was killed beyond cleaning up."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}-*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open() as held:  # of another user, in use, or removed just now
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
