"""A network of about 10 ms, and the same made slower by convolutions that nothing needs: extra work, real and small.

``experiment.py`` commits this file twice into a scratch repository, the second time with another EXTRA.
"""

from torch import nn

from fer_bench.models.torchvision_nets import mobilenetv3_large

EXTRA = ()  # channels of each needless convolution


class Slower(nn.Module):
    """A network, and 3x3 convolutions of its images at half their size, of which nothing is used."""

    def __init__(self, network: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.needless = nn.ModuleList(nn.Conv2d(3, each, 3, stride=2, padding=1, bias=False) for each in channels)

    def forward(self, images):
        for convolution in self.needless:
            convolution(images)
        return self.network(images)


def net(num_classes: int = 7) -> nn.Module:
    network = mobilenetv3_large(num_classes)
    return Slower(network, EXTRA) if EXTRA else network
