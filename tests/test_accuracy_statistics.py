"""Statistics of classified images against scikit-learn, scipy, statsmodels and published values."""

import itertools
import math

import numpy as np
import pytest

from fer_bench.accuracy import statistics
from fer_bench.accuracy.statistics import Paired

sklearn = pytest.importorskip("sklearn.metrics")
scipy_stats = pytest.importorskip("scipy.stats")
optimize = pytest.importorskip("scipy.optimize")
proportion = pytest.importorskip("statsmodels.stats.proportion")

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# Paper 004, Table 1: its rows do not all add up to 1, and are divided by their sums here.
PRINTED = np.array(
    [
        [0.62, 0.01, 0.10, 0.03, 0.12, 0.13, 0.10],
        [0.26, 0.55, 0.05, 0.04, 0.06, 0.02, 0.03],
        [0.12, 0.01, 0.40, 0.05, 0.20, 0.11, 0.11],
        [0.02, 0.00, 0.02, 0.88, 0.02, 0.02, 0.05],
        [0.10, 0.01, 0.10, 0.09, 0.53, 0.01, 0.15],
        [0.03, 0.00, 0.10, 0.04, 0.02, 0.75, 0.03],
        [0.04, 0.00, 0.05, 0.08, 0.11, 0.02, 0.65],
    ]
)
PRIVATE = np.array([491, 55, 528, 879, 594, 416, 626])  # images of each class in FER2013's PrivateTest


def drawn(images: int, seed: int, order: tuple[str, ...] = CLASSES) -> list[list[int]]:
    """Draw a confusion matrix of paper 004's network on FER2013, whose outputs are in another order than assumed."""
    rates = PRINTED / PRINTED.sum(axis=1, keepdims=True) * (PRIVATE / PRIVATE.sum())[:, None]
    counts = np.random.default_rng(seed).multinomial(images, rates.ravel()).reshape(rates.shape)
    return counts[:, [CLASSES.index(name) for name in order]].tolist()


def images_of(confusion: list[list[int]]) -> tuple[list[int], list[int]]:
    """Return true and predicted classes that a confusion matrix counts."""
    cells = [(t, p) for t, row in enumerate(confusion) for p, count in enumerate(row) for _ in range(count)]
    return [t for t, _ in cells], [p for _, p in cells]


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn(seed: int) -> None:
    confusion = drawn(400, seed)
    true, predicted = images_of(confusion)
    found = statistics.scores(confusion, CLASSES)
    assert statistics.confusion_of(true, predicted, 7) == sklearn.confusion_matrix(true, predicted).tolist()
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(true, predicted, zero_division=0)
    assert [one.precision for one in found.classes] == pytest.approx(precision, rel=1e-15)
    assert [one.recall for one in found.classes] == pytest.approx(recall, rel=1e-15)
    assert [one.f1 for one in found.classes] == pytest.approx(f1, rel=1e-15)
    assert [one.support for one in found.classes] == list(support)
    exact = {
        "accuracy": sklearn.accuracy_score(true, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(true, predicted),
        "macro_f1": sklearn.f1_score(true, predicted, average="macro"),
        "weighted_f1": sklearn.f1_score(true, predicted, average="weighted"),
        "kappa": sklearn.cohen_kappa_score(true, predicted),
        "mcc": sklearn.matthews_corrcoef(true, predicted),
    }
    for name, value in exact.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-14), name


def test_a_class_without_images_is_left_out_and_one_never_predicted_counts() -> None:
    # 3 angry of which 2 are said to be fear; 2 fear, right; no disgust, which nothing is said to be.
    found = statistics.scores([[1, 0, 2], [0, 0, 0], [0, 0, 2]], ("angry", "disgust", "fear"))
    assert found.absent == ("disgust",)
    assert found.classes[1].recall is None
    assert found.classes[1].precision == 0
    assert found.balanced_accuracy == pytest.approx((1 / 3 + 1) / 2)
    assert found.macro_f1 == pytest.approx((2 / 4 + 4 / 6) / 2)
    one_sided = statistics.scores([[3, 0], [2, 0]], ("happy", "sad"))  # sad is never predicted
    assert one_sided.macro_f1 == pytest.approx((6 / 8 + 0) / 2)
    assert (one_sided.kappa, one_sided.mcc) == (0, 0)
    assert statistics.scores([[3, 0], [0, 0]], ("happy", "sad")).kappa is None
    with pytest.raises(ValueError, match="without images"):
        statistics.scores([[0, 0], [0, 0]], ("happy", "sad"))


