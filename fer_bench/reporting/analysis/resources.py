"""CPU, memory and energy use of a network, from what the profilers of occupancy and energy recorded.

Paper 004 (tables 4 and 5) gives CPU use as a share of the whole machine: its 16.67 % is one of six cores. Tools such as
``top`` say 100 % for the same, so that both are worked out here: the share of all cores, and the cores.
"""

from fer_bench.records.result import Measurement, Result

# What ``occupancy`` reads, of a stage.
OCCUPANCY = (
    *("interval_s", "process_user_s", "process_system_s", "machine_user_s", "machine_system_s", "machine_steal_s"),
    "rss_bytes",
)


def cores_used(cpu_s: float, interval_s: float) -> float:
    """Return how many cores were kept busy: 1.0 is one of them all the time, in 100 % as ``top`` has it."""
    return cpu_s / interval_s


def machine_share(cpu_s: float, interval_s: float, cores: int) -> float:
    """Return the share of the whole machine's CPU time: one busy core of six is 1/6."""
    return cpu_s / (interval_s * cores)


def occupancy(result: Result, stage: str) -> dict[str, float] | None:
    """Compute the use of a stage over all of its sampled time; None where it was not sampled or failed.

    Args:
        result: of a plan with occupancy.
        stage: "training" or "testing".

    Returns:
        ``cpu_share``, ``process_user_share``, ``process_system_share`` (the process), ``machine_user_share``,
        ``machine_system_share`` (everything that runs, the process included): shares of the whole machine, from 0 to 1;
        ``cores_used`` by the process and ``others_cores``, kept busy or taken away by others; ``rss_bytes``, the
        largest of all samples, and ``memory_share``, its share of the machine's memory;
        ``images_per_s``; ``sampled_s``.
    """

    def total(name: str) -> float:
        return sum(sum(values) for values in result.samples(f"{stage}.{name}"))

    sampled = result.measurement(f"{stage}.interval_s")
    if sampled is None or not sampled.values:
        return None
    seconds, user, system = (total(name) for name in ("interval_s", "process_user_s", "process_system_s"))
    machine_user, machine_system, stolen = (total(f"machine_{name}_s") for name in ("user", "system", "steal"))
    own, cores = user + system, int(sampled.details["cores"])
    rss = max(value for values in result.samples(f"{stage}.rss_bytes") for value in values)
    images = sum(m.details["images"] for m in result.measurements if m.metric == f"{stage}.interval_s" and m.values)
    return {
        "cpu_share": machine_share(own, seconds, cores),
        "process_user_share": machine_share(user, seconds, cores),
        "process_system_share": machine_share(system, seconds, cores),
        "machine_user_share": machine_share(machine_user, seconds, cores),
        "machine_system_share": machine_share(machine_system, seconds, cores),
        "cores_used": cores_used(own, seconds),
        # Busy is also what other virtual machines took away. The kernel counts the machine's time in ticks of 10 ms and
        # the process's exactly: a hair below 0 is none.
        "others_cores": max(0.0, cores_used(sum((machine_user, machine_system, stolen)) - own, seconds)),
        "rss_bytes": rss,
        "memory_share": rss / sampled.details["memory_bytes"],
        "images_per_s": images / seconds,
        "sampled_s": seconds,
    }


def joules_per_image(measurement: Measurement) -> tuple[float, float] | None:
    """Return the joules per image beyond the idle machine's, and the idle machine's over the same time.

    The first is of a difference: where a network uses hardly more than nothing, it may be below 0. Without a
    counter None is returned. The measurement is an ``energy_j``.
    """
    if not measurement.values:
        return None
    images, idle = measurement.details["images"], measurement.details["idle_joules"]
    return (sum(measurement.values) - idle) / images, idle / images
