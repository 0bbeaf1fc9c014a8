"""pdfLaTeX for tests: compile a document and tell what its log complains of."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fer_bench.reporting.render.latex import PACKAGES

PACKAGES_OF_DEBIAN = "apt-get install texlive-latex-extra texlive-science lmodern"
OVERFULL_PT = 5.0  # less cannot be seen


def need_latex() -> None:
    """Skip the test where there is no pdfLaTeX, or fail it where that may not be."""
    if shutil.which("pdflatex"):
        return
    if os.environ.get("FER_BENCH_REQUIRE_LATEX") == "1":
        pytest.fail(f"pdfLaTeX is not installed, and here its tests may not be skipped: {PACKAGES_OF_DEBIAN}")
    pytest.skip(f"pdfLaTeX is not installed: {PACKAGES_OF_DEBIAN}")


def document(body: str, margin: str = "25mm", options: str = "a4paper,10pt") -> str:
    """Put tables into a document with the packages that they ask for."""
    return (
        f"\\documentclass[{options}]{{article}}\n\\usepackage[margin={margin}]{{geometry}}\n"
        "\\usepackage[T1]{fontenc}\n\\usepackage{lmodern}\n"
        f"\\usepackage{{{','.join(PACKAGES)}}}\n"
        f"\\extrafloats{{100}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )


def complaints(source: str, folder: Path) -> list[str]:
    """Compile a document twice, as a longtable needs, and give the lines of the log that a reader would see."""
    (folder / "main.tex").write_text(source, encoding="utf-8")
    for _ in range(2):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"],
            cwd=folder,
            capture_output=True,
            check=False,
            env=os.environ | {"max_print_line": "1000"},
        )
    log = (folder / "main.log").read_text(encoding="utf-8", errors="replace")
    seen = re.findall(r"^(?:!.*\n.*|Missing character.*|.*Float too large.*|.*multiply defined.*)$", log, re.MULTILINE)
    seen += [
        line
        for line in log.splitlines()
        if (found := re.match(r"Overfull \\[hv]box \(([\d.]+)pt", line)) and float(found[1]) > OVERFULL_PT
    ]
    return seen if done.returncode == 0 else [*seen, f"pdflatex ended with {done.returncode}"]
