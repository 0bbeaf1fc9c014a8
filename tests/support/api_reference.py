"""Write the reference of the Python API: ``python tests/support/api_reference.py > docs/api.md``."""

import inspect
import re
import sys

import fer_bench as fb

_HEAD = """\
# The Python API

```python
import fer_bench as fb
```

Each verb of the command line is a function. Importing `fer_bench` loads neither PyTorch nor pandas; that happens when
a name needs them. What is tabular has `to_frame()`, a pandas DataFrame with base units in the names of its columns,
and shows itself in a notebook; [notebook.ipynb](notebook.ipynb) is an example. Errors that you can mend are
`fb.FerBenchError`.

This page is written from the docstrings by `tests/support/api_reference.py`, and its examples are run by
`tests/test_api.py`. `torch` is imported in them.

"""
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Examples):$", re.MULTILINE)


def page() -> str:
    """Return the page."""
    names = [name for name in fb.__all__ if name != "__version__"]
    functions = [name for name in names if not isinstance(getattr(fb, name), type)]
    classes = [name for name in names if name not in functions]
    heads = [f"fb{name.lower()}" for name in (*functions, *classes)]  # as GitHub makes links of headings
    links = [
        f"[{name}](#{head}{'-1' * (head in heads[:place])})"
        for place, (name, head) in enumerate(zip((*functions, *classes), heads, strict=True))
    ]
    contents = [
        f"- Functions: {', '.join(links[: len(functions)])}",
        f"- Classes: {', '.join(links[len(functions) :])}",
    ]
    entries = [_entry(name) for name in (*functions, *classes)]
    return _HEAD + "\n".join(contents) + "\n\n`fb.__version__` is the version as a text.\n\n" + "\n".join(entries)


def _entry(name: str) -> str:
    """Return the part on one public name."""
    thing = getattr(fb, name)
    text = inspect.getdoc(thing) or ""
    about, *parts = _SECTION.split(text)
    lines = [f"## fb.{name}", ""]
    if not (isinstance(thing, type) and issubclass(thing, Exception)):
        lines += ["```python", _call(name, thing), "```", ""]
    lines += [_plain(about), ""]
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        if heading == "Examples":
            lines += ["```pycon", inspect.cleandoc(body.replace("<BLANKLINE>", "")), "```", ""]
        else:
            lines += [f"{heading}:", "", _listed(body) if heading != "Returns" else _plain(body), ""]
    if isinstance(thing, type) and thing.__module__.startswith("fer_bench"):
        methods = list(_methods(thing))
        lines += ["Methods:", "", *methods, ""] if methods else []
    return "\n".join(lines)


def _call(name: str, thing: object) -> str:
    """Write a call with its arguments and their defaults."""
    shown, star = [], False
    for one in inspect.signature(thing).parameters.values():
        if one.kind is one.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        simple = isinstance(one.default, str | int | float | bool | tuple | dict | None)
        default = "" if one.default is one.empty else f"={one.default!r}" if simple else "=..."
        shown.append({one.VAR_KEYWORD: "**", one.VAR_POSITIONAL: "*"}.get(one.kind, "") + one.name + default)
    call = f"fb.{name}({', '.join(shown)})"
    return call if len(call) <= 100 else f"fb.{name}(\n    " + ",\n    ".join(shown) + ",\n)"


def _methods(thing: type) -> list[str]:
    """Write what a class of results has, a line each."""
    found = []
    for name, one in vars(thing).items():
        about = inspect.getdoc(one.fget if isinstance(one, property) else getattr(one, "__func__", one))
        if not name.startswith("_") and about and (inspect.isfunction(one) or isinstance(one, property | classmethod)):
            call = name if isinstance(one, property) else f"{name}()"
            found.append(f"- `{call}`: {_plain(about.partition(chr(10) * 2)[0])}")
    return found


def _plain(text: str) -> str:
    return inspect.cleandoc(text).strip().replace("``", "`")


def _listed(body: str) -> str:
    """Write the lines of a section, "name: what it is", as a list."""
    items = re.split(r"\n(?=\S)", inspect.cleandoc(body).strip())
    joined = (" ".join(item.split()) for item in items)
    return "\n".join(re.sub(r"^(\*{0,2}[\w, ]+): ", r"- `\1`: ", _plain(item)) for item in joined)


if __name__ == "__main__":
    sys.stdout.write(page())
