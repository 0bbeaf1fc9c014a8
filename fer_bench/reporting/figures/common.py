"""What figures of a run share: labels, settings, axes, intervals, notes."""

from collections import Counter
from collections.abc import Iterable, Sequence

from fer_bench.records import units
from fer_bench.records.result import Json, Result
from fer_bench.reporting.analysis import latency
from fer_bench.reporting.figures.plots import Axis, Written
from fer_bench.reporting.tables.catalogue import doubts, is_doubted
from fer_bench.reporting.tables.common import build_of, head, varying

_NAMED = 6  # networks that a note names; of more it gives the number
_LOG_RANGE = 10.0  # of the largest value to the smallest: beyond it an axis is divided logarithmically

INTERVALS = "Bars: 95 % interval over processes, in this session."


def hollow(result: Result) -> bool:
    """Report whether a network is drawn hollow: it is not the original that its name promises."""
    return is_doubted(result.subject.status)


def rate_interval(amount: float, ends: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the interval of an amount per second, from that of the seconds; None where these reach 0."""
    return (amount / ends[1], amount / ends[0]) if ends is not None and ends[0] > 0 else None


def labels(results: Sequence[Result], without: frozenset[str] = frozenset()) -> list[str]:
    """Name each result, different ones differently: by network, and by the settings in which results differ.

    Args:
        results: what is drawn.
        without: keys of settings that are shown otherwise, such as by an axis.
    """
    columns = [column for column in varying(results) if column.key not in without]
    sizes = Counter(name for name, _ in {(result.subject.name, result.subject.input_shape) for result in results})
    named = []
    for result in results:
        subject, row = result.subject, head(result)
        parts = [subject.name, *subject.settings]
        if sizes[subject.name] > 1 and subject.input_shape is not None:
            parts.append(units.size(subject.input_shape))
        parts += [f"{column.heading.lower()} {row[column.key]}" for column in columns if row[column.key] is not None]
        named.append(", ".join(parts))
    return named


def numbered(names: Sequence[str]) -> list[str]:
    """Distinguish equal names by a number from the second on."""
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier, strict=True)]


def of_one_setting(results: Sequence[Result]) -> tuple[list[Result], list[str]]:
    """Return one result per build under the most frequent setting, and a note on how many are left out."""
    keys = [column.key for column in varying(results)]
    settings: dict[tuple[Json, ...], dict[tuple[Json, ...], Result]] = {}
    for result in results:
        row = head(result)
        networks = settings.setdefault(tuple(row[key] for key in keys), {})
        networks.setdefault(build_of(result), result)
    kept = list(max(settings.values(), key=len, default={}).values())  # the first of several as large
    return kept, left_out(len(results) - len(kept), "more result", "under other settings or repeated")


def left_out(number: int, what: str, why: str) -> list[str]:
    """Format how many things are not drawn and why, if there are any."""
    return [f"{counted(number, what)} {why}: not drawn."] if number else []


def axis(title: str, quantity: Written, values: Iterable[float]) -> Axis:
    """Make an axis, logarithmic where the values ask for it."""
    ordered = sorted(values)
    return Axis(title, quantity, log=ordered[0] > 0 and ordered[-1] / ordered[0] >= _LOG_RANGE)


def doubted(results: Iterable[Result]) -> list[str]:
    """Explain each hollow mark."""
    subjects = (result.subject for result in results if hollow(result))
    notes = (f"{its.name}: {' '.join(doubts(its.status, its.note, its.uncertain))}" for its in subjects)
    return list(dict.fromkeys(notes))


def warned(results: Sequence[Result]) -> list[str]:
    """Return what may mislead about the latencies, a warning once with the results that it is about."""
    about: dict[str, list[str]] = {}
    for result, label in zip(results, labels(results), strict=True):
        for text in latency.warnings(result):
            about.setdefault(text, []).append(label)
    return [f"{_who(names, len(results))}: {text}." for text, names in about.items()]


def _who(names: Sequence[str], drawn: int) -> str:
    if len(names) <= _NAMED:
        return ", ".join(dict.fromkeys(names))
    return f"All {drawn} latencies" if len(names) == drawn else f"{len(names)} of the {drawn} latencies"


def counted(number: int, what: str) -> str:
    """Write a number of things: "1 network", "2 networks"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
