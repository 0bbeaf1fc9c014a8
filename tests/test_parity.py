"""Parity: planted faults are found, and a backend that computes the same is not accused."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from torch import nn
from torch.nn import functional as F

from fer_bench.networks import backends
from fer_bench.networks.backends import compare, prepare
from fer_bench.networks.backends.interface import DeployError, Settings
from fer_bench.networks.backends.natural import natural_images
from fer_bench.networks.registry import built_in
from fer_bench.records import stats
from fer_bench.records.result import Measurement
from fer_bench.reporting import tables
from fer_bench.reporting.analysis import latency, parity
from fer_bench.reporting.analysis.parity import Kind
from fer_bench.reporting.figures.backends import backends as backends_figure
from fer_bench.reporting.page.payload import charts
from fer_bench.reporting.render.plots.figure import draw

SHAPE = (3, 24, 24)
ONE_THREAD = Settings(threads=1, spinning=False, precision="fp32")


class Net(nn.Module):
    """Two stages with a padded pool, as in the Xceptions."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.second, self.fc = nn.Conv2d(16, 32, 3), nn.Linear(32, 7)

    def forward(self, images):
        maps = self.norm(self.first(images)).relu()
        maps = F.max_pool2d(F.pad(maps, (0, 1, 0, 1), value=-math.inf), 3, 2)
        return self.fc(self.second(maps).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = Net().eval()
    prepare.re_estimate(model, SHAPE)
    return model


@pytest.fixture(scope="module")
def reference(net):
    images = prepare.judged_images(SHAPE)
    return images, prepare.run(net, images), prepare.run(prepare.doubled(net), images, prepare.DOUBLE)


def outputs_of(model, images):
    return prepare.run(model, images)


def result_of(make_result, ours, reference, arithmetic="float32", *more, **plan):
    images, eager, exact = reference
    found = compare.errors(ours, eager, exact)
    details = {"outputs": len(found.backend), "arithmetic": arithmetic, "images": len(images)}
    details |= {key: [list(each) for each in getattr(found, key)] for key in ("eager", "spread", "size")}
    values = tuple(value for output in found.backend for value in output)
    measured = make_result("mini_xception", Measurement(parity.ERROR, "", values, details=details), *more)
    return dataclasses.replace(measured, plan=dataclasses.replace(measured.plan, backend="onnxruntime", **plan))


def verdict_of(make_result, ours, reference, arithmetic="float32"):
    return parity.judge(result_of(make_result, ours, reference, arithmetic))


def test_pytorch_itself_is_the_same_arithmetic(make_result, reference):
    found = verdict_of(make_result, reference[1], reference)
    assert (found.kind, found.ratio) == (Kind.SAME, pytest.approx(1))
    assert parity.judge(make_result()) is None


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_backend_is_the_same_arithmetic(backend, make_result, net, reference, tmp_path):
    pytest.importorskip(backend)
    found = backends.find(backend)
    artefact = found.convert(prepare.export(net, torch.randn(3, *SHAPE)), tmp_path, "fp32")
    ours = compare.in_batches(found.load(artefact.path, ONE_THREAD), reference[0], 3)  # the last batch is not full
    assert verdict_of(make_result, ours, reference).kind in (Kind.SAME, Kind.ORDER)


def _tf32(values):
    """Round to 10 bits of mantissa, by numpy's own conversion of the value's scaled fraction."""
    fraction, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(fraction * 2**11) / 2**11, exponent)


def _in_tf32(model):
    changed = copy.deepcopy(model)
    for layer in (changed.first, changed.second, changed.fc):
        layer.weight.data = _tf32(layer.weight.data)
        layer.register_forward_pre_hook(lambda module, given: (_tf32(given[0]),))
    return changed


def _half_weights(model):
    changed = copy.deepcopy(model)
    for layer in (changed.first, changed.second, changed.fc):
        layer.weight.data = layer.weight.data.half().float()
    return changed


def _retrained(model):
    changed = copy.deepcopy(model)
    changed.fc.weight.data += 1e-3 * torch.randn(7, 32, generator=torch.Generator().manual_seed(1))
    return changed


