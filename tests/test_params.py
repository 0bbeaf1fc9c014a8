"""Parameters once for each stored element, and the sizes of what would be written."""

import pytest
import torch
from torch import nn

from fer_bench import find, list_models
from fer_bench.measuring.counting.params import count_parameters
from fer_bench.networks import build

FLOAT = 4  # bytes


def test_a_layer_by_hand():
    counts = count_parameters(nn.Linear(10, 3))
    assert (counts.trainable, counts.frozen, counts.total, counts.buffers, counts.tied) == (33, 0, 33, 0, 0)
    assert counts.parameter_bytes == counts.state_dict_bytes == 33 * FLOAT
    assert counts.checkpoint_bytes == 3 * 33 * FLOAT  # weights and Adam's two moments


def test_batch_norm_has_statistics_and_a_counter():
    counts = count_parameters(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)))
    assert (counts.trainable, counts.buffers) == (12 + 8, 4 + 4 + 1)
    assert counts.keras_total == 12 + 8 + 8  # Keras has no counter
    assert counts.state_dict_bytes == (12 + 8 + 8) * FLOAT + 8  # the counter is an int64
    assert counts.checkpoint_bytes == counts.state_dict_bytes + 2 * 20 * FLOAT


def test_frozen_parameters_have_no_moments():
    network = nn.Sequential(nn.Linear(10, 3), nn.Linear(3, 2))
    network[0].requires_grad_(False)
    counts = count_parameters(network)
    assert (counts.trainable, counts.frozen, counts.total) == (8, 33, 41)
    assert counts.checkpoint_bytes == (41 + 2 * 8) * FLOAT


def test_tied_weights_are_stored_once():
    network = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    network[1].weight = network[0].weight
    counts = count_parameters(network)
    assert (counts.total, counts.tied, counts.state_dict_bytes) == (36, 36, 36 * FLOAT)


def test_a_module_at_two_paths_is_stored_once():
    network = nn.Sequential(nn.Linear(10, 3))
    network.again = network[0]
    assert (count_parameters(network).total, count_parameters(network).tied) == (33, 33)


@pytest.mark.parametrize(
    ("first", "second", "stored"),
    [
        (lambda w: w, lambda w: w.t(), 48),  # two parameters, one the other transposed
        (lambda w: w[:3], lambda w: w[3:], 48),
        (lambda w: w[:4], lambda w: w[2:], 48),  # they overlap in two rows
        (lambda w: w[:, :2], lambda w: w[:, 2:], 48),
        (lambda w: w[:, :2], lambda w: w[:, 1:3], 6 * 3),
        (lambda w: w[0].expand(5, 8), lambda w: w[1], 16),
    ],
)
def test_views_of_one_storage_count_where_they_lie(first, second, stored):
    storage, network = torch.zeros(6, 8), nn.Module()
    network.first, network.second = nn.Parameter(first(storage)), nn.Parameter(second(storage))
    counts = count_parameters(network)
    assert (counts.total, counts.parameter_bytes) == (stored, stored * FLOAT)
    assert counts.tied == network.first.numel() + network.second.numel() - stored


def test_a_layout_changes_no_count():
    layer = nn.Conv2d(3, 4, 3)
    assert count_parameters(layer.to(memory_format=torch.channels_last)).total == 4 * 27 + 4


def test_number_types_count_by_their_size():
    counts = count_parameters(nn.Linear(10, 3).bfloat16())
    assert (counts.total, counts.parameter_bytes, counts.state_dict_bytes) == (33, 66, 66)


def test_buffers_that_are_not_saved_are_in_no_file():
    network = nn.Linear(10, 3)
    network.register_buffer("kept", torch.zeros(5))
    network.register_buffer("table", torch.zeros(7), persistent=False)
    counts = count_parameters(network)
    assert (counts.buffers, counts.state_dict_bytes) == (12, 38 * FLOAT)


def test_nothing_has_nothing():
    counts = count_parameters(nn.ReLU())
    assert (counts.total, counts.state_dict_bytes, counts.checkpoint_bytes) == (0, 0, 0)


def test_the_state_dict_is_as_large_as_its_tensors():
    model = build.create(find("mini_xception"))
    expected = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    assert count_parameters(model).state_dict_bytes == expected


@pytest.mark.parametrize("name", list_models())
def test_the_zoo_has_the_parameters_of_its_sheets(name):
    spec = find(name)
    counts = count_parameters(build.create(spec, device="meta"))
    if "trainable_parameters" in spec.expected:
        assert counts.trainable == spec.expected["trainable_parameters"]
    if "keras_total" in spec.expected:
        assert counts.keras_total == spec.expected["keras_total"]


def test_the_residual_masking_network_is_not_counted_twice():
    # Paper 001 prints 142.9 M for these 137 796 423: a counter that went by paths.
    assert count_parameters(build.create(find("resmaskingnet"), device="meta")).trainable == 137_796_423
