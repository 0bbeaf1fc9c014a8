"""The totals of a pass: MACs by the convention that ``operators`` states, peak activation bytes, layers.

Peak activation bytes are the memory that a pass needs beside the weights, worked out and not measured. The model:
every operator's output takes the bytes of its storage, from the operator's start until PyTorch frees the storage;
views share one; an operator that works in place takes none. The input batch counts, parameters and buffers do
not, since they are there without a pass. The peak is the largest sum alive at one time. In training, what autograd
saves stays alive until the backward pass has used it, and gradients count, those of the parameters to the end;
optimiser state does not.

What it leaves out is what only one backend takes: workspaces inside an operator, rounding of allocations (CUDA: up to
512 bytes each), caching, fragmentation. Fused attention kernels never store the matrix of scores, which the model does
count. So it is the same on every machine, and comparable between networks.

How true it is (tests/test_activations.py): PyTorch's CPU allocator, its every allocation and release recorded by the
profiler, has the same peak within 1 % on six networks, in inference and in training, once what is allocated and
released inside one convolution is set aside and attention runs unfused. With those workspaces (copies of weights and
images in oneDNN's layouts) the CPU's peak is up to 2.1 times higher in inference and 10 % in training.

Papers count layers by rules that they do not state, and by different ones in one table. Ours, on what really runs:

- A convolution is a convolution module that runs (or a functional call, known by its weight), once however often it
  runs. Transposed convolutions count. ``conv`` takes each one.
- A separable convolution is a depth-wise convolution whose output reaches a point-wise one with at most normalisation
  and activation between. ``conv_separable_once`` takes the pair as one.
- A shortcut convolution stands alone on its way to an addition whose other operand passed two convolutions or more
  since the two ways parted: the projections of residual networks. ``conv_shortcut`` takes these, which ``conv``
  includes.
- A pooling is each call that pools over space: modules, functions, and means, maxima or sums over H and W alike.
- A fully connected layer is an ``nn.Linear`` that runs, or a call of ``functional.linear`` with a weight of the network
  elsewhere, once however often. Other products with a stored matrix are none: spectral normalisation's, or the low-rank
  product beside a layer that LoRA adapts. Nor are recurrent layers' inner products. In programs of TorchScript and
  ``torch.export``, which keep operators only, it is a product with a stored matrix.
"""

from dataclasses import dataclass

from fer_bench.measuring.counting.operators import CONVENTION
from fer_bench.measuring.counting.recorder import SEED, Trace
from fer_bench.records import units
from fer_bench.records.result import Json, Measurement

_NAMED = 4  # modules that a sentence names


_UNUSED_SHARE = 0.01  # of the parameters: below it those that no pass uses are no news

OUTSIDE = "not counted: its outputs do not come from the images by PyTorch's operators; the work is done elsewhere"


def reservations(trace: Trace) -> list[str]:
    """Return in which ways the MACs of a pass are not the whole and only truth."""
    said = []
    if trace.decided_by:
        names = ", ".join(sorted(trace.decided_by))
        said.append(f"depends on values ({names}): this is for random weights and images, of seed {SEED}")
    if trace.uncounted:
        names = ", ".join(f"{name} ({calls})" for name, calls in sorted(trace.uncounted.items()))
        said.append(f"a lower bound: operators without a formula were called: {names}")
    if trace.outside and trace.macs:
        said.append("a lower bound: no output comes from the images by PyTorch's operators; the rest is done elsewhere")
    return said


def unused_parameters(trace: Trace, total: int) -> list[str]:
    """Return which parameters the pass did not use, where they are a share of all that matters."""
    unused = sum(trace.unused.values())
    if not total or unused < _UNUSED_SHARE * total:
        return []
    where = dict.fromkeys(name.rpartition(".")[0].partition(".")[0] or name for name in trace.unused)
    few = [*list(where)[:_NAMED], *([f"{len(where) - _NAMED} more"] if len(where) > _NAMED else [])]
    return [f"{units.scaled(unused)} of {units.scaled(total)} parameters are not used by the pass: {', '.join(few)}"]


def measure_macs(trace: Trace) -> Measurement:
    """Return MACs a sample, forward and (if it ran) backward together; the halves stand in the details."""
    details: dict[str, Json] = {
        "convention": CONVENTION,
        "counted_on": trace.counted_on,
        "batch": trace.batch,
        "forward": trace.per_sample(trace.forward_macs),
        "backward": trace.per_sample(trace.backward_macs),
        "uncounted": trace.uncounted,
        "decided_by": sorted(trace.decided_by),
    }
    if is_unknown(trace):
        return Measurement("macs", "count", details=details, failure=OUTSIDE)
    values = (trace.per_sample(trace.macs),)
    return Measurement("macs", "count", values, details=details, warnings=tuple(reservations(trace)))


def is_unknown(trace: Trace) -> bool:
    """Report whether a pass says nothing of a network's MACs: all of them are done outside PyTorch."""
    return trace.outside and not trace.macs


def measure_activations(trace: Trace) -> Measurement:
    """Return the peak of activation bytes of the pass, for its whole batch."""
    details = {"batch": trace.batch, "counted_on": trace.counted_on}
    return Measurement("peak_activation_bytes", "bytes", (trace.peak_bytes,), details=details)


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """Layers by the rule that the module states."""

    conv: int
    conv_separable_once: int
    conv_shortcut: int
    pool: int
    fc: int


def count_layers(trace: Trace) -> LayerCounts:
    """Count the layers that a forward pass used."""

    def distinct(indices: set[int]) -> int:
        return len({trace.convolutions[i].layer for i in indices})

    conv = len({call.layer for call in trace.convolutions})
    return LayerCounts(
        conv=conv,
        conv_separable_once=conv - distinct(trace.separable),
        conv_shortcut=distinct(trace.shortcuts),
        pool=trace.poolings,
        fc=len(trace.linear_layers),
    )
