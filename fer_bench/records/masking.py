"""Secrets in what is written down or printed: command lines and URLs, with *** for what must stay unknown."""

import re
import shlex
from collections.abc import Iterable

_STORE = "--store"  # the option that takes a URL
_MASK = "***"
_WORDS = r"[\w.-]*(?:password|passwd|secret|token|api[_-]?key)"
# Password of a URL, which may hold any character, an @ or a / in clear among them: all that precedes the last @.
_OF_USER = re.compile(r"((?::/|//)[^\s:/@]*:)\S*@")
_OF_NOBODY = re.compile(r"(https?://)[^\s:/@]+@", re.IGNORECASE)  # a token in place of a user
_OF_QUERY = re.compile(rf"([?&;]{_WORDS}=)\S*", re.IGNORECASE)  # to the end: it may hold an & in clear
_ASSIGNED = re.compile(rf"(\b{_WORDS}=)(\"[^\"]*\"|'[^']*'|\S*)", re.IGNORECASE)  # as PGPASSWORD=... make
_OF_OPTION = re.compile(rf"(--?{_WORDS}[= ])\S+", re.IGNORECASE)
_HEADER = re.compile(r"(\b(?:bearer|basic) )[\w.~+/=-]+", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with *** for the passwords and tokens of its URLs, assignments and options."""
    for pattern in (_OF_USER, _OF_NOBODY, _OF_QUERY, _ASSIGNED, _OF_OPTION):
        text = pattern.sub(rf"\1{_MASK}{'@' if pattern in (_OF_USER, _OF_NOBODY) else ''}", text)
    return _HEADER.sub(rf"\1{_MASK}", text)


def masked_url(text: str) -> str:
    """Return a URL as it was written, right or wrong, with *** for its password, which may hold spaces, too."""
    text = re.sub(r"(?s)((?::/|//)[^:/@]*:).*@", rf"\1{_MASK}@", text)
    if "@" not in text:  # the host was forgotten, or it has a port
        text = re.sub(r"(?s)(//[^:/]*:)(?!\d+(?:/|$)).*", rf"\1{_MASK}", text)
    return re.sub(rf"(?is)([?&]{_WORDS}=).*", rf"\1{_MASK}", text)


def command_line(arguments: Iterable[str]) -> str:
    """Return the command line of fer-bench as it would be typed again, with *** for its secrets."""
    line = ["fer-bench"]
    for word in arguments:
        option, equals, value = word.partition("=")
        if line[-1] == _STORE:
            word = masked_url(word)
        elif option == _STORE and equals:
            word = f"{option}={masked_url(value)}"
        line.append(masked(word))
    return shlex.join(line)
