"""Peak activation bytes: the memory that a pass needs beside the weights, worked out and not measured.

The model: every operator's output takes the bytes of its storage, from the operator's start until PyTorch frees the
storage; views share one; an operator that works in place takes none. The input batch counts, parameters and buffers do
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
"""

from fer_bench.measuring.counting.recorder import Trace
from fer_bench.records.result import Measurement


def measure_activations(trace: Trace) -> Measurement:
    """Give the peak of activation bytes of the pass, for its whole batch."""
    return Measurement(
        metric="peak_activation_bytes",
        unit="bytes",
        values=(trace.peak_bytes,),
        details={"batch": trace.batch, "counted_on": trace.counted_on},
    )
