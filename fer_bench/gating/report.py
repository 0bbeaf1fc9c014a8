"""Write the report of a gate: for a terminal, a pull request, readers of test reports, and a program.

All ask for the exit code as the caller does: with ``inconclusive_passes`` an inconclusive verdict is none that fails.
Names and reasons come from users' files and commits: nothing of them may act as markup, or as a terminal's commands.
"""

import dataclasses
import html
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from xml.etree import ElementTree

from fer_bench.gating import counts, limits
from fer_bench.gating.request import Report
from fer_bench.gating.revisions import TRAILER
from fer_bench.gating.timing import WHAT
from fer_bench.gating.verdicts import EXIT_CODES, Effect, Outcome, Verdict
from fer_bench.records import exit_codes, output, units
from fer_bench.records.result import Environment, Json
from fer_bench.reporting.render.markdown import escape

VERSION = 1  # of the JSON document

MEANINGS = {
    exit_codes.OK: "no network is worse",
    exit_codes.FINDING: "a network is worse, or its counts changed",
    exit_codes.CANNOT_JUDGE: "something could not be judged",
    exit_codes.INCONCLUSIVE: "the measurements show neither a change nor its absence",
    exit_codes.INCOMPARABLE: "the two sides cannot be compared",
}
NOTHING = "nothing was judged"

_MANY = 3  # networks with nothing to report but "same", above which one line stands for all
_EXACT = (counts.METRIC, limits.METRIC)
_HEADLINE_NAMES = 10  # networks that a headline names

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
    exit_codes.FINDING: "failure",
    exit_codes.INCONCLUSIVE: "failure",
    exit_codes.CANNOT_JUDGE: "error",
    exit_codes.INCOMPARABLE: "error",
}


