"""Audit what papers print: the figures of sheets, or of a table that a user has typed in."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

import fer_bench
from fer_bench.auditing import claims_of, judge_all, needed, varied
from fer_bench.auditing import tables as drawn
from fer_bench.auditing.csv_table import read_table
from fer_bench.auditing.evidence import find, gather
from fer_bench.auditing.verdicts import TONES, WRONG, Claim, Verdict
from fer_bench.measuring.executors import Pool
from fer_bench.measuring.progress import counted, watch
from fer_bench.measuring.runner import measure_all
from fer_bench.measuring.task import Task, fingerprint
from fer_bench.measuring.variants import of_paper
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.spec import ModelSpec, Shape
from fer_bench.records import files
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.exchange import export
from fer_bench.records.plan import QUICK, RECOUNT
from fer_bench.records.result import Result
from fer_bench.records.schema import listed
from fer_bench.records.store import Store
from fer_bench.reporting.analysis.sweeps import series
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables import failures

if TYPE_CHECKING:
    import pandas

_KEPT = timedelta(days=7)  # recounts of an audit that did not end


@dataclass(frozen=True, eq=False)
class Audit(Sequence[Verdict]):
    r"""Verdicts on printed figures, in the order in which they are printed; it prints itself.

    Attributes:
        verdicts: one on each figure.
        registry: has the titles of the papers.
        failures: why networks could not be recounted, whose figures are judged without.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("theirs.csv").write_text("Model,Params (M)\nSqueezeNet 1.1,1.24\nSqueezeNet 1.0,1.24\n")
        >>> verdicts = fb.audit("theirs.csv", num_classes=1000, progress=False)
        >>> len(verdicts), [verdict.kind.value for verdict in verdicts][0]
        (2, 'confirmed')
    """

    verdicts: tuple[Verdict, ...]
    registry: Registry
    failures: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.verdicts)

    @overload
    def __getitem__(self, place: int) -> Verdict: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Verdict | Self:
        if isinstance(place, slice):
            return dataclasses.replace(self, verdicts=self.verdicts[place])
        return self.verdicts[place]

    @property
    def wrong(self) -> "Audit":
        """What does not stand as it is printed."""
        return dataclasses.replace(self, verdicts=tuple(v for v in self.verdicts if v.kind in WRONG))

    @property
    def tables(self) -> dict[str, Table]:
        """The number of verdicts of each kind, and all of them, by the stems of their files."""
        return {"audit_summary": drawn.summary(self.verdicts), "audit": drawn.verdicts(self.verdicts)}

    @property
    def tones(self) -> Mapping[str, str]:
        """How a page shows a verdict."""
        return TONES

    def by_paper(self) -> dict[str, Table]:
        """Return a table for each paper, in a form that fits a page, by the stem of its files."""
        return drawn.by_paper(self.verdicts, self.registry.papers)

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas DataFrame, one row for each figure; one that a paper repeats has all its places."""
        return self.tables["audit"].to_frame()

    def __str__(self) -> str:
        return "\n\n".join(map(str, (self.tables["audit_summary"], *self.by_paper().values())))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in (self.tables["audit_summary"], *self.by_paper().values()))


def audit(
    table: "str | Path | pandas.DataFrame | None" = None,
    *,
    papers: str | Sequence[str] = (),
    networks: str | Sequence[str] = (),
    num_classes: int | None = None,
    input_shape: Shape | None = None,
    known: Iterable[Result] = (),
    recount: bool = True,
    save: str | Path | None = None,
    registry: Registry | None = None,
    progress: bool = True,
    debug: bool = False,
) -> Audit:
    """Recompute published figures and judge each of them.

    A figure is right, right by another convention, or wrong: an impossible unit, another network's count, a
    contradiction, or a number that nothing explains. Networks are recounted in processes of their own. Variants that
    a paper tried are counted where it says something of all of them.

    Args:
        table: a published table, as a CSV file or a DataFrame: its headings name the network, and parameters, FLOPs
            or MACs with their units; without one, the figures of the sheets are audited.
        papers: only the figures of these, such as "001".
        networks: only the figures of these.
        num_classes: outputs of the networks in a table without a column for it.
        input_shape: (C, H, W) of the images of those; by default each network's own.
        known: recounts that were made before.
        recount: False judges by ``known`` alone.
        save: a file for the recounts that are made now.
        registry: the sheets; by default the built-in ones.
        progress: show it.
        debug: pass on to stderr what the processes print there.

    Raises:
        FerBenchError: nothing is left to audit, or the table cannot be read.

    Examples:
        >>> import pandas
        >>> table = pandas.DataFrame({"Model": ["SqueezeNet 1.1"], "Params (M)": [1.24], "FLOPs (G)": [0.35]})
        >>> verdicts = fb.audit(table, num_classes=1000, progress=False)
        >>> verdicts.to_frame()[["quantity", "printed", "verdict"]].to_dict("records")
        [{'quantity': 'parameters', 'printed': '1.24 M', 'verdict': 'confirmed'}, ...]
    """
    registry, papers, networks = registry or built_in(), listed(papers), listed(networks)
    if table is None:
        if num_classes is not None or input_shape is not None:
            raise FerBenchError("--classes and --input are of --table; a sheet says them for itself")
        claims, chosen = _claims(registry, papers, networks)
    else:
        if papers or networks:
            raise FerBenchError("--table is audited as a whole: leave --paper and --models out")
        source = Path(table) if isinstance(table, str) else table
        claims = chosen = read_table(source, registry, num_classes, input_shape)
    results = list(known)
    evidence, recounted = gather(results), list[Result]()
    if recount:
        missing = [spec for spec in needed(claims) if find(spec, evidence) is None]
        counted_all = {one.network for one in series(results, registry.networks) if len(one.labels) == one.of}
        variants = [spec for spec in varied(chosen) if spec.name not in counted_all]
        recounted = _recounted(missing, variants, save, progress=progress, debug=debug)
        evidence += gather(recounted)
    tried = series([*results, *recounted], registry.networks)
    specs = {**registry.networks, **{claim.network: claim.spec for claim in claims if claim.spec is not None}}
    watched = functools.partial(counted, what="judging") if progress else iter
    verdicts = tuple(judge_all(claims, evidence, specs, chosen, watched, tried))
    failed = tuple(f"{result.subject.name}: {failure}" for result in recounted for failure in failures(result))
    return Audit(verdicts, registry, failed)


