"""The command that audits published figures."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fer_bench
from fer_bench.cli import options
from fer_bench.cli.common import complain, parse_list, parse_shape, print_tables, registry_of
from fer_bench.cli.options import Names, several
from fer_bench.records import files
from fer_bench.records.errors import FerBenchError, StoreError
from fer_bench.records.exit_codes import FINDING, OK
from fer_bench.records.plan import RECOUNT
from fer_bench.records.sources import read_results
from fer_bench.records.store import DEFAULT_STORE, Store

if TYPE_CHECKING:
    from fer_bench.auditing.verdicts import Claim
    from fer_bench.networks.registry import Registry
    from fer_bench.networks.spec import ModelSpec
    from fer_bench.records.result import Result


_KEPT = timedelta(days=7)  # recounts of an audit that did not end


def audit(
    networks: options.Networks = None,
    models: options.Models = None,
    paper: Annotated[Names, several("Only the figures of these papers, as 001.")] = None,
    table: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="A published table instead of sheets.")] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", min=1, help="Outputs of the networks in --table.")] = None,
    input_: Annotated[str, typer.Option("--input", metavar="CxHxW", help="Image size of those in --table.")] = "",
    sheets: options.Sheets = None,
    sources: Annotated[Names, options.results("by default none")] = None,
    store: options.Store = DEFAULT_STORE,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the recounts made now, for --from.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="Show only what does not stand as printed.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write all tables here, print nothing.")] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 even if figures are wrong.")] = False,
    fmt: options.Format = "table",
    debug: options.Debug = False,
) -> None:
    """Recompute published figures and judge each of them.

    A figure is right, right by another convention, or wrong: an impossible unit, another network's count, a
    contradiction, or a number that nothing explains. The same command goes on with an audit that was killed.
    """
    from fer_bench.auditing import audit as judge
    from fer_bench.auditing import needed
    from fer_bench.auditing import tables as drawn
    from fer_bench.auditing.csv_table import read_table
    from fer_bench.auditing.evidence import find, gather
    from fer_bench.auditing.verdicts import WRONG
    from fer_bench.measuring.progress import counted
    from fer_bench.reporting.render import write_all

    registry = registry_of(sheets)
    names = parse_list(networks, models)
    if table is None:
        if classes is not None or input_:
            raise FerBenchError("--classes and --input are of --table; a sheet says them for itself")
        claims, chosen = _claims(registry, parse_list(paper), names)
    else:
        if paper or names:
            raise FerBenchError("--table is audited as a whole: leave --paper and --models out")
        claims = chosen = read_table(table, registry, classes, parse_shape(input_) if input_ else None)
    known = [result for source in sources or [] for result in read_results(source, store)]
    evidence = gather(known)
    missing = [spec for spec in needed(claims) if find(spec, evidence) is None]
    evidence += gather(_recounted(missing, save, debug=debug))
    specs = {**registry.networks, **{claim.network: claim.spec for claim in claims if claim.spec is not None}}
    verdicts = judge(claims, evidence, specs, chosen, lambda judged: counted(judged, "judging"))
    shown = [verdict for verdict in verdicts if verdict.kind in WRONG] if wrong else verdicts
    full, short = (
        drawn.verdicts(shown),
        {"audit_summary": drawn.summary(verdicts), **drawn.by_paper(shown, registry.papers)},
    )
    if out is not None:  # all of it for programs, and what fits a page for readers
        write_all(out, {"audit": full}, ("csv", "json"))
        write_all(out, short, ("markdown", "latex"))
    else:
        print_tables([full] if fmt in ("csv", "json") else short.values(), fmt)
    count = sum(verdict.kind in WRONG for verdict in verdicts)
    if count and not exit_zero:
        message = f"{count} of {len(verdicts)} figures do not stand as they are printed (--wrong shows them)"
        raise typer.Exit(complain(message, FINDING))


def _claims(registry: "Registry", papers: Sequence[str], models: Sequence[str]) -> "tuple[list[Claim], list[Claim]]":
    """Choose the figures of the sheets: all of the papers concerned, by which each is judged, and those asked for."""
    from fer_bench.auditing import claims_of

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


def _recounted(specs: "Sequence[ModelSpec]", save: Path | None, *, debug: bool) -> "list[Result]":
    """Count networks in workers; what cannot be counted is reported, and its figures have no recount."""
    if not specs:
        return []
    from fer_bench.measuring.progress import Display
    from fer_bench.measuring.runner import measure_all
    from fer_bench.measuring.task import Task, fingerprint
    from fer_bench.records.exchange import export
    from fer_bench.reporting.tables import failures

    tasks = [Task(spec, dataclasses.replace(RECOUNT, num_classes=spec.num_classes), spec.input_shape) for spec in specs]
    with _unfinished_counts() as store:
        mark = f"{fingerprint(tasks)}-{_counted_by()}"
        run = _resumed(store, mark, len(tasks)) or store.begin(mark, "recounts for an audit")
        with Display(len(tasks)) as display:
            done = measure_all(tasks, store, run, display, debug=debug)
        if done.stopped is not None:
            raise done.stopped
        if save is not None:
            files.write(save, export(store, [store.find_run(run)]))
        store.delete(run)
    for result in done.results:
        for failure in failures(result):
            complain(f"{result.subject.name}: {failure}", OK)
    return done.results


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


def _resumed(store: Store, mark: str, count: int) -> str:
    """Go on with the recounts of the same networks by the same code, if there are any; drop those of long ago."""
    oldest = (datetime.now(UTC) - _KEPT).isoformat()
    for old in store.runs():
        if old.state != "under way" and old.started_at < oldest:
            store.delete(old.id)
    earlier = store.resumable(mark)
    if earlier is None or not store.resume(earlier.id):
        return ""
    typer.echo(f"The audit goes on: {earlier.results} of {count} networks are counted.", err=True)
    return earlier.id


def _counted_by() -> str:
    """Return a mark of the code that counts: another version, or an edited file, may count otherwise."""
    package = Path(fer_bench.__file__).parent
    files = sorted(file for folder in (package, package / "models") for file in folder.resolve().rglob("*.py"))
    about = [(str(file), file.stat().st_mtime_ns) for file in files]
    versions = [importlib.metadata.version(name) for name in ("fer-bench", "torch", "torchvision", "timm", "thop")]
    return hashlib.sha256(repr((about, versions)).encode()).hexdigest()[:16]
