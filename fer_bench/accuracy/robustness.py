"""How accuracy falls when faces are covered, tilted, blurred, darkened, noisy or compressed, in five strengths.

The covered places are those of paper 004's Fig. 20, which shows a few faces and no number: left, right, cheeks, chin,
a cap. Strengths are ours; so compare networks with each other, and not with other benchmarks.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from fer_bench.accuracy import changes
from fer_bench.accuracy.changes import MOST, Data, Draw, Floats, Predict, Sample, probabilities
from fer_bench.accuracy.effects import Disturbed, Robustness
from fer_bench.networks.contract import InputContract

_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
_CHEEKS = (0.1, 0.15, 0.2, 0.25, 0.3)
# By name: the five settings, from mild to strong, and what they mean.
DISTURBANCES: Mapping[str, tuple[tuple[str, Draw], ...]] = MappingProxyType(
    {
        "left covered": tuple((f"{s:.0%} of the width", changes.covered((0, 0, s, 1))) for s in _SHARES),
        "right covered": tuple((f"{s:.0%} of the width", changes.covered((1 - s, 0, 1, 1))) for s in _SHARES),
        "chin covered": tuple((f"{s:.0%} of the height", changes.covered((0, 1 - s, 1, 1))) for s in _SHARES),
        "cheeks covered": tuple(
            (f"{s:.0%} of the width at each side", changes.covered((0, 0.45, s, 0.85), (1 - s, 0.45, 1, 0.85)))
            for s in _CHEEKS
        ),
        "top covered": tuple((f"{s:.0%} of the height", changes.covered((0, 0, 1, s))) for s in _SHARES),
        "tilt": tuple((f"{degrees} degrees", changes.tilted(degrees)) for degrees in (5, 10, 20, 30, 45)),
        "blur": tuple(
            (f"sigma {share:.0%} of the width", changes.blurred(share)) for share in (0.01, 0.02, 0.03, 0.04, 0.06)
        ),
        "dark": tuple((f"levels x {factor}", changes.light(factor)) for factor in (0.8, 0.6, 0.4, 0.3, 0.2)),
        "bright": tuple((f"levels x {factor}", changes.light(factor)) for factor in (1.2, 1.5, 2, 2.5, 3)),
        "noise": tuple((f"sigma {sigma} levels", changes.noise(sigma)) for sigma in (8, 16, 24, 36, 50)),
        "JPEG": tuple((f"quality {quality}", changes.jpeg(quality)) for quality in (50, 30, 20, 10, 5)),
    }
)


def robustness(network: Predict, data: Data, contract: InputContract, *, most: int | None = MOST) -> Robustness:
    """Measure a network's accuracy on disturbed faces.

    Args:
        network: a module, or a callable in eval mode: float32 (N, C, H, W) -> logits or probabilities (N, K).
        data: labelled images; those without a label are left out.
        contract: what is done to an image.
        most: images at most, spread evenly over the data; None for all.

    Raises:
        FerBenchError: no image has a label, or classes are not the network's.

    Examples:
        >>> import numpy
        >>> from types import SimpleNamespace
        >>> contract = fb.find("mini_xception").input
        >>> images = [numpy.eye(48, dtype="uint8")] * 3
        >>> faces = SimpleNamespace(images=images, labels=[0, 1, 0], classes=contract.classes)
        >>> found = fb.robustness(lambda batch: batch[:, 0, 0, :7], faces, contract)
        >>> dict(found.images), len(found.disturbed)
        ({'angry': 2, 'disgust': 1}, 55)
    """
    sample = Sample.of(data, contract, most, labelled=True)
    places = np.unique(sample.labels)

    def by_class(found: Floats) -> dict[str, int]:
        right = found.argmax(1) == sample.labels
        return {contract.classes[place]: int(right[sample.labels == place].sum()) for place in places}

    with changes.evaluating(network) as predict:
        return Robustness(
            images={contract.classes[place]: int((sample.labels == place).sum()) for place in places},
            hits=by_class(probabilities(predict, sample.images, contract)),
            disturbed=tuple(
                Disturbed(name, strength, setting, by_class(probabilities(predict, sample.images, contract, draw)))
                for name, settings in DISTURBANCES.items()
                for strength, (setting, draw) in enumerate(settings, 1)
            ),
        )
