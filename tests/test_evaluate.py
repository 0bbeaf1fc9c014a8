"""The loop of an evaluation: classes by name, checks, augmentation, and what a record keeps."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_bench.accuracy import evaluate as module
from fer_bench.accuracy.effects import Robustness, Sensitivity
from fer_bench.accuracy.evaluate import Settings, evaluate, turned
from fer_bench.accuracy.predictions import Predictions
from fer_bench.records.errors import FerBenchError
from fer_bench.records.result import Measurement
from support.shades import CLASSES, Mixing, Shades, contract, dataset

ALL_SEVEN = [label for label in range(7) for _ in range(30)]


def test_all_images_of_all_classes_are_recognised() -> None:
    found = evaluate(Shades(), dataset(ALL_SEVEN), contract())
    assert found.predictions.confusion == [[30 * (row == column) for column in range(7)] for row in range(7)]
    assert found.predictions.outputs.dtype == np.float32
    assert found.predictions.outputs.shape == (210, 7)
    assert not found.warnings
    assert found.conditions["batch_difference"] <= 1e-6


def test_classes_are_matched_by_name_and_not_by_place() -> None:
    folders = tuple(sorted(CLASSES))  # the data set's order; its label 4 is neutral
    data = dataset([0, 4, 4, 5], folders)
    found = evaluate(Shades(), data, contract()).predictions
    assert [CLASSES[label] for label in found.labels] == ["angry", "neutral", "neutral", "sad"]
    assert all(found.hits)


def test_unlabelled_images_are_left_out_and_counted() -> None:
    found = evaluate(Shades(), dataset([0, -1, 3, -1]), contract())
    assert len(found.predictions) == 2
    assert found.warnings == ("2 images without a label are left out",)
    with pytest.raises(FerBenchError, match="none of the 2 images"):
        evaluate(Shades(), dataset([-1, -1]), contract())


def test_outputs_for_classes_that_the_data_lack_are_errors_or_masked() -> None:
    eight = contract((*CLASSES, "contempt"))
    data = dataset([6, 6, 0], shown=[6, 6, 0])

    class Eight(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seven = Shades()(images)
            return torch.cat([seven, torch.full((len(images), 1), 0.5)], dim=1)  # contempt, whatever it is

    counted = evaluate(Eight(), data, eight)
    assert counted.predictions.hits == [False, False, False]
    assert counted.conditions["extra"] == "errors"
    masked = evaluate(Eight(), data, eight, Settings(extra="masked"))
    assert masked.predictions.masked == ("contempt",)
    assert all(masked.predictions.hits)
    outputs, labels = masked.predictions.scored
    assert outputs.shape == (3, 7)
    assert labels.tolist() == [6, 6, 0]


def test_a_class_that_no_output_stands_for_is_refused() -> None:
    data = dataset([0, 1], (*CLASSES, "contempt"))
    with pytest.raises(FerBenchError, match=r"contempt, for which the network has no output.*--data-classes angry,"):
        evaluate(Shades(), data, contract())


def test_another_number_of_outputs_than_the_contract_names_is_refused() -> None:
    with pytest.raises(FerBenchError, match=r"5 outputs, and its contract names 7 classes"):
        evaluate(Shades(5), dataset([0, 1]), contract())
    with pytest.raises(FerBenchError, match=r"returns \(2, 1, 8, 8\) for 2 images, expected \(N, K\)"):
        evaluate(nn.Identity(), dataset([0, 1]), contract())
    with pytest.raises(FerBenchError, match=r"2 of 2 images are no numbers"):
        evaluate(lambda images: Shades()(images) * math.nan, dataset([0, 1]), contract())


def test_a_network_that_mixes_its_batch_is_evaluated_one_by_one() -> None:
    data = dataset(ALL_SEVEN)
    found = evaluate(Mixing(), data, contract())
    assert found.conditions["batch_size"] == 1
    assert found.conditions["batch_difference"] > 0.01
    assert found.warnings[0].startswith("batch-dependent")
    alone = [Mixing()(torch.full((1, 1, 8, 8), (20 + 30 * label) / 255)).argmax().item() for label in range(7)]
    assert found.predictions.predicted.tolist() == [alone[label] for label in ALL_SEVEN]


def test_dropout_left_on_is_named() -> None:
    dropout = nn.Dropout(0.5)
    found = evaluate(lambda images: dropout(Shades()(images)), dataset(ALL_SEVEN), contract())
    assert found.warnings[0].startswith("random")


def test_a_module_in_training_mode_is_evaluated_in_eval_mode_and_left_as_it_was() -> None:
    network = nn.Sequential(Shades(), nn.Dropout(0.9)).train()
    found = evaluate(network, dataset(ALL_SEVEN), contract())
    assert all(found.predictions.hits)
    assert network.training
    assert network[1].training


def permuted(order: tuple[str, ...]) -> nn.Module:
    """Return a network whose outputs are in another order than ``CLASSES``."""

    class Permuted(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return Shades()(images)[:, [CLASSES.index(name) for name in order]]

    return Permuted()


def test_outputs_in_another_order_stop_with_the_order_and_both_accuracies() -> None:
    folders = tuple(sorted(CLASSES))
    validation = dataset(ALL_SEVEN, split="public")
    with pytest.raises(FerBenchError) as stopped:
        evaluate(permuted(folders), dataset(ALL_SEVEN), contract(), validation=validation)
    message = str(stopped.value)
    assert f"accuracy is {400 / 7:.1f} %, and 100.0 % where" in message  # four of seven are at their place
    assert "sad is neutral" in message
    assert f"--classes-order {','.join(folders)}" in message
    assert "split public" in message
    named = evaluate(permuted(folders), dataset(ALL_SEVEN), contract(folders), validation=validation)
    assert named.conditions["probe"]["verdict"] == "as named"
    assert all(named.predictions.hits)
    unjudged = evaluate(permuted(folders), dataset(ALL_SEVEN), contract())
    assert unjudged.conditions["probe"] is None
    assert sum(unjudged.predictions.hits) == 120


def test_augmentation_does_not_depend_on_the_batch_and_averages_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(ALL_SEVEN)
    ten = evaluate(Shades(), data, contract(), Settings(tta=10))
    assert ten.predictions.outputs.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert ten.conditions["tta"] == 10
    other = evaluate(Shades(), data, contract(), Settings(tta=10, batch=7))
    assert other.predictions.outputs == pytest.approx(ten.predictions.outputs, abs=1e-6)
    seeded = evaluate(Shades(), data, contract(), Settings(tta=10, seed=1))
    assert abs(seeded.predictions.outputs - ten.predictions.outputs).max() > 1e-4
    monkeypatch.setattr(module, "TTA_DEGREES", 0.0)  # mirrored or not, an even grey is the same
    plain = evaluate(Shades(), data, contract())
    same = evaluate(Shades(), data, contract(), Settings(tta=3))
    softmax = torch.from_numpy(plain.predictions.outputs).softmax(dim=1).numpy()
    assert same.predictions.outputs == pytest.approx(softmax, abs=1e-6)


def test_turning_is_that_of_torch() -> None:
    images = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    black = torch.zeros(3, 1, 1)
    none, quarter = torch.zeros(2), torch.full((2,), math.pi / 2)
    never, always = torch.tensor([False, False]), torch.tensor([True, True])
    assert torch.allclose(turned(images, never, none, black), images, atol=1e-6)
    assert torch.allclose(turned(images, always, none, black), images.flip(-1), atol=1e-6)
    assert torch.allclose(turned(images, never, quarter, black), torch.rot90(images, 1, (2, 3)), atol=1e-5)
    assert torch.allclose(turned(images, always, quarter, black), torch.rot90(images.flip(-1), 1, (2, 3)), atol=1e-5)
    wide = turned(
        torch.ones(1, 1, 4, 8), torch.tensor([False]), torch.tensor([math.pi / 2]), torch.full((1, 1, 1), -1.0)
    )
    assert wide[0, 0, :, 3:5].min() == pytest.approx(1)  # the turned picture stands upright in the middle
    assert wide[0, 0, :, 0].max() == pytest.approx(-1)  # and beside it is black


def test_a_record_gives_the_predictions_back() -> None:
    persons = [f"AF{number // 10:02}" for number in range(len(ALL_SEVEN))]
    data = dataset(ALL_SEVEN, groups={"person": persons, "sex": ["f", "m"] * 105})
    found = evaluate(Mixing(), data, contract(), Settings(group_by="sex"))
    confusion, predictions, took = (Measurement.of(dataclasses.asdict(m)) for m in found.measurements())
    assert took.metric == "accuracy.evaluation_s"
    assert confusion.values == tuple(count for row in found.predictions.confusion for count in row)
    assert confusion.details["data"]["split"] == "private"
    assert confusion.details["contract"]["classes"] == list(CLASSES)

    class Stored:
        def measurement(self, metric: str) -> Measurement | None:
            return predictions if metric == predictions.metric else None

    read = Predictions.of(Stored())  # type: ignore[arg-type]
    assert read is not None
    assert (read.outputs == found.predictions.outputs).all()
    assert (read.labels == found.predictions.labels).all()
    assert read.groups == found.predictions.groups
    assert read.by_group("sex").keys() == {"f", "m"}
    damaged = {**predictions.details, "labels": predictions.details["labels"][:-1]}
    with pytest.raises(ValueError, match=r"details\.labels has 209 members, and there are 210 values"):
        Measurement.of({**dataclasses.asdict(predictions), "details": damaged})
    beyond = {**predictions.details, "labels": [7] * 210}
    with pytest.raises(ValueError, match=r"details\.labels has 7, and there are 7 classes"):
        Measurement.of({**dataclasses.asdict(predictions), "details": beyond})


def test_networks_are_compared_on_the_same_images_alone() -> None:
    first = evaluate(Shades(), dataset(ALL_SEVEN), contract()).predictions
    second = evaluate(permuted(tuple(sorted(CLASSES))), dataset(ALL_SEVEN), contract()).predictions
    pair = first.paired(second)
    assert (pair.both, pair.first, pair.second, pair.neither) == (120, 90, 0, 0)
    others = evaluate(Shades(), dataset(ALL_SEVEN, shown=[0] * 210), contract()).predictions
    with pytest.raises(FerBenchError, match="different images"):
        first.paired(others)


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(FerBenchError, match="no column 'age'; columns: person"):
        evaluate(Shades(), dataset([0], groups={"person": ["a"]}), contract(), Settings(group_by="age"))


def test_changes_of_the_input_are_measured_on_request() -> None:
    found = evaluate(Shades(), dataset([0, 3, 6] * 4), contract(), Settings(sensitivity=True, robustness=True))
    *_, sensitivity, robustness = (Measurement.of(dataclasses.asdict(one)) for one in found.measurements())
    rows = {row["change"]: row for row in Sensitivity.of(sensitivity).rows()}
    assert rows["as the contract says"]["accuracy"] == 1
    assert rows["mirrored"]["same"] == 1  # an even grey
    assert rows["[0, 255]"]["accuracy"] == pytest.approx(1 / 3)  # all are taken for the brightest, neutral
    assert Robustness.of(robustness).accuracy == 1
    assert len(evaluate(Shades(), dataset([0]), contract()).measurements()) == 3