FAULTS = {
    "wrong layout": lambda model, images: outputs_of(model, images.transpose(0, 2, 3, 1).reshape(images.shape).copy()),
    "swapped channels": lambda model, images: outputs_of(model, images[:, ::-1].copy()),
    "missing normalisation": lambda model, images: outputs_of(model, images * 0.25 + 0.5),
    "TF32": lambda model, images: outputs_of(_in_tf32(model), images),
    "float16 weights": lambda model, images: outputs_of(_half_weights(model), images),
    "a stale checkpoint": lambda model, images: outputs_of(_retrained(model), images),
    "a class left out": lambda model, images: [outputs_of(model, images)[0][:, [1, 0, *range(2, 7)]]],
    "not a number": lambda model, images: [np.full((len(images), 7), np.nan, np.float32)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, make_result, net, reference):
    found = verdict_of(make_result, FAULTS[fault](net, reference[0]), reference)
    assert found.kind is Kind.DIFFERENT, found


def test_outputs_of_another_shape_are_no_comparison(make_result, reference):
    with pytest.raises(ValueError, match="its outputs are"):
        compare.errors([reference[1][0][:, :3]], *reference[1:])
    details = {"different": "its outputs are of another shape", "arithmetic": "float32"}
    measured = make_result("mini_xception", Measurement(parity.ERROR, "", details=details))
    measured = dataclasses.replace(measured, plan=dataclasses.replace(measured.plan, backend="openvino"))
    assert parity.judge(measured).kind is Kind.DIFFERENT


def test_a_network_whose_outputs_hardly_differ_is_not_decidable(make_result, reference):
    images, _, exact = reference
    flat = [np.full_like(exact[0], 2.0)]  # each image the same
    rounded = [flat[0].astype(np.float32)]
    assert verdict_of(make_result, rounded, (images, rounded, flat)).kind is Kind.OPEN
    wrong = [rounded[0] + 1]
    assert verdict_of(make_result, wrong, (images, rounded, flat)).kind is Kind.DIFFERENT


def test_float32_in_another_order_is_between_the_bounds(make_result, reference):
    _, eager, exact = reference
    for times, kind in ((3.9, Kind.SAME), (4.1, Kind.ORDER), (29.0, Kind.ORDER), (31.0, Kind.DIFFERENT)):
        ours = [exact[0] + times * (eager[0] - exact[0])]
        found = compare.errors(ours, eager, exact)
        assert parity._rms(found.backend[0]) / parity._rms(found.eager[0]) == pytest.approx(times)
        assert verdict_of(make_result, ours, reference).kind is kind


def decisions(agree, sources=None, **details):
    values = tuple(int(each) for each in agree)
    names = sources or [str(n) for n in range(len(values))]
    given = {"sources": names, "kl": [0.1] * len(values), "margins": [1.0] * len(values), "errors": [0.5] * len(values)}
    return Measurement(parity.AGREES, "", values, details={**given, "checkpoint": True, **details})


@pytest.mark.parametrize(
    ("agreeing", "images", "kind"),
    [
        (64, 64, Kind.UNDECIDED),  # Wilson: from 94.3 %
        (200, 200, Kind.PASSED),  # from 98.1 %
        (3000, 3068, Kind.UNDECIDED),  # 97.2 to 98.3 %
        (900, 1000, Kind.FAILED),
    ],
)
def test_reduced_precision_passes_by_the_lower_limit_of_agreement(agreeing, images, kind, make_result, reference):
    ours = [reference[1][0] + 2e-3]
    measured = decisions([True] * agreeing + [False] * (images - agreeing))
    found = parity.judge(result_of(make_result, ours, reference, "bfloat16", measured))
    assert found.kind is kind
    assert f"is PyTorch's for {agreeing} of {images} sources, " in found.reason
    low, high = proportion_confint(agreeing, images, method="wilson")
    assert (found.agreement.interval.low, found.agreement.interval.high) == pytest.approx((low, high))


def test_reduced_precision_without_images_or_with_random_weights_is_not_decidable(make_result, reference):
    ours = [reference[1][0] + 2e-3]
    assert verdict_of(make_result, ours, reference, "bfloat16").kind is Kind.UNDECIDED
    random = decisions([True] * 1000, checkpoint=False)
    assert parity.judge(result_of(make_result, ours, reference, "int8", random)).kind is Kind.UNDECIDED
    lax = result_of(make_result, ours, reference, "int8", decisions([True] * 64), agreement_share=0.9)
    assert parity.judge(lax).kind is Kind.PASSED
    assert verdict_of(make_result, [reference[1][0] + 1e3], reference, "float16").kind is Kind.DIFFERENT


def test_sources_and_not_frames_are_counted():
    found = parity.of_agreement(decisions([1, 1, 0, 1], sources=["a", "a", "b", "b"]))
    assert (found.agreeing, found.sources) == (1.5, 2)
    assert (found.interval.low, found.interval.high) == pytest.approx(proportion_confint(1.5, 2, method="wilson"))
    assert found.accuracy is None


def test_labels_give_the_accuracy_of_both_and_mcnemars_exact_test(make_result, reference):
    labels = [0] * 40 + [None]
    eager = [0] * 38 + [1] * 2 + [0]  # 38 of 40
    backend = [0] * 30 + [1] * 9 + [0] + [0]  # 31: it loses 8 and gains 1
    details = {"labels": labels, "eager": eager, "backend": backend}
    found = parity.of_agreement(decisions([a == b for a, b in zip(eager, backend, strict=True)], **details)).accuracy
    assert (found.torch, found.backend, found.sources) == (38, 31, 40)
    known = proportion_confint(31, 40, method="wilson")
    assert (found.backend_interval.low, found.backend_interval.high) == pytest.approx(known)
    assert found.p == pytest.approx(mcnemar([[30, 8], [1, 1]], exact=True).pvalue)
    measured = decisions([True] * 41, **details)
    result = result_of(make_result, [reference[1][0] + 2e-3], reference, "int8", measured)
    (row,) = tables.report([result], built_in())["deployment"].rows
    assert row["accuracy"] == "77.5 (62.5 to 87.7) of 40"
    assert row["accuracy_torch"] == "95.0 (83.5 to 98.6) of 40"
    assert (row["kl"], row["close"]) == (pytest.approx(0.1), 0.0)
    with pytest.raises(ValueError, match=r"details.labels has 2 members"):
        Measurement.of(dataclasses.asdict(decisions([True], labels=[0, 1])))


def test_wilson_is_that_of_statsmodels():
    for hits, trials in ((0, 10), (10, 10), (3, 7), (3060, 3068)):
        low, high = proportion_confint(hits, trials, method="wilson")
        assert (stats.wilson(hits, trials).low, stats.wilson(hits, trials).high) == pytest.approx((low, high))
    assert (stats.wilson(0, 0).low, stats.wilson(0, 0).high) == (0, 1)


def test_divergence_is_that_of_scipy():
    random = np.random.default_rng(0)
    ours, theirs = random.standard_normal((2, 5, 7))
    softmax = [np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in (ours, theirs)]
    assert compare.divergences(ours, theirs) == pytest.approx(list(scipy_stats.entropy(*softmax, axis=1)))


def test_the_latency_of_something_else_is_struck_out(make_result, net, reference):
    wrong = result_of(make_result, FAULTS["swapped channels"](net, reference[0]), reference)
    right = result_of(make_result, reference[1], reference)
    assert latency.summary(wrong) is None
    assert latency.summary(right).estimate_s == 0.010
    drawn = tables.report([wrong, right], built_in())
    for name in ("efficiency", "deployment"):
        first, second = drawn[name].rows
        assert first.get("latency_s") is None
        assert second["latency_s"] == 0.010
        assert any("struck out" in text for text in drawn[name].notes[0])
        assert not any("struck out" in text for text in drawn[name].notes[1])
    assert [row["verdict"] for row in drawn["deployment"].rows] == ["different", "same arithmetic"]
    assert len(tables.different([wrong, right])) == 1


def by_each(make_result, reference):
    """PyTorch and four runtimes: the same, another order, bfloat16, and something else, in 10 to 50 ms."""
    _, eager, exact = reference
    off = {"same": 1.0, "order": 9.0, "reduced": 3000.0, "struck": 1e7}
    found = [make_result("mini_xception", without=("latency_s",))]
    for look, times in off.items():
        ours = [exact[0] + times * (eager[0] - exact[0])]
        found.append(result_of(make_result, ours, reference, "bfloat16", wait="passive", precision="bf16"))
        if look != "reduced":
            details = {**found[-1].measurement(parity.ERROR).details, "arithmetic": "float32"}
            measured = [
                dataclasses.replace(m, details=details) if m.metric == parity.ERROR else m
                for m in found[-1].measurements
            ]
            plan = dataclasses.replace(found[-1].plan, precision="fp32")
            found[-1] = dataclasses.replace(found[-1], measurements=tuple(measured), plan=plan)
    timed = []
    for place, result in enumerate(found):
        others = [m for m in result.measurements if m.metric != latency.LATENCY]
        times = [
            Measurement(latency.LATENCY, "s", (0.01 * (place + 1) + 1e-5 * process,) * 5, process=process)
            for process in range(4)
        ]
        timed.append(dataclasses.replace(result, measurements=(*others, *times)))
    return timed


def test_the_figure_has_a_mark_for_each_backend_with_its_parity(make_result, reference):
    results = by_each(make_result, reference)
    plot = backends_figure(results)
    (network,) = plot.networks
    assert [each.look for each in network.runtimes] == ["same", "same", "order", "reduced", "struck"]
    assert [each.latency_s for each in network.runtimes] == pytest.approx([0.010015 + 0.01 * n for n in range(5)])
    assert plot.groups == ("PyTorch", "onnxruntime", "onnxruntime, bf16")
    assert network.runtimes[3].parity.startswith("reduced precision (not decidable), ")
    (axes,) = draw(plot).axes
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [line.get_fillstyle() for line in marks if line.get_marker() != "x"] == [
        *("full", "full", "bottom", "left", "none"),
    ]
    assert sum(line.get_marker() == "x" for line in axes.lines) == 1  # struck through
    assert backends_figure(results[:1]) is None
    chart = charts(results, {}, {})["backends"]
    assert [each["look"] for each in chart["networks"][0]["runtimes"]] == [each.look for each in network.runtimes]


def test_the_fastest_row_is_marked_and_what_is_not_apart_from_it(make_result, reference):
    results = by_each(make_result, reference)
    drawn = tables.report(results, built_in())["deployment"]
    assert [row.get("fastest") for row in drawn.rows] == ["fastest", None, None, None, None]
    near = dataclasses.replace(results[1], measurements=results[0].measurements + results[1].measurements[:-4])
    drawn = tables.report([results[0], near, *results[2:]], built_in())["deployment"]
    assert [row.get("fastest") for row in drawn.rows] == ["fastest", "not apart from it", None, None, None]
    alone = [
        dataclasses.replace(each, measurements=tuple(m for m in each.measurements if not m.process)) for each in results
    ]
    drawn = tables.report(alone, built_in())["deployment"]  # of one process each, nothing is known of others
    assert [row.get("fastest") for row in drawn.rows] == ["least, none apart", None, None, None, None]


def test_the_layer_that_differs_most_is_the_one_that_was_changed(net, reference):
    changed = copy.deepcopy(net)
    changed.second.weight.data = changed.second.weight.data.half().float()
    tapped, other, double = prepare.Tapped(net), prepare.Tapped(changed), prepare.Tapped(prepare.doubled(net))
    eager, theirs = prepare.run(tapped, reference[0]), prepare.run(other, reference[0])
    exact = prepare.run(double, reference[0], prepare.DOUBLE)
    rms = [parity._rms(compare.errors([t], [e], [x]).backend[0]) for t, e, x in zip(theirs, eager, exact, strict=True)]
    own = [parity._rms(compare.errors([e], [e], [x]).backend[0]) for e, x in zip(eager, exact, strict=True)]
    first = next(name for name, a, b in zip(tapped.names, rms, own, strict=True) if a > 30 * b)
    assert first == "second (Conv2d)"


def test_minus_infinity_in_a_padding_is_kept_out_of_the_calibration(make_result, net, reference, tmp_path):
    """Straight from the manual the range begins at minus infinity, and no scale is finite."""
    pytest.importorskip("onnxruntime")
    from onnxruntime import quantization

    from fer_bench.networks.backends import onnx_runtime

    found = backends.find("onnxruntime")
    images = natural_images(16, SHAPE, seed=5)
    program = prepare.export(net, torch.randn(1, *SHAPE))
    artefact = found.convert(program, tmp_path, "int8", images)
    assert artefact.weights["int8"] > 0
    ours = compare.in_batches(found.load(artefact.path, dataclasses.replace(ONE_THREAD, precision="int8")), images, 1)
    assert 10 * np.log10(ours[0].var() / np.mean((ours[0] - prepare.run(net, images)[0]) ** 2)) > 15  # dB

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{"images": image[None]} for image in images]

        def get_next(self):
            return self.left.pop() if self.left else None

    plain = found.convert(program, tmp_path, "fp32").path
    poisoned = tmp_path / "poisoned.onnx"
    quantization.quantize_static(str(plain), str(poisoned), Reader())
    import onnx

    with pytest.raises(DeployError, match=r"the range of Pad .* is infinite or empty: a padding with -inf"):
        onnx_runtime.check_scales(onnx.load(str(poisoned)))


