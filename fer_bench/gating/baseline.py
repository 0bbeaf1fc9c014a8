"""The baseline: a committed file of what networks count, and why each change of it was let pass.

It is laid out for a diff, a module a line, and the same content gives the same bytes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from fer_bench.gating import counts
from fer_bench.gating.counts import METRIC, Snapshot
from fer_bench.gating.verdicts import Outcome, Verdict
from fer_bench.records import files, schema
from fer_bench.records.errors import BaselineError
from fer_bench.records.result import Environment, Json, Result

BASELINE_VERSION = 1  # of the file

_LIBRARIES = ("torch", "torchvision", "timm")  # which a count rests on besides the network's own code
_MOST_NAMES = 5  # networks in one line


@dataclass(frozen=True, slots=True)
class Counted:
    """What a network in the baseline counted, by versions as ``versions`` writes them."""

    snapshot: Snapshot
    by: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A change that was let pass."""

    network: str
    reason: str
    when: str  # the day, ISO 8601
    what: str  # the verdict on it, in words
    commit: str = ""  # of the repository then, if that is known


@dataclass(frozen=True, slots=True)
class Baseline:
    """What networks count, and the changes of it that were accepted, in order."""

    networks: Mapping[str, Counted] = field(default_factory=dict)
    accepted: tuple[Accepted, ...] = ()
    command: str = ""  # by which it was first written, so that another can be


def versions(environment: Environment | None) -> str:
    """Return what counts: "fer-bench 0.1.0, torch 2.9.0, torchvision 0.24.0, timm 1.0.20"."""
    packages = environment.packages if environment is not None else {}
    return ", ".join(f"{name} {packages[name]}" for name in ("fer-bench", *_LIBRARIES) if name in packages)


