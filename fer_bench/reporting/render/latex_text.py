"""Plain text made safe in LaTeX: what its syntax means otherwise, ligatures, letters that its fonts lack."""

import re
import unicodedata
from collections.abc import Mapping

from fer_bench.records import units

_SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row it would be an argument of the line break before it
    "]": "{]}",
    "*": "{*}",  # likewise
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{MINUS SIGN}": r"\textminus{}",
    "\N{MULTIPLICATION SIGN}": r"\texttimes{}",
    "\N{DIVISION SIGN}": r"\textdiv{}",
    "\N{PLUS-MINUS SIGN}": r"\textpm{}",
    "\N{MICRO SIGN}": r"\textmu{}",
    "\N{GREEK SMALL LETTER MU}": r"\textmu{}",
    "\N{DEGREE SIGN}": r"\textdegree{}",
    "\N{MIDDLE DOT}": r"\textperiodcentered{}",
    "\N{BULLET}": r"\textbullet{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\textellipsis{}",
    "\N{LEFT SINGLE QUOTATION MARK}": r"\textquoteleft{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": r"\textquotedblleft{}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": r"\textquotedblright{}",
    "\N{SECTION SIGN}": r"\textsection{}",
    "\N{COPYRIGHT SIGN}": r"\textcopyright{}",
    "\N{REGISTERED SIGN}": r"\textregistered{}",
    "\N{TRADE MARK SIGN}": r"\texttrademark{}",
    "\N{EURO SIGN}": r"\texteuro{}",
    "\N{POUND SIGN}": r"\textsterling{}",
    "\N{LEFTWARDS ARROW}": r"\textleftarrow{}",
    "\N{RIGHTWARDS ARROW}": r"\textrightarrow{}",
    "\N{LESS-THAN OR EQUAL TO}": r"\ensuremath{\leq}",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ensuremath{\geq}",
    "\N{ALMOST EQUAL TO}": r"\ensuremath{\approx}",
    "\N{NOT EQUAL TO}": r"\ensuremath{\neq}",
    "\N{INFINITY}": r"\ensuremath{\infty}",
    "\N{LATIN SMALL LETTER SHARP S}": r"\ss{}",
    "\N{LATIN SMALL LETTER AE}": r"\ae{}",
    "\N{LATIN CAPITAL LETTER AE}": r"\AE{}",
    "\N{LATIN SMALL LIGATURE OE}": r"\oe{}",
    "\N{LATIN CAPITAL LIGATURE OE}": r"\OE{}",
    "\N{LATIN SMALL LETTER O WITH STROKE}": r"\o{}",
    "\N{LATIN CAPITAL LETTER O WITH STROKE}": r"\O{}",
    "\N{LATIN SMALL LETTER L WITH STROKE}": r"\l{}",
    "\N{LATIN CAPITAL LETTER L WITH STROKE}": r"\L{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
}

_ACCENTS: Mapping[str, str] = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING DOT BELOW}": "d",
    "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING OGONEK}": "k",
}

# Pairs that the fonts join into another character: a dash, a quotation mark.
_LIGATURE = re.compile(r"([-',])(?=\1)")


# A letter that is named by its number.
_NAMED = r"\[U\+[0-9A-F]{4,6}\]"


def spelt(text: str) -> str:
    """Give a text with the characters that are to be seen; a letter that the T1 fonts lack is named: "[U+4E2D]"."""
    composed = unicodedata.normalize("NFC", units.printable(text))
    return "".join(c if _has_letter(c) else f"[U+{ord(c):04X}]" for c in composed)


def escape(text: str) -> str:
    """Make plain text safe in LaTeX; a letter that the T1 fonts lack is named by its number, as by ``spelt``."""
    apart = _LIGATURE.sub("\\1\N{WORD JOINER}", spelt(text))
    return "".join(map(_character, apart))


def breakable(text: str, run: int) -> str:
    """Make plain text safe where lines are broken: words longer than ``run`` break, at punctuation or anywhere.

    Letters that the fonts lack count as the names that they get, and no line breaks within one.
    """

    def word(found: re.Match[str]) -> str:
        pieces = re.findall(rf"{_NAMED}|[^\W_]{{1,{run}}}|[\W_]", found[0])
        return r"\allowbreak{}".join(map(escape, pieces))

    return "".join(word(m) if len(m[0]) > run else escape(m[0]) for m in re.finditer(r"\s+|\S+", spelt(text)))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character == "\N{WORD JOINER}":
        return "{}"
    if character.isascii():
        return character
    decomposed = unicodedata.normalize("NFD", character)
    letter = decomposed[0]
    for mark in decomposed[1:]:
        letter = f"\\{_ACCENTS[mark]}{{{letter}}}"
    return letter


def _has_letter(character: str) -> bool:
    """Tell whether a character of a text can be written, if with accents."""
    decomposed = unicodedata.normalize("NFD", character)
    accented = decomposed[0].isascii() and all(mark in _ACCENTS for mark in decomposed[1:])
    return character in _SPECIAL or accented
