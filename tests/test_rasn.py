"""RASN: the counts of the reconstruction, and that samples meet in training only."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench.models import rasn as family


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_counts_of_the_specs() -> None:
    with torch.device("meta"):
        network = family.rasn().eval()
    assert parameters(network.backbone) == 11_176_512
    assert parameters(network.attention) == parameters(network.sharing) == 0
    assert parameters(network.classifier[0]) == 25_088 * 128 + 128 == 3_211_392
    assert parameters(network.classifier[2]) == 128 * 7 + 7
    assert parameters(network) == 14_388_807
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() == 2 * 1_816_773_504


def test_sharing_by_hand() -> None:
    sharing = family.AffinitySharing((1, 1, 2), share=0.5, momentum=0.25)
    x = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 6.0]]]])  # mean 2, 4
    sharing.train()
    torch.testing.assert_close(sharing(x), torch.tensor([[[[2.0, 4.0]]], [[[4.0, 8.0]]]]))
    torch.testing.assert_close(sharing.running_mean, torch.tensor([[[0.5, 1.0]]]))  # a quarter of the way from 0
    sharing(x)
    torch.testing.assert_close(sharing.running_mean, torch.tensor([[[0.875, 1.75]]]))
    sharing.eval()
    torch.testing.assert_close(sharing(x)[1], torch.tensor([[[3.4375, 6.875]]]))
    torch.testing.assert_close(sharing.running_mean, torch.tensor([[[0.875, 1.75]]]))


def test_attention_by_hand() -> None:
    # Two channels, two positions: vectors (3, 0) and (0, 1), mean (1.5, 0.5); cosines 3 and 1 over the root of 10.
    x = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]]]])
    weights = torch.tensor([3.0, 1.0]) / 10**0.5
    torch.testing.assert_close(family.AffinityAttention()(x), x * weights)


def test_attention_has_a_gradient_where_the_map_is_zero() -> None:
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    family.AffinityAttention()(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.fixture
def trained_a_little() -> family.RASN:
    torch.manual_seed(0)
    network = family.rasn(input_size=32).train()
    with torch.no_grad():
        network(torch.rand(2, 3, 32, 32))
    assert network.sharing.running_mean.abs().sum() > 0
    return network


def test_samples_do_not_meet_in_evaluation(trained_a_little: family.RASN) -> None:
    network = trained_a_little.eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_running_mean_takes_part_in_evaluation(trained_a_little: family.RASN) -> None:
    network = trained_a_little.eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = network(images)
        network.sharing.running_mean.zero_()
        assert not torch.allclose(before, network(images))


def test_running_mean_is_stored(trained_a_little: family.RASN) -> None:
    assert trained_a_little.state_dict()["sharing.running_mean"].shape == (512, 1, 1)


@pytest.mark.parametrize(("side", "expected"), [(224, 7), (225, 8), (48, 2), (1, 1)])
def test_first_linear_layer_fits_the_input(side: int, expected: int) -> None:
    with torch.device("meta"):
        network = family.rasn(input_size=side).eval()
        assert network.classifier[0].in_features == 512 * expected**2
        assert network(torch.empty(2, 3, side, side)).shape == (2, 7)


def test_no_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="input_size is 0, expected at least 1"):
        family.rasn(input_size=0)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_trains(in_channels: int) -> None:
    network = family.rasn(in_channels=in_channels, input_size=64).train()
    logits = network(torch.rand(2, in_channels, 64, 64))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None for p in network.parameters())
