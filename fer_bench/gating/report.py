"""Tell what a gate said: to a terminal, in a pull request, to what reads test reports, to a program.

Names and reasons come from users' files and commits: nothing of them may act as markup, or as a terminal's commands.
"""

import dataclasses
import html
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from xml.etree import ElementTree

from fer_bench.gating import counts, limits, verdicts
from fer_bench.gating.revisions import TRAILER
from fer_bench.gating.verdicts import EXIT_CODES, Effect, Report, Verdict, Word
from fer_bench.records import units
from fer_bench.records.result import Environment
from fer_bench.reporting.render.markdown import escape

VERSION = 1  # of the JSON document

MEANINGS = {
    verdicts.OK: "no network is worse",
    verdicts.WORSE: "a network is worse, or does not count what it did",
    verdicts.ERROR: "something could not be judged",
    verdicts.INCONCLUSIVE: "neither a change nor its absence can be told",
    verdicts.INCOMPARABLE: "the two sides cannot be compared",
}
NOTHING = "nothing was judged"

_MANY = 3  # networks of which nothing is to be said but "same", above which one line stands for all
_EXACT = (counts.METRIC, limits.METRIC)
_NAMED = 10  # networks that a headline names

# Of Markdown, in bytes. GitHub refuses a comment of more than 65,536 characters, and what posts it may add to it.
_MOST_BYTES = 60_000
_NOTES_BYTES = 8_000  # of these at most, so that notes leave room for verdicts
# Of Markdown, in characters, of a name, a sentence and a command, and in lines, of the details of a verdict. What comes
# after is in the other files.
_NAME, _SENTENCE, _COMMAND, _DETAILS = 120, 300, 2_000, 40
_WIDTH = 100  # of a list of names, in characters

# At the beginning of a line these make headings, quotes, lists, rules and addresses; a "@" calls somebody.
_LEADING = re.compile(r"^(\d*)([-#>+=\[.)])")
_MENTION = re.compile(r"(?<!\w)@(?=\w)")

# How readers of JUnit XML part what is not as it should be; what has no place here passes.
_ELEMENTS = {
    Word.worse: "failure",
    Word.changed: "failure",
    Word.error: "error",
    Word.incomparable: "error",
    Word.inconclusive: "failure",
}


