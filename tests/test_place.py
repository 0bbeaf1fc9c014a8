"""Networks' code comes from the place that is entered, and what is read of it is told."""

import json
import subprocess
import sys
from pathlib import Path

import fer_bench

OURS = Path(fer_bench.__file__).resolve().parent.parent


def child(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, env=None
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_package_is_imported_from_the_place_and_not_from_where_it_is_installed(tmp_path):
    for name, number in (("here", 1), ("there", 2)):
        package = tmp_path / name / "src" / "mine"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"NUMBER = {number}\n")
    code = f"""
import sys, json
sys.path.insert(0, {str(tmp_path / "here" / "src")!r})
from fer_bench.networks.place import CodeRead, Place
there = {str(tmp_path / "there")!r}
place = Place(there, there, instead_of={str(tmp_path / "here")!r})
read = CodeRead(place)
place.enter()
import mine
open("data.txt", "w").close()
open("data.txt").close()
print(json.dumps([mine.NUMBER, sorted(read.files())]))
"""
    number, files = child(code, tmp_path)
    assert number == 2
    assert files == ["data.txt", "src/mine/__init__.py"]


def test_our_own_zoo_is_read_from_a_checkout_of_ours_alone(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        (root / "models").mkdir(parents=True)
        (root / "models" / "__init__.py").write_text("HERE = True\n")
        sheet = '[only_here]\ntitle = "t"\ninput_shape = [3, 8, 8]\nnum_classes = 7\nstatus = "exact"\n'
        (root / "models" / "only_here.toml").write_text(sheet)
        (root / "models" / "only_here.py").write_text("def only_here(num_classes=7):\n    return num_classes\n")
    (ours / "fer_bench").mkdir()
    (ours / "fer_bench" / "__init__.py").write_text("")
    code = """
import sys, json
from fer_bench.networks.place import Place
from fer_bench.networks.registry import Registry
place = Place({0!r}, {0!r})
place.enter()
import fer_bench.models
print(json.dumps([place.registry().names(), len(Registry().names()), hasattr(fer_bench.models, "HERE")]))
"""
    listed, afterwards, entered = child(code.format(str(ours)), tmp_path)
    assert listed == ["only_here"]
    assert entered
    assert afterwards > 30
    listed, _, entered = child(code.format(str(theirs)), tmp_path)
    assert len(listed) == afterwards
    assert not entered
