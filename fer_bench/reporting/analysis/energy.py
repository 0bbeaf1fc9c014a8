"""Energy an image, from what ``profilers.energy`` wrote down: pure functions on numbers."""

from fer_bench.records.result import Measurement


def joules_per_image(measurement: Measurement) -> tuple[float, float] | None:
    """Give the joules that an image took beyond the idle machine's, and the idle machine's over the same time.

    The first is of a difference: where a network takes hardly more than nothing, it may come out below 0.

    Args:
        measurement: an ``energy_j``.

    Returns:
        (net, idle) in joules an image, or None where no counter told any.
    """
    if not measurement.values:
        return None
    told = measurement.details
    images, idle = told["images"], told["idle_joules"]
    return (sum(measurement.values) - idle) / images, idle / images