def as_text(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write a report for a terminal: a verdict a line, why beneath, and the outcome at the end.

    Args:
        report: what the gate said.
        inconclusive_passes: as its exit code is asked for.
    """
    told, alike, _ = _parted(report.verdicts)
    rows = [(each.network, each.metric, _label(each), _measured(each) or each.said) for each in told + alike]
    widths = [max((len(units.printable(row[place])) for row in rows), default=0) for place in range(3)]
    lines = [f"base         {report.base}", f"candidate    {report.candidate}"]
    if report.environment is not None:
        lines.append(f"environment  {_where(report.environment)}")
    lines.append("")
    for place, row in enumerate(rows):
        cells = [units.printable(cell).ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
        if place < len(told):
            lines += [f"    {line}" for line in _beneath(told[place])]
    if rows:
        lines.append("")
    lines += [f"note: {note}" for note in report.notes]
    lines.append(_tally(report))
    code = report.exit_code(inconclusive_passes=inconclusive_passes)
    lines.append(f"{_outcome(report, code)}: {_why(report, code)} (exit code {code})")
    return "\n".join(units.printable(line).rstrip() for line in lines) + "\n"


def as_markdown(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write a report for a pull request, in GitHub-flavoured Markdown that GitLab reads too.

    What weighs most stands first. It is cut to what a comment may hold, and says what was left out.

    Args:
        report: what the gate said.
        inconclusive_passes: as its exit code is asked for.
    """
    code = report.exit_code(inconclusive_passes=inconclusive_passes)
    head = [
        f"## fer-bench gate: {_outcome(report, code)}",
        f"{_safe(_capital(_why(report, code)), (_NAMED + 1) * _NAME)}. {_tally(report)}. Exit code {code}.",
        f"Base: {_safe(report.base)}  \nCandidate: {_safe(report.candidate)}",
    ]
    tail = [
        "\n".join(_fitting([f"- {_bullet(note)}" for note in report.notes], _NOTES_BYTES, "- … and {} more notes")),
        *_conditions(report),
        *_cures(report, code),
    ]
    told, alike, networks = _parted(report.verdicts)
    told.sort(key=_weight)
    room = _MOST_BYTES - sum(_bytes(part) + 2 for part in head + tail)
    rows = [_row(each) for each in told + alike]
    table = _fitting(rows, room // 2, "| … and {} more rows | | | | |")
    if table:
        table.insert(0, "| Network | Metric | Verdict | Change | Why |\n| :-- | :-- | :-- | :-- | :-- |")
    room -= sum(_bytes(row) + 1 for row in table)
    blocks = [_block(each, place < _MANY) for place, each in enumerate(told) if each.details or each.accepted]
    for each, names in zip(alike, networks, strict=True):
        blocks.append(_folded(_heading(each), textwrap.wrap(", ".join(names), _WIDTH)))
    details = _fitting(blocks, room - 2, "… and the details of {} more verdicts")
    return "\n\n".join(filter(None, [*head, "\n".join(table), *details, *tail])) + "\n"


def as_junit(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write a report as JUnit XML for GitLab, Jenkins and GitHub's reporters: a suite a metric, a case a network.

    No schema of it binds. GitLab tells cases apart by ``classname`` and ``name``, keeps the first of equal ones, and
    asks for no more; Jenkins wants the numbers of a suite; some reporters fail without ``time``. Verdicts on one
    network and metric, as of several budgets, are one case therefore.

    Args:
        report: what the gate said.
        inconclusive_passes: an inconclusive verdict is a skipped case, not a failed one.
    """
    root = ElementTree.Element("testsuites", name="fer-bench gate")
    for metric in dict.fromkeys(each.metric for each in report.verdicts):
        suite = _suite(root, report, metric)
        of_metric = [each for each in report.verdicts if each.metric == metric]
        for network in dict.fromkeys(each.network for each in of_metric):
            case = _case(suite, network, [each for each in of_metric if each.network == network], inconclusive_passes)
            case.set("time", f"{_seconds(report, network, metric):.3f}")
        _count(suite)
    if not report.verdicts:  # a file without a case reads as a pass
        suite = _suite(root, report, "gate")
        missing = ElementTree.SubElement(_new_case(suite, "gate"), "error", type=Word.error.value, message=NOTHING)
        missing.text = "\n".join(map(units.printable, report.notes)) or NOTHING
        _count(suite)
    _count(root)
    root.set("time", f"{report.wall_s:.3f}")
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def as_json(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write the whole report as one JSON document, in ASCII: names may hold what no encoding can.

    Args:
        report: what the gate said.
        inconclusive_passes: as its exit code is asked for.
    """
    code = report.exit_code(inconclusive_passes=inconclusive_passes)
    head = {"fer_bench_gate": VERSION, "outcome": _outcome(report, code), "exit_code": code}
    return json.dumps(head | dataclasses.asdict(report)) + "\n"


def _parted(given: Sequence[Verdict]) -> tuple[list[Verdict], list[Verdict], list[list[str]]]:
    """Part verdicts told one by one from those that one can stand for, with the networks that it stands for."""
    grouped: dict[tuple[str, str], dict[str, None]] = {}
    for each in given:
        if _plain(each):
            grouped.setdefault(_kind(each), {})[each.network] = None
    many = {kind: list(names) for kind, names in grouped.items() if len(names) > _MANY}
    alike = [Verdict(f"{len(names)} networks", metric, Word.same, said) for (metric, said), names in many.items()]
    return [each for each in given if not (_plain(each) and _kind(each) in many)], alike, list(many.values())


def _plain(verdict: Verdict) -> bool:
    return verdict.word is Word.same and not (verdict.effect or verdict.details or verdict.accepted)


def _kind(verdict: Verdict) -> tuple[str, str]:
    """Say what verdicts must share to be told as one: what the same counts are does not matter, why else does."""
    return verdict.metric, "" if verdict.metric in _EXACT else verdict.said


def _weight(verdict: Verdict) -> float:
    """Place a verdict among others: what decides first, then what was accepted, then what is well."""
    words = list(EXIT_CODES)
    return words.index(Word.inconclusive) + 0.5 if verdict.accepted else words.index(verdict.word)


def _deciding(report: Report, code: int) -> list[Verdict]:
    return sorted((each for each in report.verdicts if each.exit_code == code != verdicts.OK), key=_weight)


def _outcome(report: Report, code: int) -> str:
    """Say the whole in a word: "passed", or that of the verdict that weighs most."""
    if code == verdicts.OK:
        return "passed"
    return next((each.word.value for each in _deciding(report, code)), Word.error.value)


def _why(report: Report, code: int) -> str:
    """Say what an outcome means, and which networks it comes from."""
    if not report.verdicts:
        return NOTHING
    named = [f"{each.network} ({each.metric})" for each in _deciding(report, code)]
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    return ": ".join(filter(None, [MEANINGS[code], ", ".join(_cut(name, _NAME) for name in named[:_NAMED] + more)]))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tally(report: Report) -> str:
    labels = [_label(each) for each in sorted(report.verdicts, key=_weight)]
    counted = ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels))
    number = f"{len(labels)} verdict{'' if len(labels) == 1 else 's'}"
    took = f" in {units.number(report.wall_s)} s" if report.wall_s else ""
    return f"{number}{took}{': ' if counted else ''}{counted}"


def _label(verdict: Verdict) -> str:
    return f"{verdict.word.value} (accepted)" if verdict.accepted else verdict.word.value


def _measured(verdict: Verdict) -> str:
    """Write what was measured in one line, or "" where nothing was."""
    found = verdict.effect
    if found is None:
        return ""
    return f"{_change(found)}  {found.pairs} {found.unit}  (mean {_percent(found.check, found)} %)"


def _change(effect: Effect) -> str:
    low, high = (_percent(end, effect) for end in (effect.low, effect.high))
    return f"{_percent(effect.estimate, effect)} % [{low}, {high}]"


def _percent(share: float, effect: Effect) -> str:
    """Write a share as percent, with its sign, to a tenth or to where its interval begins to differ."""
    half = (effect.high - effect.low) / 2
    place = math.floor(math.log10(half)) + 2 if 0 < half < math.inf else -1
    text = dataclasses.replace(units.percent, decimals=min(max(1, -place), 3), suffix="").number(share)
    return text if text.startswith("-") and Decimal(text) else f"+{text.removeprefix('-')}"


def _beneath(verdict: Verdict) -> Iterator[str]:
    """Give the lines beneath a verdict's own."""
    if verdict.effect is not None and verdict.said:
        yield verdict.said
    yield from verdict.details
    if verdict.accepted:
        yield f"accepted: {verdict.accepted}"


def _where(environment: Environment) -> str:
    threads = f"{environment.threads} thread{'' if environment.threads == 1 else 's'}"
    torch = f"PyTorch {environment.packages.get('torch', 'unknown')}"
    device = f"{environment.device} ({environment.device_name})"
    return ", ".join([device, threads, torch, f"Python {environment.python}", environment.os, environment.allocator])


def _safe(text: str, most: int = _SENTENCE) -> str:
    """Make plain text safe in Markdown that is no beginning of a line."""
    return _MENTION.sub("@\N{WORD JOINER}", escape(_cut(text, most)))


def _bullet(text: str) -> str:
    """Make plain text safe behind a bullet, where a heading or a list can begin."""
    return _LEADING.sub(r"\1\\\2", _safe(text.strip()))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _bytes(text: str) -> int:
    return len(text.encode())


def _fitting(parts: Sequence[str], room: int, told: str) -> list[str]:
    """Keep the first parts that fit into so many bytes, a line apart, and tell how many do not."""
    taken = 0
    for place, part in enumerate(parts):
        taken += _bytes(part) + 2
        if taken + _bytes(told) > room:
            return [*parts[:place], told.format(len(parts) - place)]
    return list(parts)


def _row(verdict: Verdict) -> str:
    found = verdict.effect
    cells = (
        f"<code>{_safe(verdict.network, _NAME)}</code>",
        _safe(verdict.metric),
        f"**{_label(verdict)}**" if verdict.exit_code else _label(verdict),
        _safe(f"{_change(found)}, {found.pairs} {found.unit}") if found else "",
        _safe(verdict.said),
    )
    return f"| {' | '.join(cells)} |"


def _block(verdict: Verdict, first: bool) -> str:
    """Write what stands beneath a verdict, folded where it does not decide."""
    lines = [*verdict.details, *([f"accepted: {verdict.accepted}"] if verdict.accepted else [])]
    return _folded(_heading(verdict), lines, "details open" if first and verdict.exit_code else "details")


def _heading(verdict: Verdict) -> str:
    return f"{verdict.network}, {verdict.metric}: {_label(verdict)}"


def _folded(heading: str, lines: Sequence[str], tag: str = "details") -> str:
    """Write lines so that a click opens or closes them."""
    kept = [units.printable(_cut(line, _SENTENCE)) for line in lines[:_DETAILS]]
    if len(lines) > len(kept):
        kept.append(f"… and {len(lines) - len(kept)} more lines")
    summary = html.escape(units.printable(_cut(heading, _SENTENCE)))
    return f"<{tag}><summary><code>{summary}</code></summary>\n\n{_fenced(kept, 'text')}\n\n</details>"


def _fenced(lines: Iterable[str], language: str) -> str:
    """Write lines as code, between more backticks than stand anywhere in them."""
    body = "\n".join(lines)
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", body))])
    return f"{fence}{language}\n{body}\n{fence}"


def _conditions(report: Report) -> Iterator[str]:
    """Say where and by which settings it was judged."""
    if report.environment is not None:
        yield f"Environment: {_safe(_where(report.environment))}."
    if levels := {each.effect.level for each in report.verdicts if each.effect and each.effect.level}:
        shares = " or ".join(units.percent(level, 4) for level in sorted(levels))
        how = ", over pairs of processes, one of each side, that ran by turns" if report.records else ""
        yield f"In brackets: interval at {shares}{how}."
    settings = [f"{name}: {json.dumps(value)}" for name, value in report.settings.items() if name != "command"]
    if settings:
        yield _folded("Settings", settings)


def _cures(report: Report, code: int) -> Iterator[str]:
    """Say how to see the same elsewhere, and how to let a change pass that is meant."""
    command = units.printable(str(report.settings.get("command", "")))
    if 0 < len(command) <= _COMMAND:
        yield f"To repeat it:\n\n{_fenced([command], 'sh')}"
    changes = [
        each for each in _deciding(report, code) if each.metric != limits.METRIC
    ]  # a budget is raised, not passed over
    if code == verdicts.WORSE and changes:
        network = units.printable(_cut(changes[0].network, _NAME))
        trailer = _fenced([f"{TRAILER}: {network}: reason"], "text")
        told = "If it is meant, add `--accept REASON`, or end a commit message with a line for each network"
        yield f"{told}:\n\n{trailer}"


def _suite(root: ElementTree.Element, report: Report, metric: str) -> ElementTree.Element:
    suite = ElementTree.SubElement(root, "testsuite", name=units.printable(metric))
    properties = ElementTree.SubElement(suite, "properties")
    settings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in report.settings.items()}
    for name, value in {"base": report.base, "candidate": report.candidate, **settings}.items():
        ElementTree.SubElement(properties, "property", name=units.printable(name), value=units.printable(value))
    return suite


