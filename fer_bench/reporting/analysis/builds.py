"""Which build of a network a published result is of, and what that build costs.

A cost belongs beside a result only if both are of one build: the same input and classes, no arguments of the user's.
"""

from collections.abc import Iterable
from dataclasses import replace

from fer_bench.networks.spec import Conditions, Shape
from fer_bench.records import units
from fer_bench.records.result import Measurement, Result, Subject

Build = tuple[Shape, int]
PUBLISHED_BUILDS = "published_builds"  # the metric that has the counts of builds beside the one that was measured


def as_counted(result: Result) -> Subject:
    """Return the network of a result with the classes that were counted: a factory may ignore those asked for."""
    macs = result.measurement("macs")
    classes = macs.details.get("num_classes") if macs is not None else None
    return result.subject if classes is None else replace(result.subject, num_classes=classes)


def built(subject: Subject) -> Build | None:
    """Return the build of a network without arguments of the user's; None with some, or where it is not known."""
    if subject.settings or subject.input_shape is None or subject.num_classes is None:
        return None
    return subject.input_shape, subject.num_classes


def is_build(subject: Subject, build: Build | None) -> bool:
    """Report whether a network was built so."""
    return build is not None and built(subject) == build


def counted_builds(results: Iterable[Result]) -> list[Result]:
    """Return the counts of published builds as results of their own, with the conditions of the run that made them."""
    return [view for result in results for view in _views(result)]


def of_build(name: str, build: Build | None, results: Iterable[Result], metric: str = "macs") -> Result | None:
    """Return the first result of a network's build that has a metric, or None."""
    named = (result for result in results if result.subject.name == name and result.value(metric) is not None)
    return next((result for result in named if is_build(as_counted(result), build)), None)


def _views(result: Result) -> Iterable[Result]:
    measured = result.measurement(PUBLISHED_BUILDS)
    for build in measured.details["builds"] if measured is not None else ():
        if "counts" not in build:
            continue
        shape, classes = tuple(build["input_shape"]), build["num_classes"]
        counts = (
            Measurement(metric, "bytes" if metric.endswith("_bytes") else "count", (value,))
            for metric, value in build["counts"].items()
        )
        warned = tuple(build["warnings"])
        yield replace(
            result,
            subject=replace(result.subject, input_shape=shape, num_classes=classes, settings=(), exempt=""),
            measurements=tuple(replace(m, warnings=warned) if m.metric == "macs" else m for m in counts),
        )


def written(shape: Shape | None, classes: int | None) -> str:
    """Write a build: "1x48x48 and 7 classes"."""
    return (
        f"{units.size(shape) if shape else 'an unknown input'} and {'unknown' if classes is None else classes} classes"
    )


def other_than(conditions: Conditions, subject: Subject) -> str:
    """Name briefly what of a result's build is not as measured: "3x224x224, 8 classes"; "" where it is that build."""
    if is_build(subject, conditions.build):
        return ""
    shape, classes = conditions.input_shape, conditions.num_classes
    if shape is None and classes is None:
        return "unknown build"
    parts = [] if shape == subject.input_shape else [units.size(shape) if shape else "unknown input"]
    parts += [] if classes == subject.num_classes else [f"{'unknown' if classes is None else classes} classes"]
    return ", ".join(parts or ["default arguments"])


def apart(conditions: Conditions, subject: Subject) -> str:
    """Describe how a published result is of another build than the one that was measured; "" where it is not."""
    if is_build(subject, conditions.build):
        return ""
    ours = written(subject.input_shape, subject.num_classes)
    if subject.settings:
        ours = f"{ours}, built with {', '.join(subject.settings)}"
    return f"the accuracy is for {written(conditions.input_shape, conditions.num_classes)}, the cost for {ours}"


def of_passes(conditions: Conditions) -> str:
    """Describe that a published result is of several passes per image, and its cost of one; "" where it is not."""
    passes = conditions.passes or 1
    return f"the accuracy is for {passes} passes per image, the cost for one" if passes > 1 else ""
