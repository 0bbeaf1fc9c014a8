"""Plain text made safe in LaTeX: what its syntax means otherwise, ligatures, letters that its fonts lack."""

import functools
import re
import unicodedata
from collections.abc import Mapping

from fer_bench.records import output

# Commands of characters that the fonts have, or that LaTeX's syntax means otherwise.
_COMMANDS = r"""
    \ textbackslash  ~ textasciitilde  ^ textasciicircum  < textless  > textgreater  " textquotedbl
    ` textasciigrave  | textbar  − textminus  × texttimes  ÷ textdiv  ± textpm  µ textmu  μ textmu
    ° textdegree  · textperiodcentered  • textbullet  … textellipsis  ‘ textquoteleft  ’ textquoteright
    “ textquotedblleft  ” textquotedblright  § textsection  © textcopyright  ® textregistered
    ™ texttrademark  € texteuro  £ textsterling  ← textleftarrow  → textrightarrow
    ß ss  æ ae  Æ AE  œ oe  Œ OE  ø o  Ø O  ł l  Ł L  ı i
""".split()
_SYMBOLS = "≤ leq  ≥ geq  ≈ approx  ≠ neq  ∞ infty".split()  # likewise in formulas
_SPECIAL: Mapping[str, str] = {
    **{character: f"\\{character}" for character in "{}&%$#_"},
    **{character: f"{{{character}}}" for character in "[]*"},  # after a line break they would be its arguments
    **{character: f"\\{name}{{}}" for character, name in zip(_COMMANDS[::2], _COMMANDS[1::2], strict=True)},
    **{character: f"\\ensuremath{{\\{name}}}" for character, name in zip(_SYMBOLS[::2], _SYMBOLS[1::2], strict=True)},
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{WORD JOINER}": "{}",  # our own, between the characters of a ligature
}
# Commands of accents, each before a letter that has it.
_ACCENTS = {
    unicodedata.normalize("NFD", it[1])[1]: it[0] for it in "`à 'á ^â ~ã =ā uă .ė \"ë rå Hő vč dạ cç ką".split()
}

# Pairs that the fonts join into another character: a dash, a quotation mark.
_LIGATURE = re.compile(r"([-',])(?=\1)")


_KNOWN = 2**14  # characters and words that are kept: a long table repeats most of its words
# A letter that is named by its number.
_NAMED = r"\[U\+[0-9A-F]{4,6}\]"


@functools.lru_cache(maxsize=_KNOWN)
def spelt(text: str) -> str:
    """Return a text with the characters that are to be seen; a letter that the T1 fonts lack is named: "[U+4E2D]"."""
    composed = unicodedata.normalize("NFC", output.printable(text))
    return "".join(c if _written(c) is not None else f"[U+{ord(c):04X}]" for c in composed)


def escape(text: str) -> str:
    """Make plain text safe in LaTeX; a letter that the T1 fonts lack is named by its number, as by ``spelt``."""
    apart = _LIGATURE.sub("\\1\N{WORD JOINER}", spelt(text))
    return "".join(_written(character) or "" for character in apart)


def breakable(text: str, run: int) -> str:
    """Make plain text safe where lines are broken: words longer than ``run`` break, at punctuation or anywhere.

    Letters that the fonts lack count as the names that they get, and no line breaks within one.
    """

    def word(match: re.Match[str]) -> str:
        pieces = re.findall(rf"{_NAMED}|[^\W_]{{1,{run}}}|[\W_]", match[0])
        return r"\allowbreak{}".join(map(escape, pieces))

    return "".join(word(m) if len(m[0]) > run else escape(m[0]) for m in re.finditer(r"\s+|\S+", spelt(text)))


@functools.lru_cache(maxsize=_KNOWN)
def _written(character: str) -> str | None:
    """Write a character of a text, if with accents; None for one that the fonts lack."""
    if character in _SPECIAL:
        return _SPECIAL[character]
    letter, *marks = tuple(unicodedata.normalize("NFD", character))
    if not letter.isascii() or not all(mark in _ACCENTS for mark in marks):
        return None
    for mark in marks:
        letter = f"\\{_ACCENTS[mark]}{{{letter}}}"
    return letter
