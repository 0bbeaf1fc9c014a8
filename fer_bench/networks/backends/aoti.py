"""AOTInductor: ``torch.export`` to a library of machine code, which PyTorch loads without compiling anything.

https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html. It takes a C++ compiler to make one and none to
run it. The code is of the processor that it is made on.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from fer_bench.networks.backends.interface import Artefact, DeployError, Settings, one_line


class Aoti:
    """The backend "aoti"."""

    name = "aoti"
    devices = ("cpu",)
    precisions = ("fp32", "default")
    runs_by = ("torch", "torch._inductor.package")

    def converted_as(self, precision: str) -> str:
        """Return the precision of the artefact that a plan's precision is run from."""
        return "fp32"

    def libraries(self, precision: str) -> tuple[str, ...]:
        """Return the modules that conversion and running import, beside PyTorch."""
        return ()

    def lacks(self, device: str) -> str:
        """Return what conversion needs and is not here, or ""; the compiler is named as Inductor looks for it."""
        compiler = os.environ.get("CXX") or "g++"
        if shutil.which(compiler) is None:
            return f"a C++ compiler, and {compiler} is not in PATH; try: apt install g++, or name one in CXX"
        return ""

    def tools(self) -> dict[str, str]:
        """Return the compiler's version, and the processor, whose machine code it makes."""
        command = [os.environ.get("CXX") or "g++", "-dumpfullversion"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603
        return {"c++": said.strip(), "processor": _processor()}

    def convert(self, program: Any, folder: Path, precision: str, images: Any = None) -> Artefact:
        """Convert a program of ``torch.export`` into ``model.pt2`` (see ``Backend.convert``)."""
        from torch import _inductor as inductor

        from fer_bench.networks.backends import lowering

        path, weights = folder / "model.pt2", lowering.weights_of(program)
        with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
            try:
                inductor.aoti_compile_and_package(program, package_path=str(path))
            except Exception as error:
                raise lowering.cannot_lower("AOTInductor", program, error) from error
        shape = lowering.input_shape(program)
        made_for = inductor.aoti_load_package(str(path)).get_metadata().get("AOTI_CPU_ISA", "")
        return Artefact(
            folder, self.name, {path.name: path.stat().st_size}, shape, precision, weights, details={"isa": made_for}
        )

    def load(self, path: Path, settings: Settings) -> _Package:
        """Load a package (see ``Backend.load``)."""
        return _Package(path, settings)


class _Package:
    inputs: dict[str, Any] = {}  # noqa: RUF012  # a package does not say

    def __init__(self, path: Path, settings: Settings) -> None:
        import torch
        from torch import _inductor as inductor

        if not settings.shipped:
            torch.set_num_threads(settings.threads)
        try:
            self._run = inductor.aoti_load_package(str(path)).loader.run
        except Exception as error:
            raise DeployError(f"AOTInductor refuses {path.name}: {one_line(error)}") from error
        self._tensor = torch.from_numpy
        self.reported = {
            "name": "aoti",
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "streams": None,
            "pinned": False,
            "spinning": torch_spins(settings),
            "providers": ["cpu"],
            "precision": "float32",
        }
        if not settings.shipped and torch.get_num_threads() != settings.threads:
            raise DeployError(f"asked for {settings}, PyTorch reports {torch.get_num_threads()} threads")

    def __call__(self, images: Any) -> Any:
        return [output.numpy() for output in self._run([self._tensor(images)])]


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def torch_spins(settings: Settings) -> bool | None:
    """Return whether OpenMP's threads spin, as this process was started; None where nothing was said."""
    policy = os.environ.get("OMP_WAIT_POLICY", "").upper()
    return policy == "ACTIVE" and settings.threads > 1 if policy else None


BACKEND = Aoti()
