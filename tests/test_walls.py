"""The walls of the house: who may import PyTorch, and what the zoo may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fer_bench

PACKAGE = Path(fer_bench.__file__).parent
WITH_TORCH = (
    "measuring.network",
    "measuring.worker",
    "measuring.counting",
    "measuring.profilers",
    "networks.build",
    "networks.checkpoints",
    "models",
)
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
MODULES = [f"fer_bench.{name}" for name in MODULES if not name.startswith(WITH_TORCH) and name != "__init__"]


def child(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_only_the_floor_that_builds_networks_imports_pytorch():
    code = "import sys, importlib; sys.modules['torch'] = None\nfor n in sys.argv[1:]: importlib.import_module(n)"
    done = child(code, *MODULES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["list", "--format", "json"], ["show", "mini_xception"], ["report", "FILE"]]
)
def test_commands_that_only_read_load_neither_pytorch_nor_pandas_nor_rich(arguments, tmp_path, make_result):
    file = tmp_path / "results.jsonl"
    file.write_text(make_result().to_json() + "\n")
    given = [str(file) if argument == "FILE" else argument for argument in arguments]
    code = (
        "import sys; from fer_bench.cli.main import main; code = main(sys.argv[1:])\n"
        "print([n for n in ('torch', 'torchvision', 'timm', 'pandas', 'numpy', 'rich') if n in sys.modules], code)"
    )
    done = child(code, *given)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr


def test_a_worker_loads_a_library_of_networks_only_for_a_network_of_that_library():
    code = (
        "import sys, fer_bench.measuring.worker; from fer_bench import create_model; create_model('mini_xception')\n"
        "print([n for n in ('torchvision', 'timm', 'pandas', 'rich', 'thop', 'fvcore') if n in sys.modules])"
    )
    assert child(code).stdout == "[]\n"


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.stem)
def test_a_family_imports_nothing_of_ours(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert not (node.module or "").startswith("fer_bench")
        elif isinstance(node, ast.Import):
            assert not any(name.name.startswith("fer_bench") for name in node.names)
