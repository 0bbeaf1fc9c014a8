"""Statistics of outputs against scikit-learn, scipy and hand calculation."""

import math

import numpy as np
import pytest

from fer_bench.accuracy import calibration

sklearn = pytest.importorskip("sklearn.metrics")
special = pytest.importorskip("scipy.special")


def outputs(images: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 7, images)
    logits = chance.normal(size=(images, 7)).astype(np.float32)
    logits[np.arange(images), labels] += 1.5
    return logits, labels


def test_scores_of_probabilities_equal_scikit_learn() -> None:
    logits, labels = outputs()
    sure = special.softmax(logits.astype(np.float64), axis=1)
    assert calibration.probabilities(logits) == pytest.approx(sure, rel=1e-14)
    assert calibration.nll(logits, labels) == pytest.approx(sklearn.log_loss(labels, sure), rel=1e-12)
    wanted = np.eye(7)[labels]
    assert calibration.brier(logits, labels) == pytest.approx(((sure - wanted) ** 2).sum(axis=1).mean(), rel=1e-13)
    for count in (1, 2, 3):
        expected = sklearn.top_k_accuracy_score(labels, logits, k=count, normalize=False)
        assert calibration.top(logits, labels, count) == expected


def test_a_softmax_at_the_end_is_recognised() -> None:
    logits, labels = outputs()
    sure = special.softmax(logits, axis=1)
    assert calibration.are_probabilities(sure)
    assert not calibration.are_probabilities(logits)
    assert calibration.nll(sure, labels) == pytest.approx(calibration.nll(logits, labels), rel=1e-5)
    assert calibration.nll(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1])) == math.inf


def test_element_accuracy_is_keras_binary_accuracy() -> None:
    # One image is sure and right (3 of 3 elements), one sure and wrong (1 of 3), one has nothing above 0.5 (2 of 3).
    sure = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.4, 0.3, 0.3]])
    assert calibration.element_accuracy(sure, np.array([0, 1, 0])) == pytest.approx(6 / 9)


def test_the_reliability_table_by_hand() -> None:
    sure = np.array([[0.95, 0.05], [0.85, 0.15], [0.85, 0.15], [0.55, 0.45]])
    labels = np.array([0, 0, 1, 1])
    table = calibration.reliability(sure, labels, bins=10)
    assert [(round(one.low, 9), one.images, one.hits) for one in table] == [(0.5, 1, 0), (0.8, 2, 1), (0.9, 1, 1)]
    assert [one.confidence for one in table] == pytest.approx([0.55, 0.85, 0.95])
    assert calibration.expected_error(table) == pytest.approx((0.55 + 2 * 0.35 + 0.05) / 4)
    halves = calibration.reliability(sure, labels, bins=2, of="mass")
    assert [one.images for one in halves] == [2, 2]
    assert calibration.expected_error(halves) == pytest.approx((2 * abs(0.70 - 0.5) + 2 * abs(0.90 - 0.5)) / 4)


def test_the_table_equals_scikit_learns_calibration_curve() -> None:
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    logits, labels = outputs(2000)
    sure = special.softmax(logits.astype(np.float64), axis=1)
    hit = sure.argmax(axis=1) == labels
    for of, strategy in (("width", "uniform"), ("mass", "quantile")):
        accuracy, confidence = curve(hit, sure.max(axis=1), n_bins=10, strategy=strategy)
        table = calibration.reliability(logits, labels, bins=10, of=of)  # type: ignore[arg-type]
        assert [one.accuracy for one in table] == pytest.approx(accuracy, abs=0.006)
        assert [one.confidence for one in table] == pytest.approx(confidence, abs=0.006)


@pytest.mark.parametrize(("images", "points"), [(300, 9.2), (1000, 5.1), (3589, 2.8), (7178, 1.9)])
def test_the_error_of_calibrated_outputs_by_the_number_of_images(images: int, points: float) -> None:
    """The 95 % quantiles that were simulated for outputs of a mean confidence of two thirds."""
    chance = np.random.default_rng(images)
    sure = calibration.probabilities(chance.normal(size=(images, 7)) * 2.5)
    assert 100 * calibration.null_error(sure) == pytest.approx(points, abs=0.25)
    assert calibration.null_error(sure, seed=3) == calibration.null_error(sure, seed=3)


def test_calibrated_outputs_stay_below_the_null_quantile_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    below = 0
    for _ in range(60):
        sure = calibration.probabilities(chance.normal(size=(400, 5)))
        labels = np.array([chance.choice(5, p=row) for row in sure])
        error = calibration.expected_error(calibration.reliability(sure, labels))
        below += error <= calibration.null_error(sure)
    assert below >= 51  # 57 of 60 are expected
