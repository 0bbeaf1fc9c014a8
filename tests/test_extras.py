"""Libraries of extras."""

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from fer_bench.records import extras
from fer_bench.records.errors import FerBenchError


def test_what_is_installed_is_imported():
    assert extras.load("json.decoder", "reading").JSONDecoder


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(FerBenchError, match=r"reading a Keras file needs h5py: try: pip install 'fer-bench\[hdf5\]'"):
        extras.load("h5py", "reading a Keras file")


def test_a_library_that_lacks_another_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "ray.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(FerBenchError, match="needs ray, which needs no_such_library"):
        extras.load("ray", "a sweep on Ray")


def test_missing_ones_are_listed_before_anything_is_imported():
    assert extras.missing(["json", "no_such_library"]) == ["no_such_library"]
    assert extras.remedy(["onnxruntime", "openvino", "onnx"]) == "try: pip install 'fer-bench[onnx,openvino]'"


def test_each_extra_is_one_of_the_project():
    file = Path(__file__).parents[1] / "pyproject.toml"
    declared = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    for module, extra in extras.EXTRAS.items():
        package = {"cv2": "opencv_python"}.get(module, module)
        assert any(line.replace("-", "_").startswith(package) for line in declared[extra]), module