@pytest.mark.parametrize(("hits", "images"), [(0, 3), (3, 3), (1, 10), (2357, 3589), (30, 55), (7000, 7178)])
def test_wilson_equals_statsmodels(hits: int, images: int) -> None:
    expected = proportion.proportion_confint(hits, images, method="wilson")
    assert statistics.wilson(hits, images) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("share", "images", "ends"),
    [
        (65.66, 3589, (64.09, 67.20)),
        (73.47, 3589, (72.00, 74.89)),
        (73.47, 7178, (72.44, 74.48)),
        (90.13, 1432, (88.48, 91.57)),
    ],
)
def test_wilson_of_printed_accuracies(share: float, images: int, ends: tuple[float, float]) -> None:
    low, high = statistics.wilson(share / 100 * images, images)
    assert (100 * low, 100 * high) == pytest.approx(ends, abs=0.006)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 7), (30, 55), (400, 310), (5000, 5200)])
def test_mcnemar_equals_the_exact_binomial_test(first: int, second: int) -> None:
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    expected = scipy_stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert statistics.mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    if first + second:
        theirs = contingency.mcnemar([[10, first], [second, 10]], exact=True).pvalue
        assert statistics.mcnemar(first, second) == pytest.approx(theirs, rel=1e-9)


def test_tango_gives_the_published_interval() -> None:
    # Airway hyper-responsiveness before and after a transplantation, 1 / 1 / 7 / 12 of 21 children: Fagerland, Lydersen
    # and Laake (2014), Statistics in Medicine 33, give -0.517 to -0.026 for Tango's interval.
    assert statistics.tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("plus", "minus", "images"), [(5, 9, 40), (0, 4, 30), (120, 90, 3589), (0, 0, 50)])
