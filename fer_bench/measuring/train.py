"""Train networks by recipes, each network and seed in a process of its own, and record what came of it."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.measuring.measure import begin, earlier_run, opened, plan_of
from fer_bench.measuring.progress import watch
from fer_bench.measuring.runner import measure_all
from fer_bench.measuring.task import Task
from fer_bench.networks.contract import InputContract
from fer_bench.networks.registry import Registry, built_in
from fer_bench.networks.spec import ModelSpec
from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError
from fer_bench.records.plan import AUTO, TRAINED, Evaluation, Plan, Training
from fer_bench.records.result import Result
from fer_bench.records.schema import listed
from fer_bench.reporting.figures.trainings import LearningCurves, curve_table, learning_curves
from fer_bench.reporting.render import FILED, write_all
from fer_bench.reporting.results import Results
from fer_bench.reporting.table import Column, Table
from fer_bench.reporting.tables.trainings import trained

if TYPE_CHECKING:
    import pandas

    from fer_bench.accuracy.recipes import Recipe

FOLDER = "trained"  # where states and weights are kept by default
UNJUDGED = "none"
_FIELDS = ("device", "precision", "threads", "wait", "pin", "alloc", "isolation", "time_limit_s")  # of a plan


@dataclass(frozen=True, eq=False)
class Trainings:
    """What came of trainings; it prints itself as a table, a row for all seeds of one.

    Attributes:
        results: of each network and seed.
        folders: of the same, with ``model.safetensors``, the selected weights, and ``state.pt``.

    Examples:
        >>> faces = fb.make_faces("faces_to_learn", images=60)
        >>> done = fb.train("mini_xception", "rao2023", faces, epochs=1, progress=False)
        >>> [str(folder.as_posix()) for folder in done.folders]
        ['trained/mini_xception/rao2023/seed-0']
    """

    results: Results
    folders: tuple[Path, ...]

    def table(self) -> Table:
        """Return what each recipe came to, as a table."""
        return replace(trained(self.results), name="trainings")

    def curves(self) -> LearningCurves | None:
        """Return the learning curves as a figure; None where no epoch was finished."""
        return learning_curves(self.results)

    def write(self, folder: str | Path, formats: str | Sequence[str] = FILED) -> None:
        """Write the table, every epoch and the learning curves into a folder.

        Raises:
            StoreError: a file cannot be written.
        """
        from fer_bench.reporting.render.plots.figure import write_figures

        tables = {"trainings": self.table(), "learning_curves": replace(curve_table(self.results), name="epochs")}
        write_all(Path(folder), {name: table for name, table in tables.items() if table.rows}, listed(formats))
        if (drawn := self.curves()) is not None:
            write_figures(Path(folder), {"learning_curves": drawn}, ("svg",))

    def to_frame(self) -> "pandas.DataFrame":
        """Return the epochs as a pandas DataFrame, in base units."""
        return curve_table(self.results).to_frame()

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def train(
    networks: str | ModelSpec | Iterable[str | ModelSpec],
    recipe: "str | Path",
    data: str | Path,
    *,
    epochs: int | None = None,
    seeds: int | Sequence[int] = 1,
    out: str | Path = FOLDER,
    initial: str | Path = "",
    contract: str | Path | InputContract | None = None,
    validation: str = "",
    data_classes: str | Sequence[str] = (),
    rule: str = "",
    workers: int = 0,
    settings: str | Sequence[str] = (),
    store: str | None = None,
    fresh: bool = False,
    registry: Registry | None = None,
    progress: bool = True,
    debug: bool = False,
    **fields: Any,
) -> Trainings:
    """Train networks by a recipe, or go on with trainings that were ended, and evaluate the selected weights.

    Each network and seed has a process and a folder of its own. The same call goes on where a killed one stopped, on
    the CPU to the same bits.

    Args:
        networks: names, as ``find`` takes them, or specs.
        recipe: one of ``recipe_names()``, or the path of a TOML file; with ``:VARIANT`` behind, another reading of it.
        data: a file or folder, as ``load_data`` reads it.
        epochs: instead of the recipe's.
        seeds: how many, from 0, or which.
        out: has a folder for each network, recipe and seed.
        initial: weights to begin with, for one network.
        contract: what is done to an image: a file, or a contract; by default the sheet's, as the recipe changes it.
        validation: the split that selects the weights, or a share of the training images; by default the recipe's.
        data_classes: those of the data that are kept.
        rule: how FER+ votes become labels.
        workers: processes that prepare images beside each training.
        settings: further arguments of the factory, each "key=value".
        store: URL of a store, or path of its SQLite file, that keeps the results.
        fresh: train anew instead of going on; states and weights in ``out`` are deleted.
        registry: has the names; by default that of the built-in networks.
        progress: show it.
        debug: pass on to stderr what processes print.
        **fields: of ``Plan``: device, precision, threads, wait, pin, alloc, isolation, time_limit_s. Others, such as
            layout and mode, are refused: the loop trains eagerly, in NCHW.

    Returns:
        A result for each network and seed; one that failed carries its reason.

    Raises:
        FerBenchError: a network, the recipe, the data or an option is none, or they do not fit each other.
        StoreError: the store cannot be written to.

    Examples:
        >>> fb.train("mini_xception", "rao2032", "faces")
        Traceback (most recent call last):
        fer_bench.records.errors.FerBenchError: no recipe is called 'rao2032'...
    """
    registry = registry or built_in()
    specs = [
        registry.find(network) if isinstance(network, str) else network
        for network in ([networks] if isinstance(networks, str | ModelSpec) else networks)
    ]
    tasks = training_tasks(
        specs,
        recipe,
        data,
        epochs=epochs,
        seeds=range(seeds) if isinstance(seeds, int) else seeds,
        out=out,
        initial=initial,
        contract=contract,
        validation=validation,
        data_classes=listed(data_classes),
        rule=rule,
        workers=workers,
        settings=listed(settings),
        **fields,
    )
    if fresh:
        forget(tasks)
    with opened(store) as kept, watch(len(tasks), show=progress) as watcher:
        run, _ = begin(kept, tasks, title_of(tasks), earlier_run(kept, tasks, fresh=fresh))
        done = measure_all(tasks, kept, run, watcher, debug=debug)
    if done.stopped is not None:
        raise done.stopped
    return Trainings(Results(done.results, registry), tuple(Path(task.folder) for task in tasks))


def training_tasks(
    specs: Sequence[ModelSpec],
    recipe: "str | Path",
    data: str | Path,
    *,
    epochs: int | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path = FOLDER,
    initial: str | Path = "",
    contract: str | Path | InputContract | None = None,
    validation: str = "",
    data_classes: Sequence[str] = (),
    rule: str = "",
    workers: int = 0,
    settings: Sequence[str] = (),
    **fields: Any,
) -> list[Task]:
    """Return a task for each network and seed, with input contract and classes.

    Raises:
        FerBenchError: the recipe or the data cannot be read, or they do not fit the network.
    """
    from fer_bench.accuracy.data.loading import load_data
    from fer_bench.networks.weights import weights_file

    if initial and len(specs) != 1:
        raise FerBenchError("initial weights are one network's: name it")
    if lacking := extras.missing(["accelerate"]):
        raise FerBenchError(f"training needs accelerate, which is not installed; {extras.remedy(lacking)}")
    if unknown := [name for name in fields if name not in _FIELDS]:
        raise FerBenchError(f"a training has no {', '.join(unknown)} to choose; try: only {', '.join(_FIELDS)}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise FerBenchError(f"seeds are {list(seeds)}: at least one, and each once")
    method = read_for(recipe, epochs)
    how = Training(
        recipe=str(recipe),
        recipe_sha256=method.sha256,
        epochs=epochs,
        split=method.data.training,
        validation=validation or method.data.validation,
        rule=rule or method.data.rule,
        data_classes=tuple(data_classes) or method.data.classes,
        workers=workers,
    )
    images = load_data(data, split=how.split or "training", rule=how.rule or None, classes=how.data_classes or None)
    evaluation = Evaluation(split=method.data.test, rule=how.rule, data_classes=how.data_classes, probe=UNJUDGED)
    base = Plan("train", metrics=("static", *TRAINED), wait=AUTO, training=how, evaluation=evaluation)
    plan = plan_of(base, fields.pop("device", ""), batch_size=method.batch_size, **fields)
    if plan.precision == "fp16" and plan.device == "cpu":
        raise FerBenchError("fp16 is trained on a GPU only, whose loss is scaled; try: --precision bf16")
    tasks = []
    for spec in specs:
        weights = weights_file(initial, spec.name)
        known = method.contract(_contract(spec, weights, contract))
        if set(known.classes) != set(images.classes):
            if contract is not None:
                raise FerBenchError(
                    f"the contract has {len(known.classes)} classes ({', '.join(known.classes)}), and the data "
                    f"{len(images.classes)} ({', '.join(images.classes)}); try: --data-classes, or another --contract"
                )
            known = known.replace("the training data", classes=images.classes)
        built = replace(plan, num_classes=len(known.classes))
        for seed in seeds:
            name = Path(str(recipe).removesuffix(".toml")).name.replace(":", "-")
            folder = Path(out, spec.name.replace("/", "_").replace(":", "_"), name, f"seed-{seed}")
            tasks.append(
                Task(
                    spec,
                    replace(built, seed=seed),
                    known.shape,
                    tuple(settings),
                    weights,
                    data=str(Path(data).resolve()),
                    contract=known,
                    folder=str(folder),
                )
            )
    return tasks


def read_for(recipe: "str | Path", epochs: int | None) -> "Recipe":
    """Return a recipe with the epochs that were asked for."""
    from fer_bench.accuracy.recipes import read_recipe

    read = read_recipe(recipe)
    return read.with_("asked for", epochs=epochs) if epochs else read


def _contract(spec: ModelSpec, weights: str, chosen: str | Path | InputContract | None) -> InputContract:
    """Return the contract that is chosen or travels with initial weights, else the sheet's."""
    from fer_bench.networks.weights import SHEET, input_contract

    if chosen is None and weights:
        try:
            return input_contract(spec, weights)
        except FerBenchError:  # nothing is known of the file: a training may choose its input
            return input_contract(spec, None, SHEET)
    return input_contract(spec, weights or None, chosen)