def as_text(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write a report for a terminal: a verdict a line, why beneath, and the outcome at the end."""
    listed, alike = _grouped(report.verdicts)
    every = [*listed, *alike]
    rows = [(each.network, each.metric, _label(each), _finding(each)) for each in every]
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(3)]
    lines = [f"base         {report.base}", f"candidate    {report.candidate}"]
    if report.environment is not None:
        lines.append(f"environment  {_where(report.environment)}")
    if at := _judged_at(report.settings.get("plan")):
        lines.append(f"judged at    {at}")
    lines.append("")
    for each, row in zip(every, rows, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
        lines += [f"    {line}" for line in _beneath(each)]
    if rows:
        lines.append("")
    lines += [f"note: {note}" for note in report.notes]
    lines.append(_tally(report))
    code = report.exit_code(inconclusive_passes=inconclusive_passes)
    lines.append(f"{_outcome(report, code)}: {_meaning(report, code)} (exit code {code})")
    return "\n".join(output.printable(line).rstrip() for line in lines) + "\n"


def as_markdown(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write a report for a pull request, in GitHub-flavoured Markdown that GitLab reads too.

    What weighs most stands first. It is cut to what a comment may hold, and says what was left out.
    """
    code = report.exit_code(inconclusive_passes=inconclusive_passes)
    meaning = _meaning(report, code)
    meaning = _safe(meaning[:1].upper() + meaning[1:], (_HEADLINE_NAMES + 1) * _NAME)
    head = [
        f"## fer-bench gate: {_outcome(report, code)}",
        f"{meaning}. {_tally(report)}. Exit code {code}.",
        f"Base: {_safe(report.base)}  \nCandidate: {_safe(report.candidate)}",
    ]
    tail = [
        "\n".join(_fitting([f"- {_bullet(note)}" for note in report.notes], _NOTES_BYTES, "- … and {} more notes")),
        *_conditions(report),
        *_next_steps(report, code),
    ]
    listed, alike = _grouped(report.verdicts)
    listed.sort(key=_weight)
    room = _MOST_BYTES - sum(_bytes(part) + 2 for part in head + tail)
    table = _fitting([_row(each) for each in [*listed, *alike]], room // 2, "| … and {} more rows | | | | |")
    if table:
        table.insert(0, "| Network | Metric | Verdict | Change | Why |\n| :-- | :-- | :-- | :-- | :-- |")
    room -= sum(_bytes(row) + 1 for row in table)
    blocks = []
    for place, each in enumerate(listed):
        if lines := _details(each):
            deciding = place < _MANY and each.exit_code
            blocks.append(_folded(_heading(each), lines, "details open" if deciding else "details"))
    blocks += [_folded(_heading(each), textwrap.wrap(", ".join(names), _WIDTH)) for each, names in alike.items()]
    blocks = _fitting(blocks, room - 2, "… and the details of {} more verdicts")
    return "\n\n".join(filter(None, [*head, "\n".join(table), *blocks, *tail])) + "\n"


def as_junit(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write a report as JUnit XML for GitLab, Jenkins and GitHub's reporters: a suite a metric, a case a network.

    No schema of it binds. GitLab distinguishes cases by ``classname`` and ``name``, keeps the first of equal ones, and
    asks for no more; Jenkins wants the numbers of a suite; some reporters fail without ``time``. Verdicts on one
    network and metric, as of several budgets, are one case therefore. An inconclusive verdict that passes is skipped.
    """
    suites: dict[str, dict[str, list[Verdict]]] = {}
    for each in report.verdicts:
        suites.setdefault(each.metric, {}).setdefault(each.network, []).append(each)
    settings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in report.settings.items()}
    about = {"base": report.base, "candidate": report.candidate, **settings}
    root = ElementTree.Element("testsuites", name="fer-bench gate")
    for metric, cases in (suites or {"gate": {"gate": []}}).items():  # a file without a case reads as a pass
        suite = ElementTree.SubElement(root, "testsuite", name=metric)
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in about.items():
            ElementTree.SubElement(properties, "property", name=name, value=value)
        for network, verdicts in cases.items():
            # Counting is done for all together, and has no time of its own.
            measured = [one for one in report.records if (one.verdict.network, one.verdict.metric) == (network, metric)]
            case = ElementTree.SubElement(suite, "testcase", name=network)
            case.set("classname", f"fer_bench.gate.{metric}")
            case.set("time", f"{sum(one.wall_s for one in measured):.3f}")
            if verdicts:
                _end(case, verdicts, inconclusive_passes)
            else:
                missing = ElementTree.SubElement(case, "error", type=Outcome.error.value, message=NOTHING)
                missing.text = "\n".join(report.notes) or NOTHING
        _count(suite)
    _count(root)
    root.set("time", f"{report.wall_s:.3f}")
    ElementTree.indent(root)
    for element in root.iter():
        element.attrib = output.each_text(element.attrib)
    document = ElementTree.tostring(root, encoding="unicode")
    return output.printable(f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n', lines=True)


def as_json(report: Report, *, inconclusive_passes: bool = False) -> str:
    """Write the whole report as one JSON document, in ASCII: names may hold what no encoding can."""
    code = report.exit_code(inconclusive_passes=inconclusive_passes)
    head = {"fer_bench_gate": VERSION, "outcome": _outcome(report, code), "exit_code": code}
    body = dataclasses.asdict(dataclasses.replace(report, records=()))
    keys = {"outcome": "word", "reason": "said"}  # of version 1, where they are not the attributes' names
    verdicts = [{keys.get(name, name): value for name, value in each.items()} for each in body["verdicts"]]
    records = [record.to_dict() for record in report.records]
    return json.dumps(head | body | {"verdicts": verdicts, "records": records}) + "\n"


def _grouped(given: Sequence[Verdict]) -> tuple[list[Verdict], dict[Verdict, list[str]]]:
    """Part verdicts that are listed one by one from those that stand for many alike, with the networks of each."""

    def kind(verdict: Verdict) -> tuple[str, str] | None:
        """Return what verdicts must share to be one: what the same counts are does not matter, why else does."""
        if verdict.outcome is not Outcome.same or verdict.effect or verdict.details or verdict.accepted:
            return None
        return verdict.metric, "" if verdict.metric in _EXACT else verdict.reason

    networks: dict[tuple[str, str] | None, dict[str, None]] = {}
    for each in given:
        networks.setdefault(kind(each), {})[each.network] = None
    many = {key: list(names) for key, names in networks.items() if key is not None and len(names) > _MANY}
    alike = {Verdict(f"{len(names)} networks", key[0], Outcome.same, key[1]): names for key, names in many.items()}
    return [each for each in given if kind(each) not in many], alike


def _weight(verdict: Verdict) -> float:
    """Place a verdict among others: what decides first, then what was accepted, then what is well."""
    order = list(EXIT_CODES)
    return order.index(Outcome.inconclusive) + 0.5 if verdict.accepted else order.index(verdict.outcome)


def _deciding(report: Report, code: int) -> list[Verdict]:
    return sorted((each for each in report.verdicts if each.exit_code == code != exit_codes.OK), key=_weight)


def _outcome(report: Report, code: int) -> str:
    """Return the whole in a word: "passed", or that of the verdict that weighs most."""
    if code == exit_codes.OK:
        return "passed"
    return next((each.outcome.value for each in _deciding(report, code)), Outcome.error.value)


def _meaning(report: Report, code: int) -> str:
    if not report.verdicts:
        return NOTHING
    names = [_cut(f"{each.network} ({each.metric})", _NAME) for each in _deciding(report, code)]
    if len(names) > _HEADLINE_NAMES:
        names[_HEADLINE_NAMES:] = [f"{len(names) - _HEADLINE_NAMES} more"]
    return ": ".join(filter(None, [MEANINGS[code], ", ".join(names)]))


def _tally(report: Report) -> str:
    labels = [_label(each) for each in sorted(report.verdicts, key=_weight)]
    counted = ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels))
    number = f"{len(labels)} verdict{'' if len(labels) == 1 else 's'}"
    took = f" in {units.number(report.wall_s)} s" if report.wall_s else ""
    return f"{number}{took}{': ' if counted else ''}{counted}"


def _label(verdict: Verdict) -> str:
    return f"{verdict.outcome.value} (accepted)" if verdict.accepted else verdict.outcome.value


def _finding(verdict: Verdict) -> str:
    """Write what was measured in one line, or the reason where nothing was."""
    effect = verdict.effect
    if effect is None:
        return verdict.reason
    return f"{_change(effect)}  {effect.pairs} {effect.unit}  (mean {_percent(effect.check, effect)} %)"


def _change(effect: Effect) -> str:
    low, high = (_percent(end, effect) for end in (effect.low, effect.high))
    return f"{_percent(effect.estimate, effect)} % [{low}, {high}]"


def _percent(share: float, effect: Effect) -> str:
    """Write a share as percent, with its sign, to a tenth or to where its interval begins to differ."""
    half = (effect.high - effect.low) / 2
    place = math.floor(math.log10(half)) + 2 if 0 < half < math.inf else -1
    return f"{100 * units.decimal(share):+z.{min(max(1, -place), 3)}f}"  # z: no negative zero


def _beneath(verdict: Verdict) -> list[str]:
    reason = [verdict.reason] if verdict.effect is not None and verdict.reason else []
    return [*reason, *_details(verdict)]


def _details(verdict: Verdict) -> list[str]:
    return [*verdict.details, *([f"accepted: {verdict.accepted}"] if verdict.accepted else [])]


def _where(environment: Environment) -> str:
    threads = f"{environment.threads} thread{'' if environment.threads == 1 else 's'}"
    torch = f"PyTorch {environment.packages.get('torch', 'unknown')}"
    device = f"{environment.device} ({environment.device_name})"
    return ", ".join([device, threads, torch, f"Python {environment.python}", environment.os, environment.allocator])


def _judged_at(plan: Json) -> str:
    """Say what size of images and how many classes networks were judged at; "" where several plans were followed."""
    if not isinstance(plan, dict):
        return ""
    side, channels, classes = (plan.get(name) for name in WHAT)
    of = f"{channels} channel{'s' * (channels != 1)}" if channels else "their own channels"
    size = f"{side}x{side} images of {of}" if side else f"images of {of} and their own size" if channels else ""
    outputs = f"{classes} classes" if classes is not None else "their own classes"
    return f"{size or 'their own input'}, {outputs}, batch {plan.get('batch_size', 1)}"


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


def _fitting(parts: Sequence[str], room: int, rest: str) -> list[str]:
    """Return the first parts that fit into so many bytes, a line apart, and how many do not."""
    used = 0
    for place, part in enumerate(parts):
        used += _bytes(part) + 2
        if used + _bytes(rest) > room:
            return [*parts[:place], rest.format(len(parts) - place)]
    return list(parts)


def _row(verdict: Verdict) -> str:
    effect = verdict.effect
    cells = (
        f"<code>{_safe(verdict.network, _NAME)}</code>",
        _safe(verdict.metric),
        f"**{_label(verdict)}**" if verdict.exit_code else _label(verdict),
        _safe(f"{_change(effect)}, {effect.pairs} {effect.unit}") if effect else "",
        _safe(verdict.reason),
    )
    return f"| {' | '.join(cells)} |"


def _heading(verdict: Verdict) -> str:
    return f"{verdict.network}, {verdict.metric}: {_label(verdict)}"


def _folded(heading: str, lines: Sequence[str], tag: str = "details") -> str:
    kept = [output.printable(_cut(line, _SENTENCE)) for line in lines[:_DETAILS]]
    if len(lines) > len(kept):
        kept.append(f"… and {len(lines) - len(kept)} more lines")
    summary = html.escape(output.printable(_cut(heading, _SENTENCE)))
    return f"<{tag}><summary><code>{summary}</code></summary>\n\n{_fenced(kept, 'text')}\n\n</details>"


def _fenced(lines: Iterable[str], language: str) -> str:
    """Write lines as code, between more backticks than stand anywhere in them."""
    body = "\n".join(lines)
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", body))])
    return f"{fence}{language}\n{body}\n{fence}"


def _conditions(report: Report) -> Iterator[str]:
    if report.environment is not None:
        yield f"Environment: {_safe(_where(report.environment))}."
    if at := _judged_at(report.settings.get("plan")):
        yield f"Judged at {at}."
    if levels := {each.effect.level for each in report.verdicts if each.effect and each.effect.level}:
        shares = " or ".join(units.percent(level, 4) for level in sorted(levels))
        how = ", over pairs of processes, one of each side, that alternated" if report.records else ""
        yield f"In brackets: interval at {shares}{how}."
    settings = [f"{name}: {json.dumps(value)}" for name, value in report.settings.items() if name != "command"]
    if settings:
        yield _folded("Settings", settings)


def _next_steps(report: Report, code: int) -> Iterator[str]:
    command = output.printable(str(report.settings.get("command", "")))
    if 0 < len(command) <= _COMMAND:
        yield f"To repeat it:\n\n{_fenced([command], 'sh')}"
    # A budget is raised, not passed over.
    changes = [each for each in _deciding(report, code) if each.metric != limits.METRIC]
    if code == exit_codes.FINDING and changes:
        network = output.printable(_cut(changes[0].network, _NAME))
        trailer = _fenced([f"{TRAILER}: {network}: reason"], "text")
        how = "If it is intended, add `--accept REASON`, or end a commit message with a line for each network"
        yield f"{how}:\n\n{trailer}"


def _end(case: ElementTree.Element, of_network: Sequence[Verdict], inconclusive_passes: bool) -> None:
    """Write into a case all verdicts on a network and metric, and end it as the one that weighs most."""
    heaviest = min(of_network, key=_weight)
    kind = _ELEMENTS.get(heaviest.exit_code)
    if inconclusive_passes and heaviest.exit_code == exit_codes.INCONCLUSIVE:
        kind = "skipped"
    element = ElementTree.SubElement(case, kind or "system-out")
    if kind:
        element.set("type", heaviest.outcome.value)
        element.set("message", f"{heaviest.outcome}: {_finding(heaviest)}")
    lines = [line for each in of_network for line in (f"{_label(each)}: {_finding(each)}", *_beneath(each))]
    element.text = "\n".join(lines)


def _count(element: ElementTree.Element) -> None:
    """Write on a suite, or on the root, how many cases it has, how many of them ended how, and how long they took."""
    kinds = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, kind in kinds.items():
        element.set(attribute, str(len(list(element.iter(kind)))))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in element.iter('testcase')):.3f}")
