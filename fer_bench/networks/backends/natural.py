"""Images with the statistics of natural ones, drawn by rule: no photograph is needed, nor shipped.

Dead leaves: discs that cover each other, whose radii follow a power law, have the edges, the scale invariance and the
power spectrum of photographs (Lee, Mumford and Huang 2001). Standard normal noise has none of it, and a network whose
batch norm has seen noise alone gives every image nearly the same outputs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_DISCS = 200
_LEAST_SHARE = 0.02  # of the shorter side: the smallest radius; the largest is half of it
_POWER = 3.0  # of the radii's density


def natural_images(count: int, shape: Sequence[int], seed: int = 0) -> "np.ndarray[Any, Any]":
    """Draw images, (count, C, H, W), float32, each of mean 0 and deviation 1; of other shapes standard normal noise."""
    import numpy as np

    random = np.random.default_rng(seed)
    if len(shape) != 3:
        return random.standard_normal((count, *shape), dtype=np.float32)
    channels, height, width = shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    images = np.empty((count, channels, height, width), np.float32)
    least, most = _LEAST_SHARE * min(height, width), max(1.0, 0.5 * min(height, width))
    for image in images:
        image[:] = random.standard_normal((channels, 1, 1))
        between = least ** (1 - _POWER), most ** (1 - _POWER)
        radii = (between[0] + random.random(_DISCS) * (between[1] - between[0])) ** (1 / (1 - _POWER))
        for radius in radii:  # each lies on those before it
            row, column = random.random(2) * (height, width)
            disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
            image[:, disc] = random.standard_normal((channels, 1)) + 0.1 * random.standard_normal(
                (channels, disc.sum())
            )
        image -= image.mean()
        image /= max(float(image.std()), 1e-6)
    return images
