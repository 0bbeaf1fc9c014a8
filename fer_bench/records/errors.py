"""The errors that a user can cause. Each message says what was given, what was expected and what to do."""

from collections.abc import Iterable

from fer_bench.records.output import MOST_OF_AN_ERROR, capped


class FerBenchError(Exception):
    """A mistake or a condition that the user can mend; the CLI prints it without a traceback.

    Examples:
        >>> try:
        ...     fb.find("mini_xceptoin")
        ... except fb.FerBenchError as error:
        ...     print(error)
        no network is called 'mini_xceptoin'...mini_xception...
    """


class UnknownModelError(FerBenchError):
    """No network goes by that name."""


class SheetError(FerBenchError):
    """A sheet does not say what a sheet must say."""


class BuildError(FerBenchError):
    """A factory did not give a network."""


class CheckpointError(FerBenchError):
    """A checkpoint cannot be read, or is another network's."""


class DataError(FerBenchError):
    """A data set cannot be read, or has nothing of what was asked for."""


class TrainingError(FerBenchError):
    """A training cannot go on; what was kept of it before stays."""


class CountingError(FerBenchError):
    """A network cannot run on the given input, so that it cannot be counted."""


class DeviceError(FerBenchError):
    """The device asked for is not there."""


class NvmlError(FerBenchError):
    """NVML, which NVIDIA's driver comes with, gives no answer; the message is its reason."""


class RevisionError(FerBenchError):
    """A revision of the user's repository is not to be had."""


class BaselineError(FerBenchError):
    """A baseline of the gate cannot be read or written."""


class StoreError(FerBenchError):
    """Results cannot be written or read."""


class StoreBusyError(StoreError):
    """The database cannot be reached or is locked: a later try may succeed."""


class UnstorableError(StoreError):
    """A record holds what no database can: NaN, a character that no text may have."""


def brief(error: BaseException) -> str:
    """Format an error of other code in one line of bounded length, with its type."""
    return capped(f"{type(error).__name__}: {error}".strip().splitlines()[0], MOST_OF_AN_ERROR)


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known names that may have been meant: " (did you mean resnet50 or resnet101?)", or ""."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    near = near or [n for n in names if name and name.lower() in n][:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
