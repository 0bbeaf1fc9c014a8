"""Layer counts by the rule, against the papers' tables and small networks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer_bench import find
from fer_bench.measuring.counting.totals import LayerCounts, count_layers
from fer_bench.measuring.counting.trace import trace
from fer_bench.networks import build


def layers(model, *shape):
    return count_layers(trace(model.eval(), (torch.empty(1, *shape, device="meta"),)))


class Sees(nn.Module):
    def __init__(self, function, **members):
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mini_xception", {"conv": 23, "conv_separable_once": 15, "conv_shortcut": 4, "pool": 5, "fc": 0}),
        ("resnet50", {"conv": 53, "conv_separable_once": 53, "conv_shortcut": 4, "pool": 2, "fc": 1}),
        ("resnet152", {"conv": 155, "conv_shortcut": 4, "pool": 2, "fc": 1}),  # 1 + 3 * 50 + 4
        ("vgg13_ferplus", {"conv": 10, "conv_shortcut": 0, "pool": 4, "fc": 3}),
        ("densenet1_ler", {"conv": 36, "conv_shortcut": 0, "pool": 4, "fc": 1}),
        ("densenet121", {"conv": 120, "conv_shortcut": 0, "pool": 5, "fc": 1}),  # 121 with the classifier
        ("mobilenet_v1", {"conv": 27, "conv_separable_once": 14, "fc": 1}),  # 1 + 13 pairs
    ],
)
def test_networks_of_the_papers(name, expected):
    spec = find(name)
    counts = layers(build.create(spec, device="meta"), *spec.input_shape)
    assert {key: getattr(counts, key) for key in expected} == expected


def test_a_layer_that_runs_often_is_one_layer():
    conv, fc = nn.Conv2d(3, 3, 1), nn.Linear(5, 5)
    model = Sees(lambda s, x: s.fc(s.fc(s.conv(s.conv(x)))), conv=conv, fc=fc)
    assert layers(model, 3, 5, 5) == LayerCounts(conv=1, conv_separable_once=1, conv_shortcut=0, pool=0, fc=1)


def test_a_layer_that_does_not_run_is_none():
    assert layers(Sees(lambda s, x: s.a(x), a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1)), 3, 5, 5).conv == 1


def test_functional_layers_go_by_their_weights():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.v = nn.Parameter(torch.zeros(3, 3, 1, 1)), nn.Parameter(torch.zeros(2, 3))

        def forward(self, x):
            return F.linear(F.conv2d(F.conv2d(x, self.w), self.w).mean((2, 3)), self.v)

    counts = layers(Functional(), 3, 5, 5)
    assert (counts.conv, counts.pool, counts.fc) == (1, 1, 1)


def separable(*between):
    return nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), *between, nn.Conv2d(4, 6, 1))


@pytest.mark.parametrize(
    ("between", "pair"),
    [
        ((), True),
        ((nn.BatchNorm2d(4), nn.ReLU()), True),
        ((nn.BatchNorm2d(4), nn.Hardswish(inplace=True)), True),
        ((nn.MaxPool2d(2),), False),
        ((nn.Conv2d(4, 4, 3, padding=1),), False),
    ],
)
def test_a_separable_convolution_has_at_most_normalisation_and_activation_between(between, pair):
    counts = layers(separable(*between), 4, 8, 8)
    assert counts.conv - counts.conv_separable_once == pair


def test_a_grouped_convolution_is_not_depthwise():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 6, 1))
    assert layers(model, 4, 8, 8).conv_separable_once == 2


def branches(left, right):
    return Sees(lambda s, x: s.left(x) + s.right(x), left=left, right=right)


def test_a_projection_beside_two_convolutions_is_a_shortcut():
    main = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    short = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert layers(branches(main, short), 3, 5, 5).conv_shortcut == 1
    assert layers(branches(short, main), 3, 5, 5).conv_shortcut == 1


def test_two_equal_branches_have_no_shortcut():
    assert layers(branches(nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)), 3, 5, 5).conv_shortcut == 0


def test_what_came_before_the_branches_is_no_part_of_them():
    main = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), branches(main, nn.Identity()))
    assert layers(network, 3, 5, 5).conv_shortcut == 0


def test_poolings_are_calls_over_space():
    pools = (
        lambda _, x: F.max_pool2d(x, 2),
        lambda _, x: F.avg_pool2d(x, 2),
        lambda _, x: F.adaptive_avg_pool2d(x, 1),
        lambda _, x: F.adaptive_max_pool2d(x, 2),
        lambda _, x: x.mean((2, 3)),
        lambda _, x: x.mean((-1, -2), keepdim=True),
        lambda _, x: x.amax((2, 3)),
    )
    for pool in pools:
        assert layers(Sees(pool), 3, 6, 6).pool == 1
    for other in (lambda _, x: x.mean(1), lambda _, x: x.sum((1, 2)), lambda _, x: x.max()):
        assert layers(Sees(other), 3, 6, 6).pool == 0


def test_products_inside_recurrent_layers_are_not_fully_connected():
    model = Sees(lambda s, x: s.fc(s.lstm(x)[0]), lstm=nn.LSTM(8, 4, batch_first=True), fc=nn.Linear(4, 2))
    assert layers(model, 5, 8).fc == 1


def test_a_new_tensor_at_an_old_address_has_no_old_origin():
    # What a convolution made is freed at once; the next tensor may lie where it lay, and comes from no convolution.
    def forget(s, x):
        for _ in range(50):
            s.conv(x)
            fresh = torch.ones_like(x)
            x = fresh + x
        return x

    assert layers(Sees(forget, conv=nn.Conv2d(3, 3, 1)), 3, 5, 5).conv_shortcut == 0
