"""MACs by the convention that ``operators`` states, from a trace."""

from fer_bench.measuring.counting.operators import CONVENTION
from fer_bench.measuring.counting.recorder import Trace
from fer_bench.records.result import Measurement


def per_sample(total: int, batch: int) -> int | float:
    """Divide a batch's total by its size: whole where it is whole, as for every network that does not mix samples."""
    return total // batch if total % batch == 0 else total / batch


def measure_macs(trace: Trace) -> Measurement:
    """Give MACs a sample, forward and (if it ran) backward together; the halves stand in the details."""
    uncounted = trace.uncounted
    warnings = []
    if uncounted:
        names = ", ".join(f"{name} ({calls})" for name, calls in sorted(uncounted.items()))
        warnings.append(f"a lower bound: operators without a formula were called: {names}")
    return Measurement(
        metric="macs",
        unit="count",
        values=(per_sample(trace.macs, trace.batch),),
        details={
            "convention": CONVENTION,
            "counted_on": trace.counted_on,
            "batch": trace.batch,
            "forward": per_sample(trace.forward_macs, trace.batch),
            "backward": per_sample(trace.backward_macs, trace.batch),
            "uncounted": uncounted,
        },
        warnings=tuple(warnings),
    )