def test_dynamic_quantization_needs_no_images(net, tmp_path):
    pytest.importorskip("onnxruntime")
    found = backends.find("onnxruntime")
    artefact = found.convert(prepare.export(net, torch.randn(1, *SHAPE)), tmp_path, "int8-dynamic")
    weights = 16 * 27 + 32 * 16 * 9 + 7 * 32
    assert artefact.weights["uint8"] == weights + 3  # and a zero point of each
    prepared = found.load(artefact.path, dataclasses.replace(ONE_THREAD, precision="int8-dynamic"))
    assert prepared.reported["precision"] == "int8"
    images = natural_images(8, SHAPE, seed=5)
    ours = compare.in_batches(prepared, images, 1)
    assert 10 * np.log10(ours[0].var() / np.mean((ours[0] - prepare.run(net, images)[0]) ** 2)) > 20  # dB


def test_a_range_that_is_infinite_is_an_error_in_openvino_too():
    openvino = pytest.importorskip("openvino")
    from fer_bench.networks.backends import open_vino

    opset = openvino.opset13
    for high, good in ((1.0, True), (math.inf, False)):
        given = opset.parameter([1, 4], np.float32, name="given")
        ends = [opset.constant(np.float32(value)) for value in (-1.0, high, -1.0, high)]
        model = openvino.Model([opset.fake_quantize(opset.relu(given, name="first"), *ends, 256)], [given])
        if good:
            open_vino.check_ranges(model)
        else:
            with pytest.raises(DeployError, match="the range of 'first' is infinite"):
                open_vino.check_ranges(model)


def test_nncf_quantizes_for_openvino(net, tmp_path):
    pytest.importorskip("nncf")
    found = backends.find("openvino")
    images = natural_images(16, SHAPE, seed=5)
    artefact = found.convert(prepare.export(net, torch.randn(1, *SHAPE)), tmp_path, "int8", images)
    assert artefact.weights.get("int8", 0) > 0
    prepared = found.load(artefact.path, dataclasses.replace(ONE_THREAD, precision="int8"))
    assert prepared.reported["precision"] == "int8"
    ours = compare.in_batches(prepared, images, 1)
    assert 10 * np.log10(ours[0].var() / np.mean((ours[0] - prepare.run(net, images)[0]) ** 2)) > 10