def forget(tasks: Sequence[Task]) -> None:
    """Delete the states and weights of trainings that are to begin anew."""
    from fer_bench.records.errors import StoreError

    for task in tasks:
        folder = Path(task.folder)
        if not folder.is_dir():
            continue
        if strange := [path.name for path in folder.iterdir() if path.name not in _OURS]:
            raise FerBenchError(f"{folder} has {strange[0]}, which no training wrote; try: another --out")
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise StoreError(f"cannot delete {folder}: {error.strerror or error}; name another --out") from error


MODEL = "model.safetensors"  # the selected weights, as ``accuracy.train`` writes them
_OURS = ("state.pt", MODEL)


def kept(tasks: Sequence[Task]) -> list[str]:
    """Say what the folders of trainings have that were ended, a line for each that has a state."""
    from fer_bench.accuracy import train as loop

    lines = []
    for task in tasks:
        history, steps = loop.kept(task.folder)
        if history or steps:
            epochs = f"{len(history)} epoch{'s' * (len(history) != 1)}"
            lines.append(
                f"{task.spec.name}, seed {task.plan.seed}: {epochs} and {steps} steps of the next are kept in "
                f"{task.folder}"
            )
    return lines


def title_of(tasks: Sequence[Task]) -> str:
    """Name a run of trainings."""
    names = ", ".join(dict.fromkeys(task.spec.name for task in tasks))
    recipes = ", ".join(dict.fromkeys(task.plan.training.recipe for task in tasks if task.plan.training))
    return f"train: {names} by {recipes}"


