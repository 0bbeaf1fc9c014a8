"""The walls of the house: who may import PyTorch, what the zoo may import, and what tests may share.

Which package may import which is checked by ``lint-imports``, from the contract in pyproject.toml.
"""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import fer_bench
from fer_bench.records.store import Store
from support.processes import plain_environment

PACKAGE = Path(fer_bench.__file__).parent
WITH_TORCH = (
    "accuracy.augment",
    "accuracy.batches",
    "accuracy.changes",
    "accuracy.evaluate",
    "accuracy.initial",
    "accuracy.methods",
    "accuracy.robustness",
    "accuracy.running",
    "accuracy.schedules",
    "accuracy.sensitivity",
    "accuracy.train",
    "accuracy.transforms",
    "live.ledger",
    "live.mtcnn",
    "live.pipeline",
    "live.writers",
    "measuring.network",
    "measuring.task_images",
    "measuring.worker",
    "measuring.counting",
    "measuring.profilers",
    "networks.backends.lowering",
    "networks.backends.prepare",
    "networks.build",
    "networks.checkpoints",
    "networks.keras_files",
    "networks.truncations",
    "models",
)
FILES = {
    ".".join(("fer_bench", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
WITHOUT_TORCH = [name for name in FILES if not name.startswith(tuple(f"fer_bench.{each}" for each in WITH_TORCH))]
TESTS = Path(__file__).parent
HEAVY = ("torch", "torchvision", "timm", "pandas", "numpy", "rich")


def child(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_only_the_floor_that_builds_networks_imports_pytorch():
    code = "import sys, importlib; sys.modules['torch'] = None\nfor n in sys.argv[1:]: importlib.import_module(n)"
    done = child(code, *WITHOUT_TORCH)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["list", "--format", "json"],
        ["show", "mini_xception"],
        ["report", "FILE"],
        ["runs", "--store", "STORE"],
    ],
)
def test_commands_that_only_read_load_neither_pytorch_nor_pandas_nor_rich(arguments, tmp_path, make_result):
    file, store = tmp_path / "results.jsonl", tmp_path / "results.sqlite"
    file.write_text(make_result().to_json() + "\n")
    with Store.open(str(store)) as opened:
        opened.save(opened.begin("mark", "test"), "key", make_result())
    given = [{"FILE": str(file), "STORE": str(store)}.get(argument, argument) for argument in arguments]
    code = (
        "import sys; from fer_bench.cli.main import main; code = main(sys.argv[1:])\n"
        f"print([n for n in {HEAVY} if n in sys.modules], code)"
    )
    done = child(code, *given)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr


def test_a_session_of_pytest_that_has_nothing_to_do_with_us_loads_none_of_them_either(tmp_path):
    (tmp_path / "test_theirs.py").write_text("def test_theirs():\n    pass\n")
    code = (
        "import pytest, sys; code = pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', sys.argv[1]])\n"
        f"print([n for n in {HEAVY} if n in sys.modules], int(code), 'fer_bench' in sys.modules)"
    )
    done = child(code, tmp_path, env=plain_environment())
    assert done.stdout.splitlines()[-1] == "[] 0 True", done.stdout + done.stderr


def test_public_names_stay_what_they_are_when_the_packages_have_been_imported():
    """A package of the name of a function would replace it as soon as it is imported."""
    code = (
        "import sys, types, importlib, fer_bench\n"
        "first = {name: getattr(fer_bench, name) for name in fer_bench.__all__}\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "again = {name: getattr(fer_bench, name) for name in fer_bench.__all__}\n"
        "print(again == first, [n for n, each in again.items() if isinstance(each, types.ModuleType)])"
    )
    done = child(code, *(name for name in FILES if name.count(".") == 1))
    assert done.stdout == "True []\n", done.stderr


def test_each_public_verb_works_before_and_after_the_package_behind_it_is_imported(tmp_path):
    code = """
import sys, importlib, torch, fer_bench as fb

def verbs(path):
    spec, model = fb.find("mtcnn_pnet"), fb.create_model("mtcnn_pnet")
    torch.save(model.state_dict(), path)
    loaded = fb.load_checkpoint(model, path).complete
    seen = fb.trace(model, (torch.zeros(1, 3, 12, 12),))
    given = {"metrics": "static", "input_shape": (3, 12, 12), "progress": False}
    results = fb.measure({"mine": model}, "quick", store=path + ".sqlite", **given)
    macs = [seen.macs, fb.count(spec).row()["macs"], fb.load("last", store=path + ".sqlite")[0].value("macs")]
    macs.append(int(fb.history("mine", "macs", sources={"one": results}).to_frame().loc[0, "value"]))
    drawn, same = fb.report(results), fb.compare(results, results, progress=False).exit_code()
    judged = fb.gate("mtcnn_pnet", baseline=path + ".json", accept="the first", progress=False).exit_code()
    wrong = fb.audit(papers="004", networks="mini_xception", recount=False).wrong
    return [len(fb.list_models()) > 30, loaded, set(macs), list(drawn), same, judged, len(wrong) >= 0]

first = verbs(sys.argv[1])
for name in sys.argv[2:]: importlib.import_module(name)
print(first, verbs(sys.argv[1]) == first)
"""
    done = child(code, tmp_path / "weights.pt", *(name for name in FILES if name.count(".") == 1))
    expected = "[True, True, {44760}, ['efficiency'], 0, 0, True] True\n"  # MACs by hand: see test_mtcnn
    assert done.stdout == expected, done.stderr


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


def imported(tree):
    """Give the modules that code imports when it is imported itself: not in functions, not for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            dotted = (f"{node.module}.{name.name}" for name in node.names)
            yield from (name if name in FILES else node.module for name in dotted)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imported(ast.Module(node.orelse, []))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported(node)


def test_no_modules_import_each_other():
    graph = {name: set(imported(ast.parse(path.read_text(encoding="utf-8")))) for name, path in FILES.items()}
    assert "fer_bench.records.plan" in graph["fer_bench.gating.timing"]
    graphlib.TopologicalSorter({name: found & FILES.keys() for name, found in graph.items()}).prepare()


@pytest.mark.parametrize(
    "path", sorted([*TESTS.rglob("*.py"), *TESTS.with_name("benchmarks").rglob("*.py")]), ids=lambda path: path.stem
)
def test_modules_of_tests_share_by_support_and_never_import_each_other(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        for name in names:
            assert not name.startswith(("tests", "benchmarks", "test_", "conftest"))
