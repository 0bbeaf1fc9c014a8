"""How many layers a network has, by one rule.

Papers count layers by rules that they do not state, and by different ones in one table. Ours, on what really runs:

- A convolution is a convolution module that runs (or a functional call, known by its weight), once however often it
  runs. Transposed convolutions count. ``conv`` takes each one.
- A separable convolution is a depth-wise convolution whose output reaches a point-wise one with at most normalisation
  and activation between. ``conv_separable_once`` takes the pair as one.
- A shortcut convolution stands alone on its way to an addition whose other operand passed two convolutions or more
  since the two ways parted: the projections of residual networks. ``conv_shortcut`` takes these, which ``conv``
  includes.
- A pooling is each call that pools over space: modules, functions, and means, maxima or sums over H and W alike.
- A fully connected layer is a linear layer that runs, once however often; recurrent layers' inner products are not.
"""

from dataclasses import dataclass

from fer_bench.measuring.counting.recorder import Trace


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