def test_the_ends_of_tango_are_where_the_score_test_is_at_its_limit(plus: int, minus: int, images: int) -> None:
    """The score statistic at each end, with the likelihood maximised by scipy, is the normal quantile."""
    for end, sign in zip(statistics.tango(plus, minus, images), (1, -1), strict=True):

        def unlikeliness(share: float, end: float = end) -> float:
            cells = ((plus, share + end), (minus, share), (images - plus - minus, 1 - 2 * share - end))
            return -sum(count * math.log(max(rate, 1e-300)) for count, rate in cells if count)

        bounds = (max(0.0, -end), (1 - end) / 2)
        share = optimize.minimize_scalar(unlikeliness, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
        error = math.sqrt(images * (2 * share + end - end * end))
        assert (plus - minus - images * end) / error == pytest.approx(sign * 1.959964, rel=2e-4)


def test_two_networks_on_the_same_images() -> None:
    first = [True] * 6 + [False] * 4
    second = [True] * 5 + [False] + [True] * 3 + [False]
    pair = Paired.of(first, second)
    assert pair == Paired(both=5, first=1, second=3, neither=1)
    assert pair.difference == pytest.approx(0.2)  # 8 of 10 less 6 of 10
    assert pair.p == pytest.approx(scipy_stats.binomtest(1, 4).pvalue)
    low, high = pair.interval
    assert low < 0.2 < high


def test_images_for_is_the_fewest_that_decide() -> None:
    pair = Paired(both=800, first=20, second=21, neither=159)
    wanted = pair.images_for(0.01)
    assert wanted is not None
    # By the normal approximation: (z / (margin - difference))^2 x (discordant share - difference^2).
    assert wanted == pytest.approx((1.96 / 0.009) ** 2 * (0.041 - 0.001**2), rel=0.05)
    assert pair.images_for(0.001) is None
    agreed = Paired(both=1, first=0, second=0, neither=0).images_for(0.01)
    assert agreed is not None
    # Without a discordant pair Tango's end is z^2 / (n + z^2).
    assert agreed == math.floor(1.959964**2 * 99) + 1


def test_holm_equals_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = [0.04, 0.001, 0.3, 0.03, 0.03]
    assert statistics.holm(values) == pytest.approx(multitest.multipletests(values, method="holm")[1], rel=1e-12)


def test_persons_are_drawn_with_all_their_images() -> None:
    hits = [1.0, 0.0] * 50
    images = statistics.over_persons(hits, range(100), seed=1)
    expected = scipy_stats.bootstrap((hits,), np.mean, method="percentile", rng=np.random.default_rng(1))
    assert images == pytest.approx(tuple(expected.confidence_interval), abs=0.015)
    # Ten images of each of ten persons that are all right or all wrong are ten observations, not a hundred.
    alike = [float(person % 2) for person in range(10) for _ in range(10)]
    persons = [person for person in range(10) for _ in range(10)]
    low, high = statistics.over_persons(alike, persons, seed=1)
    single = statistics.over_persons([float(person % 2) for person in range(10)], range(10), seed=1)
    assert (low, high) == single
    assert high - low > 2 * (images[1] - images[0])


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_scipys(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 50, (7, 7))
    rows, columns = optimize.linear_sum_assignment(-counts)
    ours = statistics.assignment(counts.tolist())
    assert sorted(ours) == list(range(7))
    assert sum(counts[row, column] for column, row in enumerate(ours)) == counts[rows, columns].sum()


def test_of_equal_assignments_the_identity_is_returned() -> None:
    assert statistics.assignment([[3, 3], [3, 3]]) == [0, 1]
    assert statistics.assignment([[0] * 8 for _ in range(8)]) == list(range(8))
    with pytest.raises(ValueError, match="at most 16"):
        statistics.assignment([[0] * 17 for _ in range(17)])


FOLDERS = tuple(sorted(CLASSES))
RAF_DB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")


@pytest.mark.parametrize(("order", "accuracy"), [(CLASSES, 65.5), (FOLDERS, 38.8), (RAF_DB, 44.3), (AFFECTNET, 7.1)])
def test_accuracies_under_wrong_orders(order: tuple[str, ...], accuracy: float) -> None:
    found = statistics.probe(drawn(100_000, 0, order), CLASSES)
    assert 100 * found.accuracy == pytest.approx(accuracy, abs=0.4)
    assert 100 * found.best == pytest.approx(65.5, abs=0.4)
    assert found.names == order
    assert found.verdict == ("as named" if order == CLASSES else "permuted")


@pytest.mark.parametrize("order", [CLASSES, FOLDERS, RAF_DB, AFFECTNET])
def test_three_hundred_images_show_the_order_of_classes(order: tuple[str, ...]) -> None:
    verdicts = [statistics.probe(drawn(300, seed, order), CLASSES).verdict for seed in range(40)]
    wanted = "as named" if order == CLASSES else "permuted"
    assert verdicts.count(wanted) >= 38
    assert order != CLASSES or "permuted" not in verdicts


def test_few_images_and_networks_without_skill_are_undecided() -> None:
    assert statistics.probe(drawn(199, 0, FOLDERS), CLASSES).verdict == "undecided"
    chance = np.random.default_rng(0)
    for column in range(7):  # collapsed: all images are said to be of one class
        collapsed = np.zeros((7, 7), dtype=int)
        collapsed[:, column] = chance.multinomial(1000, PRIVATE / PRIVATE.sum())
        assert statistics.probe(collapsed.tolist(), CLASSES).verdict == "undecided"
        rates = np.outer(PRIVATE / PRIVATE.sum(), chance.dirichlet(np.ones(7)))  # guesses
        guessed = chance.multinomial(3000, rates.ravel()).reshape(7, 7)
        assert statistics.probe(guessed.tolist(), CLASSES).verdict == "undecided"


def test_an_order_is_only_confirmed_where_all_outputs_but_one_show_their_class() -> None:
    """Of six classes that are recognised the seventh is what remains; faces of another kind show two or three alone."""
    rates = np.eye(7) * 0.6 + 0.4 / 7
    other = np.array([0.02, 0.0, 0.03, 0.22, 0.01, 0.55, 0.17])  # fer's weights on drawn faces: surprise or happy
    for unclear, verdict in ((("disgust",), "as named"), (("disgust", "fear"), "undecided")):
        mixed = rates.copy()
        mixed[[CLASSES.index(name) for name in unclear]] = other
        found = statistics.probe((100 * mixed).astype(int).tolist(), CLASSES)
        assert found.verdict == verdict
        assert verdict == "as named" or "disgust, fear are not recognised" in found.reason


def test_an_order_that_predicts_no_better_than_a_constant_is_not_confirmed() -> None:
    """Eight hits more by another order are chance, and with them alone the interval is above the largest class."""
    confusion = [[40, 30, 30], [30, 35, 35], [22, 43, 35]]
    assert statistics.wilson(110, 300)[0] < 1 / 3 < statistics.wilson(118, 300)[0]
    found = statistics.probe(confusion, ("happy", "sad", "fear"))
    assert (found.verdict, found.best) == ("undecided", pytest.approx(118 / 300))
    assert found.reason.startswith("as named it predicts no better")


def test_all_orders_of_three_classes_are_compared() -> None:
    confusion = [[5, 90, 5], [4, 6, 90], [90, 5, 5]]
    sums = {order: sum(confusion[row][k] for k, row in enumerate(order)) for order in itertools.permutations(range(3))}
    best = max(sums, key=sums.__getitem__)
    found = statistics.probe(confusion, ("happy", "sad", "fear"))
    assert found.names == tuple(("happy", "sad", "fear")[row] for row in best)
    assert found.best == sums[best] / 300