def _new_case(suite: ElementTree.Element, network: str) -> ElementTree.Element:
    about = {"name": units.printable(network), "classname": f"fer_bench.gate.{suite.get('name')}", "time": "0.000"}
    return ElementTree.SubElement(suite, "testcase", about)


def _case(
    suite: ElementTree.Element, network: str, of_network: Sequence[Verdict], inconclusive_passes: bool
) -> ElementTree.Element:
    """Add all verdicts on a network and metric as one case, after the one that weighs most."""
    case = _new_case(suite, network)
    heaviest = min(of_network, key=_weight)
    kind = "" if heaviest.accepted else _ELEMENTS.get(heaviest.word, "")
    if kind and inconclusive_passes and heaviest.word is Word.inconclusive:
        kind = "skipped"
    lines = []
    for each in of_network:
        lines.append(f"{_label(each)}: {_measured(each) or each.said}")
        lines += _beneath(each)
    told = ElementTree.SubElement(case, kind or "system-out")
    if kind:
        told.set("type", heaviest.word.value)
        told.set("message", units.printable(f"{heaviest.word}: {_measured(heaviest) or heaviest.said}"))
    told.text = "\n".join(map(units.printable, lines))
    return case


def _seconds(report: Report, network: str, metric: str) -> float:
    """Tell how long a network was measured for; counting is done for all together, and has no time of its own."""
    mine = (record for record in report.records if (record.get("network"), record.get("metric")) == (network, metric))
    return float(sum(record.get("wall_s", 0.0) for record in mine))


def _count(element: ElementTree.Element) -> None:
    """Say on a suite, or on the root, how many cases it has, how many of them ended how, and how long they took."""
    element.set("tests", str(len(list(element.iter("testcase")))))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(len(list(element.iter(kind)))))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in element.iter('testcase')):.3f}")