def _claims(registry: Registry, papers: Sequence[str], models: Sequence[str]) -> tuple[list[Claim], list[Claim]]:
    """Choose the figures of the sheets: all of the papers concerned, by which each is judged, and those asked for."""
    claims = claims_of(registry)
    printed = dict.fromkeys(claim.figure.paper for claim in claims)
    if unknown := [paper for paper in papers if paper not in printed]:
        raise FerBenchError(f"--paper {', '.join(unknown)}: there are figures of {', '.join(sorted(printed))}")
    for name in models:
        registry.find(name)
    chosen = [
        claim
        for claim in claims
        if (not papers or claim.figure.paper in papers) and (not models or claim.network in models)
    ]
    if not chosen:
        raise FerBenchError("no printed figure is left to audit: drop --paper or --models")
    concerned = {claim.figure.paper for claim in chosen}
    return [claim for claim in claims if claim.figure.paper in concerned], chosen


def _recounted(
    specs: Sequence[ModelSpec], variants: Sequence[ModelSpec], save: str | Path | None, *, progress: bool, debug: bool
) -> list[Result]:
    """Count networks in workers, and variants of others in a pool; what cannot be counted has no recount."""
    own = [Task(spec, dataclasses.replace(RECOUNT, num_classes=spec.num_classes), spec.input_shape) for spec in specs]
    static = dataclasses.replace(QUICK, metrics=("static",))
    of_papers = [task for spec in variants for task in of_paper(spec, static).tasks]
    runs, results = list[str](), list[Result]()
    with _unfinished_counts() as store:
        for tasks, executor in ((of_papers, Pool(debug=debug)), (own, None)):
            if not tasks:
                continue
            mark = f"{fingerprint(tasks)}-{_counted_by()}"
            run = _resumed(store, mark, len(tasks), show=progress) or store.begin(mark, "recounts for an audit")
            with watch(len(tasks), show=progress) as watcher:
                done = measure_all(tasks, store, run, watcher, executor=executor, debug=debug)
            if done.stopped is not None:
                raise done.stopped
            runs.append(run)
            results += done.results
        if save is not None and runs:
            files.write(Path(save), export(store, [store.find_run(run) for run in runs]))
        for run in runs:
            store.delete(run)
    return results


@contextlib.contextmanager
def _unfinished_counts() -> Iterator[Store]:
    """Open the user's store of recounts that an audit was killed at, or where there can be none, one for this audit."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer-bench"
    with contextlib.ExitStack() as stack:
        try:
            store = Store.open(str(cache / "audits.sqlite"), create=True)
        except StoreError:  # the home folder cannot be written to, or is full
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            store = Store.open(str(Path(folder) / "audits.sqlite"), create=True)
        yield stack.enter_context(store)


def _resumed(store: Store, mark: str, count: int, *, show: bool) -> str:
    """Go on with the recounts of the same networks by the same code, if there are any; drop those of long ago."""
    oldest = (datetime.now(UTC) - _KEPT).isoformat()
    for old in store.runs():
        if old.state != "under way" and old.started_at < oldest:
            store.delete(old.id)
    earlier = store.resumable(mark)
    if earlier is None or not store.resume(earlier.id):
        return ""
    if show:
        sys.stderr.write(f"The audit goes on: {earlier.results} of {count} networks are counted.\n")
    return earlier.id


def _counted_by() -> str:
    """Return a mark of the code that counts: another version, or an edited file, may count otherwise."""
    package = Path(fer_bench.__file__).parent
    code = sorted(file for folder in (package, package / "models") for file in folder.resolve().rglob("*.py"))
    about = [(str(file), file.stat().st_mtime_ns) for file in code]
    versions = [importlib.metadata.version(name) for name in ("fer-bench", "torch", "torchvision", "timm", "thop")]
    return hashlib.sha256(repr((about, versions)).encode()).hexdigest()[:16]
