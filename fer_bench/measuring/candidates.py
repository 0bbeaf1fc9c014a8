"""Accuracies of the variants of a sweep from a file of weights each, on the validation and the test split."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fer_bench.accuracy.curves import Point, Share
from fer_bench.accuracy.statistics import scores_in
from fer_bench.measuring.evaluate import evaluation_tasks
from fer_bench.measuring.measure import begin, earlier_run
from fer_bench.measuring.profilers.accuracy import splits_of
from fer_bench.measuring.runner import Watcher, measure_all
from fer_bench.measuring.task import Task
from fer_bench.measuring.variants import Grid
from fer_bench.records.errors import FerBenchError, nearest
from fer_bench.records.plan import Evaluation
from fer_bench.records.result import Result
from fer_bench.records.store import Store
from fer_bench.reporting import tables as reports


def file_stem(label: str) -> str:
    """Return the name, without its suffix, of the file that has a variant's weights: "resnet50_batch_size_8"."""
    return re.sub(r"[^\w.+-]+", "_", label).strip("_")


def files_of(folder: str | Path, labels: Sequence[str]) -> dict[str, Path]:
    """Return the file of weights of each variant that has one, by its label.

    Raises:
        FerBenchError: there is no such folder, it is empty, or a file is no variant's, or one of two.
    """
    if not Path(folder).is_dir():
        raise FerBenchError(
            f"there is no folder {folder}; try: --checkpoints with one that has a file for each variant"
        )
    stems, found = {file_stem(label): label for label in labels}, dict[str, Path]()
    for file in sorted(Path(folder).iterdir()):
        if not file.is_file() or file.name.startswith(".") or file.suffix in (".toml", ".json", ".md", ".txt"):
            continue  # contracts and notes may lie beside weights
        label = stems.get(file.stem)
        if label is None:
            raise FerBenchError(
                f"{file} is no variant's{nearest(file.stem, stems)}; try: the variant's label as its name"
            )
        if label in found:
            raise FerBenchError(f"{found[label].name} and {file.name} in {folder} are of one variant; try: one of them")
        found[label] = file
    if not found:
        raise FerBenchError(f"{folder} has no weights; try: a file for each variant, as {next(iter(stems))}.pt")
    return found


def accuracies_of(
    grid: Grid,
    folder: str | Path,
    data: str | Path,
    contract: str | Path | None,
    kept: Store,
    watcher: Watcher,
    *,
    fresh: bool = False,
    debug: bool = False,
) -> dict[str, Point]:
    """Evaluate each variant that has weights, on the validation split, where the data have one, and on the test split.

    Args:
        grid: the variants.
        folder: has a file of weights for each, called as ``file_stem`` says.
        data: labelled images, as ``load_data`` reads them.
        contract: a file, or "sheet"; None for what is known of each file.
        kept: the store, in which this is a run of its own, that goes on when it was interrupted.
        watcher: shows how it goes on.
        fresh: begin anew.
        debug: pass on what processes print.

    Raises:
        FerBenchError: a file, the data or the contract is none, or a variant cannot be evaluated.
    """
    files, variants = files_of(folder, grid.labels), dict(zip(grid.labels, grid.tasks, strict=True))
    validation, test = splits_of(data)
    tasks: dict[tuple[str, str], Task] = {}
    for label, file in files.items():
        for role, split in (("validation", validation), ("test", test)):
            if split is not None:
                task = variants[label]
                plan = replace(task.plan, metrics=("accuracy",), evaluation=Evaluation(split=split))
                (tasks[label, role],) = evaluation_tasks(
                    [task.spec], data, plan, checkpoint=file, contract=contract, settings=task.settings
                )
    ordered = list(tasks.values())
    run, _ = begin(kept, ordered, f"{grid.title}, accuracy", earlier_run(kept, ordered, fresh=fresh))
    done = measure_all(ordered, kept, run, watcher, debug=debug)
    if done.stopped is not None:
        raise done.stopped
    results = dict(zip(tasks, done.results, strict=True))
    for (label, _), result in results.items():
        if failed := reports.failures(result):
            raise FerBenchError(f"{label} cannot be evaluated: {failed[0]}")
    return {
        label: Point(label, None, *(_share(results, label, role) for role in ("validation", "test"))) for label in files
    }


def _share(results: Mapping[tuple[str, str], Result], label: str, role: str) -> Share | None:
    scores = scores_in(results[label, role]) if (label, role) in results else None
    return None if scores is None else Share(scores.accuracy, scores.images)