def read(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        BaselineError: there is none, or it is damaged, edited by hand, another version's or something else.
    """
    anew = f"write a new one: fer-bench gate --baseline {path} --accept REASON"
    try:
        data = schema.parse(path.read_text(encoding="utf-8"))
        schema.bounded(data)
    except FileNotFoundError:
        raise BaselineError(f"there is no baseline {path}; {anew}") from None
    except OSError as error:
        raise BaselineError(f"cannot read the baseline {path}: {error.strerror or error}") from error
    except ValueError as error:  # no UTF-8 or no JSON
        raise BaselineError(
            f"the baseline {path} is cut short or damaged ({error}); take it from git again (git checkout -- {path}), "
            f"or remove it and {anew}"
        ) from error
    if not isinstance(data, dict) or "fer_bench_baseline" not in data:
        raise BaselineError(
            f"{path} is no baseline of fer_bench: it has no fer_bench_baseline; to compare with results, use "
            f"--against {path}"
        )
    version = data["fer_bench_baseline"]
    if version != BASELINE_VERSION:
        later = isinstance(version, int) and version > BASELINE_VERSION
        remedy = "upgrade this one: pip install --upgrade fer-bench" if later else f"remove it and {anew}"
        raise BaselineError(
            f"the baseline {path} is of version {version!r}, written by {'a later' if later else 'another'} fer_bench, "
            f"and this one reads {BASELINE_VERSION}; {remedy}"
        )
    if data.pop("checksum", None) != _checksum(data):
        raise BaselineError(
            f"the baseline {path} was edited by hand, or merged: its checksum does not match; take one side from git "
            f"and re-baseline with `fer-bench gate --baseline {path} --accept REASON`"
        )
    try:
        about = schema.whole(_File, data)
        return Baseline(
            {name: _counted(name, each) for name, each in about["networks"].items()},
            tuple(schema.read(Accepted, each) for each in about["accepted"]),
            about["command"],
        )
    except ValueError as error:
        raise BaselineError(f"the baseline {path} is not valid: {error}; remove it and {anew}") from error


class _File(TypedDict):
    fer_bench_baseline: int
    command: str
    networks: dict[str, dict[str, Json]]
    accepted: list[Json]


class _By(TypedDict):
    counted_with: str


def _counted(name: str, data: Mapping[str, Json]) -> Counted:
    try:
        return Counted(Snapshot.from_dict(data), schema.fields(_By, data)["counted_with"])
    except KeyError as error:
        raise ValueError(f"{name}: lacks {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def write(path: Path, baseline: Baseline) -> None:
    """Write a baseline; what is there before stays whole until the new one is.

    Raises:
        StoreError: it cannot be written; the one that was there is as it was.
    """
    files.write(path, _text(baseline))


def judge(
    baseline: Baseline, results: Mapping[str, Result], wanted: Collection[str]
) -> tuple[list[Verdict], tuple[str, ...]]:
    """Return a verdict on each wanted network that the baseline has, and notes.

    A wanted one that the baseline has and ``results`` lacks is gone, which is never a pass. The notes are about
    networks that the baseline does not have, which nothing holds yet, and about counts made with other versions.
    """
    verdicts: list[Verdict] = []
    other: dict[tuple[str, str], list[str]] = {}
    for name in sorted({*wanted, *results} & baseline.networks.keys()):
        known = baseline.networks[name]
        if name not in results:
            verdicts.append(_gone(name, known.snapshot, baseline, results))
        elif why := counts.uncountable(results[name]):
            verdicts.append(Verdict(name, METRIC, Outcome.error, why))
        else:
            now = versions(results[name].environment)
            snapshot, same_torch = Snapshot.of(results[name]), _torch(known.by) == _torch(now)
            verdicts.append(counts.judge(name, known.snapshot, snapshot, same_torch=same_torch))
            if now != known.by:
                other.setdefault((known.by, now), []).append(name)
    notes = [
        f"{_names(names)}: counted with {before or 'unknown versions'}, and now with {now or 'unknown versions'}; "
        "libraries' networks may differ for that reason; operators and activations are compared only for equal PyTorch"
        for (before, now), names in other.items()
    ]
    if new := sorted(results.keys() - baseline.networks.keys()):
        notes.append(
            f"not in the baseline, so there is nothing to compare with: {_names(new)}; add it with --accept REASON"
        )
    return verdicts, tuple(notes)


def with_accepted(
    baseline: Baseline,
    results: Mapping[str, Result],
    verdicts: Iterable[Verdict],
    *,
    reason: str,
    when: str,
    commit: str = "",
) -> Baseline:
    """Return the baseline with what networks count now, and why that is let pass.

    Networks that the verdicts (of ``judge``) say are gone are taken out; those new to the baseline are added; those
    without a result, and not gone, stay as they are. One that cannot be counted cannot be accepted.

    Raises:
        BaselineError: there is no reason.
        CountingError: a network cannot be counted.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise BaselineError("--accept needs a reason, which is kept in the baseline: --accept 'wider stem, see #12'")
    networks = dict(baseline.networks)
    accepted = []
    for verdict in verdicts:
        name = verdict.network
        if verdict.metric != METRIC or verdict.outcome is Outcome.same:
            continue
        if name in results:
            accepted.append((name, f"{verdict.outcome}: {verdict.reason}"))
        elif verdict.outcome is Outcome.incomparable:
            networks.pop(name, None)
            accepted.append((name, "gone"))
    for name, result in sorted(results.items()):
        snapshot = Snapshot.of(result)
        if name not in networks:
            accepted.append((name, f"new: {snapshot.summary()}"))
        networks[name] = Counted(snapshot, versions(result.environment))
    changes = (Accepted(name, reason, when, what, commit) for name, what in accepted)
    return dataclasses.replace(baseline, networks=networks, accepted=(*baseline.accepted, *changes))


def _torch(by: str) -> str:
    """Return PyTorch's version of what ``versions`` writes."""
    return next((part for part in by.split(", ") if part.startswith("torch ")), "")


def _gone(name: str, snapshot: Snapshot, baseline: Baseline, results: Mapping[str, Result]) -> Verdict:
    new = sorted(results.keys() - baseline.networks.keys())
    readable = {other: Snapshot.of(results[other]) for other in new if not counts.uncountable(results[other])}
    alike = [name for name, now in readable.items() if counts.judge(name, snapshot, now).outcome is Outcome.same]
    twin = f"; {alike[0]} counts the same: renamed?" if alike else ""
    reason = f"gone: in the baseline, but no longer a network{twin}; if that is intended, --accept REASON removes it"
    return Verdict(name, METRIC, Outcome.incomparable, reason)


def _names(names: list[str]) -> str:
    left = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{left}"


def _text(baseline: Baseline) -> str:
    data = {
        "fer_bench_baseline": BASELINE_VERSION,
        "command": baseline.command,
        "networks": {
            name: {"counted_with": each.by, **each.snapshot.to_dict()}
            for name, each in sorted(baseline.networks.items())
        },
        "accepted": [dataclasses.asdict(each) for each in baseline.accepted],
    }
    return _laid_out(data | {"checksum": _checksum(data)}) + "\n"


def _checksum(data: Json) -> str:
    content = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _laid_out(value: Json, depth: int = 0) -> str:
    """Write JSON with a line for each member of an object, and for each list in a list."""
    before, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value:
        members = (f"{json.dumps(key)}: {_laid_out(member, depth + 1)}" for key, member in value.items())
        return "{" + before + f",{before}".join(members) + end + "}"
    if isinstance(value, list) and any(isinstance(member, list | dict) for member in value):
        return "[" + before + f",{before}".join(_laid_out(member, depth + 1) for member in value) + end + "]"
    return json.dumps(value, ensure_ascii=False)
