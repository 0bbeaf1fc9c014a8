"""What leaves the program: text that no terminal obeys, messages of bounded length, and the stream of our own output.

Names, captions, notes and errors come from users' files and networks, and are stored as they are. They are cleaned
where they leave: by ``fer_bench.cli.common.say``, by the renderers of tables, figures, pages and reports of a gate, and
by the progress display. JSON is lossless: there such characters are escaped.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TextIO

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # stands for a character that is not shown, one for one: columns stay aligned
MOST_CHARACTERS = 2000  # of a message in a record
MOST_OF_AN_ERROR = 1000  # of what somebody else's error says in it
_HEAD, _TAIL = 0.6, 0.3  # shares that are kept of a longer one; between them stands how much was left out

# Format characters that belong to words: Persian and Indic scripts, emoji, and our own in Markdown and LaTeX.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\N{WORD JOINER}"
_UNUSUAL, _UNUSUAL_IN_LINES = re.compile(r"[^ -~]"), re.compile(r"[^ -~\n\t]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text without what a terminal, a browser or a reader of XML would obey.

    U+FFFD stands for each control character (C0, DEL, C1), bidirectional control, other invisible format character,
    lone surrogate and code point without a character. White space becomes a space, so that a name stays in its line.

    Args:
        text: as a user's file or network gave it.
        lines: keep line feeds and tabs: the text is a whole output, whose lines are ours.
    """
    return (_UNUSUAL_IN_LINES if lines else _UNUSUAL).sub(lambda found: _shown(found[0]), text)


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if character.isspace() else REPLACEMENT


def printable_json(document: str) -> str:
    """Return a JSON document that reads the same, with all that ``printable`` would replace escaped."""
    return _UNUSUAL_IN_LINES.sub(
        lambda found: found[0] if _shown(found[0]) == found[0] else json.dumps(found[0])[1:-1], document
    )


def each_text(value: Any, change: Callable[[str], str] = printable) -> Any:
    """Return a value with every text in it changed: in dataclasses, tuples, lists, and mappings with their keys."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)(each_text(part, change) for part in value)
    if isinstance(value, Mapping):
        return {each_text(key, change): each_text(part, change) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: each_text(getattr(value, field.name), change) for field in fields(value)})
    return value


def capped(message: str, most: int = MOST_CHARACTERS) -> str:
    """Return a message of at most so many characters: of a longer one head and tail, and how much is left out."""
    if len(message) <= most:
        return message
    head, tail = int(_HEAD * most), int(_TAIL * most)
    return f"{message[:head]} ... {len(message) - head - tail} characters left out ... {message[-tail:]}"


_ours: TextIO | None = None


def stdout() -> TextIO:
    """Return the stream of our own output, which ``own_stdout`` keeps from networks."""
    return sys.stdout if _ours is None else _ours


@contextlib.contextmanager
def own_stdout() -> Iterator[None]:
    """Keep stdout to what is written to ``stdout()``: whatever else prints in the block prints on stderr."""
    global _ours  # a process has one stdout
    before, _ours = _ours, sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _ours = before


@contextlib.contextmanager
def program_stdout() -> Iterator[None]:
    """Point file descriptor 1 at stderr for the rest of the process, and ``sys.stdout`` at a copy of it in the block.

    For a program of its own: C code of a network writes to the descriptor, and what it has buffered is written when the
    process ends. After the block ``sys.stdout`` is stderr, since threads and exit handlers of a network print, too.
    """
    if sys.stdout is None or sys.stderr is None:  # closed by whoever started the program
        yield
        return
    copy = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(copy, "w", encoding=sys.stdout.encoding, errors="replace")
    try:
        yield
    finally:
        sys.stdout = sys.stderr
