"""Measure the variants of a sweep, and name the best one where accuracies are given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.accuracy.curves import Choice, Point, choose, read_curves
from fer_bench.measuring.candidates import accuracies_of, files_of
from fer_bench.measuring.executors import opened_executor
from fer_bench.measuring.measure import begin, earlier_run, opened, plan_of
from fer_bench.measuring.progress import Quiet, watch
from fer_bench.measuring.race import ALPHA, Race, metric_of
from fer_bench.measuring.runner import measure_all
from fer_bench.measuring.task import Task
from fer_bench.measuring.variants import BUILT_IN, MOST, Grid, patch_adaptation, read_grid
from fer_bench.networks.registry import Registry, built_in
from fer_bench.records.errors import FerBenchError, nearest
from fer_bench.records.limits import Budget
from fer_bench.records.plan import Plan
from fer_bench.records.result import Result
from fer_bench.records.schema import listed
from fer_bench.reporting.analysis.sweeps import Published, read_limits, stays_under
from fer_bench.reporting.figures.sweeps import curves
from fer_bench.reporting.render import FILED, write_all
from fer_bench.reporting.results import Results
from fer_bench.reporting.table import Table
from fer_bench.reporting.tables.sweeps import calibration, choice_of_paper, drifts, variants

if TYPE_CHECKING:
    import pandas

    from fer_bench.reporting.figures.plots import Scatter


@dataclass(frozen=True, eq=False)
class Sweep:
    """The variants of a sweep that stay under the limits, in order; it prints itself as a table.

    Attributes:
        title: of the sweep.
        labels: of the variants: of a cut the name of the Keras layer.
        results: of the same.
        accuracies: by label, each at its best epoch; empty without a file of accuracies.
        choice: the best variant; None without accuracies.
        of: how many variants the sweep has in all.
        images: of a training epoch, for its time; None for none.
        nodes: of a cluster: the results of the reference network on each, before the variants and after them.
        epochs: of the whole training, for its time; None for none.
        published: what a paper prints of this sweep; None where it is no paper's.
        run: its id in the store.
        fastest: the fastest variant of a race, and then those that cannot be told apart from it; empty without one.

    Examples:
        >>> swept = fb.sweep("rarn-backbones", under="params=50M", progress=False)
        >>> swept.labels, swept.of, swept.choice
        (('resnet18', 'resnet34', 'resnet50', 'resnet101'), 5, None)
    """

    title: str
    labels: tuple[str, ...]
    results: Results
    accuracies: Mapping[str, Point]
    choice: Choice | None
    of: int
    images: int | None = None
    epochs: int | None = None
    published: Published | None = None
    run: str = ""
    fastest: tuple[str, ...] = ()
    nodes: tuple[Result, ...] = ()

    def table(self) -> Table:
        """Return the variants as a table; the cost front is marked."""
        drawn = variants(
            self.title,
            self.labels,
            self.results,
            self.accuracies,
            self.choice,
            images=self.images,
            epochs=self.epochs,
            published=self._cut_of_paper(),
        )
        return replace(drawn, name="sweep", caption=" ".join(filter(None, (drawn.caption, drifts(self.nodes)))))

    def calibration(self) -> Table | None:
        """Return how the reference network ran on each node before and after; None unless nodes were timed."""
        return calibration(self.nodes) if self.nodes else None

    def figures(self) -> "dict[str, Scatter]":
        """Return what was measured over the variants, by the stem of the files: paper 000's Fig. 3 and 4."""
        cut = self._cut_of_paper()
        return curves(self.title, self.labels, self.results, self.accuracies, self.choice, named=(cut,) if cut else ())

    def front(self) -> list[str]:
        """Return the labels of the variants on the front."""
        return [str(row["variant"]) for row in self.table().rows if row.get("front")]

    def _cut_of_paper(self) -> str:
        return self.published.best if self.published is not None and self.published.best in self.labels else ""

    def conclusion(self) -> list[str]:
        """Return in sentences what can be concluded of the variants."""
        front, choice = self.front(), self.choice
        said = [f"{len(self.labels)} of {self.of} variants; {len(front)} on the front.", *self._beside_the_paper(front)]
        if self.fastest:
            best, *level = self.fastest
            others = ", ".join(level) if len(level) <= _NAMED else f"{len(level)} others"
            said.append(
                f"Fastest in the race: {best}; not told apart from it: {others or 'none'} (t intervals of paired log "
                f"ratios, valid after every round, {100 * ALPHA:g} % over {self.of - 1} comparisons)."
            )
        if choice is None:
            return [
                *said,
                "No accuracies are given, so that none is the most accurate: --accuracy CURVES.csv has them, or "
                "--checkpoints FOLDER.",
            ]
        return [*said, *_of_choice(choice)]

    def _beside_the_paper(self, front: Sequence[str]) -> list[str]:
        """Return what a paper prints of the same sweep, beside what was measured."""
        printed, said = self.published, list[str]()
        if printed is None:
            return said
        if self._cut_of_paper():
            said.append(choice_of_paper(printed, self.of, on_front=printed.best in front))
        times = sorted(time for row in self.table().rows if (time := row.get("recipe_s")) is not None)
        if times and printed.training_s:
            low, high = printed.training_s
            said.append(
                f"{self.epochs} epochs take about {times[0]:,.0f} to {times[-1]:,.0f} s here by the median step of one "
                f"process, without data loading and validation. The paper prints {low:,} to {high:,} s on an "
                f"{printed.hardware}, with early stopping: by these, {low / times[0]:.2g} and "
                f"{high / times[-1]:.2g} of the time of all epochs."
            )
        return said

    def write(self, folder: str | Path, formats: str | Sequence[str] = FILED) -> None:
        """Write the table and the figures into a folder.

        Raises:
            StoreError: a file cannot be written.
        """
        from fer_bench.reporting.render.plots.figure import write_figures

        tables = {"sweep": self.table(), "calibration": self.calibration()}
        write_all(Path(folder), {name: table for name, table in tables.items() if table}, listed(formats))
        if figures := self.figures():
            write_figures(Path(folder), figures, ("svg",))

    def to_frame(self) -> "pandas.DataFrame":
        """Return the table as a pandas DataFrame, in base units."""
        return self.table().to_frame()

    def __str__(self) -> str:
        return "\n".join((str(self.table()), "", *self.conclusion()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _of_choice(choice: Choice) -> list[str]:
    """Return in sentences which variant is the best by accuracy, and how much of that is chance."""
    best, share = choice.best, choice.best.chosen_on
    said = list[str]()
    said.append(
        f"Best on the {choice.split} split: {best.variant}, {_percent(share.value)} of {share.images:,} images, "
        f"95 % interval {_percent(share.interval[0])} to {_percent(share.interval[1])}."
    )
    if choice.split == "validation" and best.test is not None:
        low, high = best.test.interval
        said.append(f"On the test split it has {_percent(best.test.value)} ({_percent(low)} to {_percent(high)}).")
    if choice.split == "test":
        said.append("It was chosen on the test split, so that its accuracy there is too high.")
    tied = ", ".join(choice.tied) if len(choice.tied) <= _NAMED else f"{len(choice.tied)} others"
    said.append(f"Not told apart from it (z test, Holm, 5 %): {tied or 'none'}.")
    said.append(
        f"The best of {choice.of} equal variants would show {100 * choice.by_chance:.2f} points above their true "
        "accuracy by chance, if independent."
    )
    return said


_NAMED = 8  # variants that a sentence names


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def sweep(
    name: str | Path,
    *,
    backbone: str = "",
    block: str = "",
    metrics: str | Iterable[str] = (),
    protocol: str | Plan = "",
    under: str = "",
    accuracy: str | Path = "",
    checkpoints: str | Path = "",
    data: str | Path = "",
    contract: str | Path | None = None,
    epoch_images: int | None = None,
    epochs: int | None = None,
    until: str = "",
    store: str | None = None,
    fresh: bool = False,
    many: bool = False,
    executor: str = "local",
    registry: Registry | None = None,
    progress: bool = True,
    debug: bool = False,
    **plan_fields: Any,
) -> Sweep:
    """Measure every variant of a sweep.

    Counts of networks of ours, of timm or torchvision are made in a pool of forked processes. Other metrics, and
    networks of your own, are measured one after the other in processes of their own. An interrupted call with a store
    goes on when it is made again.

    Args:
        name: "patch-adaptation" (paper 000), "non-local" (paper 003), "rarn-backbones" (paper 002), or a TOML file.
        backbone: of patch-adaptation: "resnet50", the default, has 50 cuts and "resnet101" 69.
        block: of patch-adaptation: "A", the default, to "E", or "patt_lite".
        metrics: of ``fer_bench.records.plan.METRICS`` but accuracy; by default static, or the file's.
        protocol: as ``measure`` takes it; by default quick, or the file's.
        under: limits, as "params=5M,latency=10ms", of params, macs, latency, activation and size.
        accuracy: a CSV of accuracies, by which the best variant is chosen (see ``docs/sweeps.md``).
        checkpoints: a folder with a file of weights for each variant, instead of ``accuracy``; it needs ``data``.
        data: labelled images that the files are evaluated on: the validation split chooses, the test split reports.
        contract: of the files: a file, or "sheet"; by default what is known of each.
        epoch_images: images of a training epoch, whose time is then predicted from the training step.
        epochs: of the whole training, whose time is then predicted, too; by default the paper's.
        until: "best" measures in rounds and stops what is slower than another, by latency or else training step.
        store: URL of a store, or path of its SQLite file; without one, results are only returned.
        fresh: begin anew instead of going on with what was interrupted.
        many: allow more than 10,000 variants.
        executor: "local"; or on a cluster (see ``docs/scale.md``) "ray", "ray:HOST:PORT", "slurm", "slurm:PARTITION".
        registry: has the networks; by default that of the built-in ones.
        progress: show it.
        debug: pass on to stderr what processes print.
        **plan_fields: fields of ``Plan`` that differ from the protocol's.

    Raises:
        FerBenchError: there is no such sweep, the file is wrong, or no variant stays under the limits.
        StoreError: the store cannot be written to.

    Examples:
        >>> swept = fb.sweep("rarn-backbones", progress=False)
        >>> swept.labels[0], int(swept.to_frame()["parameters"][4])
        ('resnet18', 60326825)
    """
    if until not in ("", "best"):
        raise FerBenchError(f"until is {until!r}; known: best")
    if until and executor != "local":
        raise FerBenchError(f"a race is run on one machine, and executor is {executor!r}; try: --executor local")
    budget = read_limits(under) if under else None
    registry = registry or built_in()
    grid = _grid(name, registry, backbone, block, listed(metrics), protocol, many, plan_fields)
    if any("accuracy" in task.plan.metrics for task in grid.tasks):
        raise FerBenchError(
            "accuracy needs weights and data; try: fer-bench evaluate for each variant, then --accuracy"
        )
    if (checkpoints and (accuracy or not data)) or (data and not checkpoints):
        raise FerBenchError(
            "checkpoints and data go together, and without a CSV of accuracies; try: --checkpoints --data"
        )
    if epochs is not None and epoch_images is None:
        raise FerBenchError("epochs have no images; try: --epoch-images 28709")
    if until:
        metric_of(grid.tasks[0])
    points = read_curves(accuracy, grid.labels) if accuracy else {}
    if checkpoints:
        files_of(checkpoints, grid.labels)  # what is wrong with them is to be known before hours of measuring
    with (
        opened_executor(executor, grid.tasks, debug=debug) as chosen,
        opened(store) as kept,
        watch(len(grid.tasks), show=progress) as watcher,
    ):
        run, _ = begin(kept, grid.tasks, grid.title, earlier_run(kept, grid.tasks, fresh=fresh))
        race = Race(len(grid.tasks), debug=debug) if until else None
        done = measure_all(
            grid.tasks, kept, run, watcher, load=chosen.load, executor=race or chosen.executor, debug=debug
        )
        if done.stopped is not None:
            raise done.stopped
        if checkpoints:
            points = accuracies_of(grid, checkpoints, data, contract, kept, Quiet(), fresh=fresh, debug=debug)
    swept = _concluded(grid, done.results, registry, points, budget)
    if epoch_images is not None and epochs is None and grid.published is not None:
        epochs = grid.published.epochs
    left = race.left if race is not None else []
    fastest = tuple(grid.labels[place] for one in left for place, r in enumerate(done.results) if r is one)
    return replace(swept, images=epoch_images, epochs=epochs, run=run, fastest=fastest, nodes=tuple(done.beside))


def _concluded(
    grid: Grid,
    results: Sequence[Result],
    registry: Registry,
    points: Mapping[str, Point],
    budget: Budget | None,
) -> Sweep:
    pairs = list(zip(grid.labels, results, strict=True))
    within = [(label, result) for label, result in pairs if budget is None or stays_under(result, budget)]
    if not within:
        raise FerBenchError(f"none of the {len(pairs)} variants stays under the limits; try: higher ones")
    labels = tuple(label for label, _ in within)
    candidates = {label: points[label] for label in labels if label in points}
    if points and not candidates:
        raise FerBenchError("no variant under the limits has an accuracy; try: higher limits")
    choice = choose(list(candidates.values())) if candidates else None
    kept = Results((result for _, result in within), registry)
    return Sweep(grid.title, labels, kept, candidates, choice, len(pairs), published=grid.published)


def _grid(
    name: str | Path,
    registry: Registry,
    backbone: str,
    block: str,
    metrics: tuple[str, ...],
    protocol: str | Plan,
    many: bool,
    plan_fields: Mapping[str, Any],
) -> Grid:
    own = {"backbone": backbone, "block": block}
    if str(name) != "patch-adaptation" and (given := [option for option, value in own.items() if value]):
        raise FerBenchError(f"{' and '.join(given)} can be chosen for patch-adaptation only, and not for {name}")
    if str(name).endswith(".toml"):
        if plan_fields and not protocol:
            raise FerBenchError(f"{name} has its own plan; try: {', '.join(plan_fields)} under [plan] there")
        chosen = plan_of(protocol, metrics=metrics or None, **plan_fields) if protocol else None
        return _each_once(read_grid(name, registry, chosen, metrics=metrics, most=None if many else MOST))
    if str(name) not in BUILT_IN:
        raise FerBenchError(
            f"no sweep is called {str(name)!r}{nearest(str(name), BUILT_IN)}; known: {', '.join(BUILT_IN)}, "
            "or a TOML file"
        )
    plan = plan_of(protocol or "quick", metrics=metrics or ("static",), **plan_fields)
    if str(name) == "patch-adaptation":
        return patch_adaptation(registry, plan, backbone or "resnet50", block or "A")
    return BUILT_IN[str(name)](registry, plan)


def _each_once(grid: Grid) -> Grid:
    """Return a grid without variants that are one task."""
    first: dict[str, tuple[str, Task]] = {}
    for label, task in zip(grid.labels, grid.tasks, strict=True):
        first.setdefault(task.key, (label, task))
    return replace(
        grid, labels=tuple(label for label, _ in first.values()), tasks=tuple(task for _, task in first.values())
    )
