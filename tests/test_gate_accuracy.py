"""The gate on accuracy: image by image with the same weights, over trainings otherwise."""

import dataclasses

import numpy as np
import pytest

from fer_bench.accuracy.predictions import Predictions
from fer_bench.gating.accuracy import judge
from fer_bench.gating.against_results import against_results
from fer_bench.gating.gate import Quiet
from fer_bench.gating.request import Request
from fer_bench.gating.timing import Rule
from fer_bench.gating.verdicts import Outcome
from fer_bench.records.plan import ACCURACY
from fer_bench.records.result import Measurement

IMAGES = 2000


@pytest.fixture
def evaluated(make_result):
    """Make a result that is right on these of 2,000 images."""

    def make(hits, weights="w.pt (sha256 1)", images="same", **conditions):
        outputs = np.zeros((IMAGES, 2), np.float32)
        outputs[:, 1] = 0.5
        outputs[list(hits), 0] = 1.0
        predictions = Predictions(outputs, np.zeros(IMAGES, np.int64), ("happy", "sad"), (), images)
        known = {"data": {"name": "FER2013", "split": "private", "manifest": {}}, "tta": 1, **conditions}
        measured = [Measurement.of(dataclasses.asdict(one)) for one in predictions.measurements(known)]
        result = make_result("net", *measured, checkpoint=weights)
        return dataclasses.replace(result, plan=ACCURACY)

    return make


def test_the_same_outputs_are_the_same(evaluated):
    one = evaluated(range(1300))
    verdict = judge("net", [one], [one], 0.01)
    assert verdict.outcome is Outcome.same
    assert verdict.reason == "65.00 -> 65.00 %: +0.00 points (-0.19 to +0.19)"  # z^2 / (n + z^2)


def test_a_loss_is_worse_and_a_gain_better(evaluated):
    good, poor = evaluated(range(1300)), evaluated(range(1200))
    assert judge("net", [good], [poor], 0.01).outcome is Outcome.worse
    assert judge("net", [poor], [good], 0.01).outcome is Outcome.better
    assert judge("net", [good], [poor], 0.2).outcome is Outcome.same  # five points do not matter then


def test_what_cannot_be_reported_is_inconclusive_with_the_images_that_would_decide(evaluated):
    # 100 images are right on one side only, on each side: the interval is +-1.96 x sqrt(200) / 2000 = +-1.4 points.
    verdict = judge("net", [evaluated(range(1300))], [evaluated(range(100, 1400))], 0.01)
    assert verdict.outcome is Outcome.inconclusive
    assert float(verdict.reason.rpartition(" to +")[2].strip(")")) == pytest.approx(1.386, rel=0.02)
    wanted = int(verdict.details[1].split()[1].replace(",", ""))
    assert wanted == pytest.approx((1.96 / 0.01) ** 2 * 0.1, rel=0.02)
    assert verdict.details[1].endswith("such images would decide, with a minimum effect of 1 points")


def test_other_images_or_conditions_are_incomparable(evaluated):
    one = evaluated(range(1300))
    assert judge("net", [one], [evaluated(range(1300), images="others")], 0.01).outcome is Outcome.incomparable
    ten = judge("net", [one], [evaluated(range(1300), tta=10)], 0.01)
    assert (ten.outcome, ten.reason) == (Outcome.incomparable, "tta: 1 and 10")


def test_a_training_is_compared_by_five_seeds_a_side(evaluated):
    single = judge("net", [evaluated(range(1300))], [evaluated(range(1400), "w.pt (sha256 2)")], 0.01)
    assert single.outcome is Outcome.incomparable
    assert single.reason == "retrained: 1 and 1 trainings; 5 a side, of different seeds, are needed"
    scipy_stats = pytest.importorskip("scipy.stats")
    hits = [1300, 1310, 1290, 1305, 1295], [1200, 1220, 1190, 1195, 1205]
    sides = [
        [evaluated(range(count), f"{side}{number} (sha256 {side}{number})") for number, count in enumerate(counts)]
        for side, counts in zip("ab", hits, strict=True)
    ]
    verdict = judge("net", *sides, 0.01)
    assert verdict.outcome is Outcome.worse
    shares = [[count / IMAGES for count in counts] for counts in hits]
    ends = scipy_stats.ttest_ind(shares[1], shares[0], equal_var=False).confidence_interval()
    # Degrees of freedom are rounded down: the interval is a little wider than scipy's.
    low, high = (float(end.strip("()")) / 100 for end in verdict.reason.rpartition("points ")[2].split(" to "))
    assert low <= ends.low + 5e-5
    assert high >= ends.high - 5e-5
    assert low == pytest.approx(ends.low, abs=5e-4)
    mixed = judge("net", [sides[0][0], sides[0][1]], [sides[0][0], sides[1][1]], 0.01)
    assert mixed.outcome is Outcome.incomparable


def test_the_gate_on_results_has_a_verdict_on_accuracy(evaluated):
    request = Request(rule=Rule(least=0.01))
    report = against_results(("a", "b"), [evaluated(range(1300))], [evaluated(range(1200))], request, Quiet())
    outcomes = {verdict.metric: verdict.outcome for verdict in report.verdicts}
    assert outcomes["accuracy"] is Outcome.worse
    assert report.exit_code() == 1


def test_a_failed_evaluation_is_an_error(evaluated, make_result):
    failed = make_result("net", Measurement("accuracy", "", failure="no data"), checkpoint="w.pt (sha256 1)")
    verdict = judge("net", [evaluated(range(1300))], [failed], 0.01)
    assert (verdict.outcome, verdict.reason) == (Outcome.error, "the candidate has no accuracy: no data")
