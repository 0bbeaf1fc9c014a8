"""Energy: joules of inference passes, from a hardware counter and from nothing else.

Nothing is modelled: where no counter can be read, there is no value but the reason. A counter is of the whole GPU or
CPU package, so that what others do there counts too.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.measuring import environment
from fer_bench.measuring.profilers.kinds import Alive, Clock, Make, Sleep, inference_mode, synchronize
from fer_bench.measuring.profilers.passes import Pacer
from fer_bench.records.errors import NvmlError
from fer_bench.records.plan import Plan
from fer_bench.records.result import Measurement

# The counters are renewed about every millisecond (RAPL) to every 100 ms (NVML): over 2 s that is an error of some
# percent at most, where a window below 1 s would be wrong by a tenth and more.
_WINDOW_S = 2.0

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Counter:
    """A hardware counter: its name, and what reads the joules since some moment in the past."""

    source: str
    joules: Callable[[], float]


def find_counter(device: str, powercap: Path = POWERCAP) -> Counter | str:
    """Find the hardware counter of a device's energy, or say why there is none.

    Args:
        device: "cuda": NVML's counter of PyTorch's current GPU. "cpu": the packages' counters, RAPL, which Intel's and
            AMD's processors have. Others have none that is read.
        powercap: where Linux shows RAPL.
    """
    if device == "cpu":
        return _find_rapl(powercap)
    return _find_nvml() if device == "cuda" else f"no counter of the energy of {device} is read"


def measure_energy(
    make: Make,
    plan: Plan,
    counter: Counter | str | None = None,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = time.sleep,
    alive: Alive = lambda: None,
) -> list[Measurement]:
    """Count the joules of two seconds of inference passes, and before them the watts of the device when idle.

    Idle is with the network in place: on a GPU the context is there, whose power is not a pass's. A ``counter`` is by
    default what ``find_counter`` finds, and a string the reason why there is none; then no network is made.

    Returns:
        ``energy_j``: the joules of the whole window, with what ``energy.joules_per_image`` needs in the details; or
        without a value, the source "none" and the reason.
    """
    if counter is None:
        counter = find_counter(plan.device)
    if isinstance(counter, str):
        return [Measurement("energy_j", "J", details={"source": "none", "reason": counter})]
    model, images = make()
    joules, start = counter.joules(), clock()
    sleep(_WINDOW_S)
    idle_w = (counter.joules() - joules) / ((clock() - start) * 1e-9)
    passes = 0
    with inference_mode():
        for _ in range(plan.warmup_runs):
            _pass(model, images)
            alive()
        pacer = Pacer(plan.rate_hz, clock, sleep)

        def one() -> float:
            _pass(model, images)
            return 0.0

        joules, start = counter.joules(), clock()
        while passes == 0 or (clock() - start) * 1e-9 < _WINDOW_S:
            pacer.make(one)
            passes += 1
        window_s = (clock() - start) * 1e-9
        joules = counter.joules() - joules
    details = {
        "source": counter.source,
        "window_s": window_s,
        "passes": passes,
        "images": passes * len(images),
        "idle_w": idle_w,
        "idle_s": _WINDOW_S,
        "idle_joules": idle_w * window_s,
        **pacer.details(),
    }
    return [Measurement("energy_j", "J", (joules,), details=details)]


def _pass(model: Callable[[Any], Any], images: Any) -> None:
    model(images)
    synchronize(images)  # or the window would end with passes still to come


def _find_nvml() -> Counter | str:
    def joules() -> float:  # kept by the GPU itself, since Volta, in millijoules
        return float(nvml.ask("nvmlDeviceGetTotalEnergyConsumption")) * 1e-3

    try:
        nvml = environment.Nvml()
        joules()
        return Counter(f"NVML total energy counter of {nvml.ask('nvmlDeviceGetName')}", joules)
    except NvmlError as error:
        return f"NVML gives no total energy of this GPU: {error}"


def _find_rapl(powercap: Path) -> Counter | str:
    # Zones on top only: those with a second number are part of a package. Of the others "psys" is the whole platform,
    # packages included, and intel-rapl-mmio shows the packages a second time.
    names = {zone: _line(zone / "name") for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1}
    packages = {zone: name for zone, name in names.items() if name.startswith("package")}
    if not packages:
        return f"{powercap} has no counter of a CPU package (RAPL); virtual machines usually have none"
    ranges = {}
    for zone in packages:
        try:
            _number(zone / "energy_uj")
            ranges[zone] = _number(zone / "max_energy_range_uj")
        except OSError as error:
            return (
                f"{error.filename} cannot be read ({error.strerror}): since 2020 Linux lets only root do so; "
                f"`sudo chmod a+r {powercap}/intel-rapl:*/energy_uj` opens it until the next start"
            )
    return Counter(f"RAPL {', '.join(packages.values())}", _rapl(ranges))


def _rapl(ranges: Mapping[Path, int]) -> Callable[[], float]:
    """Return the reader of some packages' counters, each a directory with the range of its counter."""
    last: dict[Path, int] = {}
    total = 0

    def joules() -> float:
        nonlocal total
        for zone, wraps_at in ranges.items():
            now = _number(zone / "energy_uj")
            since = now - last.get(zone, now)
            # At its range the counter begins at 0 again, after a quarter of an hour on a busy server.
            total += since if since >= 0 else since + wraps_at
            last[zone] = now
        return total * 1e-6  # the kernel counts microjoules

    return joules


def _line(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _number(path: Path) -> int:
    return int(_line(path))
