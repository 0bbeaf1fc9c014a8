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
from fer_bench.measuring.counting.recorder import Trace
from fer_bench.records.result import Measurement


def measure_macs(trace: Trace) -> Measurement:
    """Give MACs a sample, forward and (if it ran) backward together; the halves stand in the details."""
    names = ", ".join(f"{name} ({calls})" for name, calls in sorted(trace.uncounted.items()))
    return Measurement(
        "macs",
        "count",
        (trace.per_sample(trace.macs),),
        details={
            "convention": CONVENTION,
            "counted_on": trace.counted_on,
            "batch": trace.batch,
            "forward": trace.per_sample(trace.forward_macs),
            "backward": trace.per_sample(trace.backward_macs),
            "uncounted": trace.uncounted,
        },
        warnings=(f"a lower bound: operators without a formula were called: {names}",) if names else (),
    )


def measure_activations(trace: Trace) -> Measurement:
    """Give the peak of activation bytes of the pass, for its whole batch."""
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