def only_cost(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks that measure what the first seed of each network is going to cost."""
    first = {task.spec.name: task for task in reversed(tasks)}
    return [replace(task, plan=replace(task.plan, metrics=TRAINED[:1])) for task in reversed(first.values())]


def predicted(results: Sequence[Result], seeds: int) -> Table:
    """Draw what trainings are going to cost, a row for each network."""
    from fer_bench.records import units
    from fer_bench.reporting.analysis.trainings import predicted_s
    from fer_bench.reporting.tables import common, standard

    rows = []
    for result in results:
        measured, its = result.measurement("train.predicted_step_s"), predicted_s(result)
        if measured is None or its is None:
            continue
        known = measured.details
        about = {"steps": known["steps"], "epochs": known["epochs"], "timed": its.count}
        of_step = {"step_s": its.value and sum(measured.values) / len(measured.values)}
        total = {"total_s": its.value, "ends": its.ends, "all_s": its.value * seeds}
        rows.append(common.head(result) | about | of_step | total)
    columns = (
        standard.NETWORK,
        standard.INPUT,
        Column("epochs", "Epochs", units.grouped),
        Column("steps", "Steps/epoch", units.grouped),
        Column("timed", "Timed steps", units.grouped),
        Column("step_s", "Step (ms)", units.milliseconds),
        Column("total_s", "One seed (s)", units.number, interval="ends"),
        Column("all_s", f"{seeds} seed{'s' * (seeds != 1)} (s)", units.number),
    )
    caption = "Epochs x (steps x mean step + evaluation); the interval is Student's at 95 % over the timed steps."
    return Table("What the training is going to cost", columns, tuple(rows), caption)
