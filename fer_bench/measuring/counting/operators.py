"""What one dispatched operator costs: the convention ``conv+matmul-v1``.

A MAC (multiply-accumulate) is one multiplication whose product is added to a running sum. The convention counts the
MACs of convolutions and of matrix products, attention's included, and nothing else: no bias, normalisation, activation,
pooling or interpolation. Every operator is in one of three classes, and nothing is silent:

- ``FORMULAS``: counted by a formula on shapes;
- declared zero: element-wise operators and views (PyTorch's own tags say so), what touches no tensor, and those named
  in ``ZERO_MACS``;
- all others: uncounted. They are listed with their calls; the total is then a lower bound.

To count one more operator, add one function here and its hand calculation to tests/test_operators.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload

CONVENTION = "conv+matmul-v1"

# (positional arguments, keyword arguments, outputs) -> MACs, or None where these shapes cannot tell.
Formula = Callable[[Sequence[Any], Mapping[str, Any], Any], int | None]

FORMULAS: dict[str, Formula] = {}


def aten(names: str) -> frozenset[str]:
    """Return operators' names as ``operator_name`` gives them: PyTorch's own, but for those with a namespace."""
    return frozenset(name if "::" in name else f"aten::{name}" for name in names.split())


def _counts(names: str) -> Callable[[Formula], Formula]:
    """Register a formula for operators."""

    def register(formula: Formula) -> Formula:
        for name in sorted(aten(names)):
            if name in FORMULAS:
                raise ValueError(f"two formulas for {name}")
            FORMULAS[name] = formula
        return formula

    return register


@_counts("mm bmm mv dot vdot _int_mm _scaled_mm")
def _matrix_product(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # (..., m, k) x (k, n): every element of the output is a sum of k products.
    return int(out.numel() * args[0].shape[-1])


@_counts("addmm _addmm_activation baddbmm addmv addbmm")
def _matrix_product_and_sum(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # addbmm also sums over the batch; (b, n, k) x (b, k, m) costs b*n*k*m either way.
    first, second = args[1], args[2]
    columns = second.shape[-1] if second.dim() > 1 else 1
    return int(first.numel() * columns)


def _convolution_macs(inputs: Any, weight: Any, transposed: bool, out_shape: Sequence[int]) -> int:
    # Each weight is used once at each position: of the output, or for a transposed convolution of the input.
    positions = inputs.shape if transposed else out_shape
    spatial = weight.dim() - 2
    batch = inputs.shape[0] if inputs.dim() == weight.dim() else 1
    return int(batch * math.prod(positions[-spatial:]) * weight.numel())


@_counts("convolution _convolution convolution_overrideable")
def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return _convolution_macs(args[0], args[1], args[6], out.shape)


@_counts(
    """cudnn_convolution miopen_convolution mkldnn_convolution _slow_conv2d_forward slow_conv3d_forward
    conv_depthwise3d _conv_depthwise2d slow_conv_dilated2d slow_conv_dilated3d"""
)
def _backend_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return _convolution_macs(args[0], args[1], False, out.shape)


@_counts("convolution_backward")
def _convolution_backward(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # The gradients of the input and of the weight cost as much as the forward pass each.
    grad_output, inputs, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    return _convolution_macs(inputs, weight, transposed, grad_output.shape) * (int(wanted[0]) + int(wanted[1]))


def _attention_macs(batch_and_heads: int, queries: int, keys: int, width: int, value_width: int) -> int:
    return batch_and_heads * queries * keys * (width + value_width)


@_counts(
    """_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention
    _scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math
    _scaled_dot_product_attention_math_for_mps"""
)
def _scaled_dot_product_attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # query (N, heads, queries, width), key (N, heads, keys, width), value (N, heads, keys, value_width)
    query, key, value = args[:3]
    *lead, queries, width = query.shape
    return _attention_macs(math.prod(lead), queries, key.shape[-2], width, value.shape[-1])


@_counts("_efficient_attention_forward _flash_attention_forward")
def _packed_attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int | None:
    # Here the heads come after the positions: query (N, queries, heads, width). Sequences packed to one row
    # (lengths in a tensor) hide them from shapes.
    query, key, value = args[:3]
    if query.dim() != 4 or any(isinstance(lengths, torch.Tensor) for lengths in args[4:6]):
        return None
    batch, queries, heads, width = query.shape
    return _attention_macs(batch * heads, queries, key.shape[1], width, value.shape[-1])


@_counts("_native_multi_head_attention")
def _multi_head_attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # query, key and value (N, positions, E): one projection each, the attention itself, the output projection.
    query, key, embed = args[0], args[1], args[3]
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    projections = int(batch * embed * embed * (2 * queries + 2 * keys))
    return projections + _attention_macs(batch, queries, keys, embed, embed)


@_counts("_transformer_encoder_layer_fwd")
def _encoder_layer(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # Attention with its four projections over one sequence, then two linear layers E -> hidden -> E.
    source, embed = args[0], args[1]
    hidden = args[14].shape[0]  # the first of the two feed-forward weights, (hidden, E)
    batch, positions = source.shape[0], source.shape[1]
    linear = int(batch * positions * (4 * embed * embed + 2 * embed * hidden))
    return linear + _attention_macs(batch, positions, positions, embed, embed)


@_counts("torchvision::deform_conv2d")
def _deformable_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # The convolution over the sampled values; the sampling itself is interpolation, zero by the convention.
    return int(out.shape[0] * math.prod(out.shape[-2:]) * args[1].numel())


# aten operators without MACs by the convention, by what they do.
_ZERO_BY_KIND = {
    "move": """alias as_strided _unsafe_view _reshape_alias _reshape_copy clone copy contiguous _to_copy to lift
        lift_fresh detach detach_copy cat stack split_with_sizes_copy unbind_copy unfold_copy constant_pad_nd pad
        reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d roll
        flip rot90 repeat repeat_interleave tril triu pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im index
        index_select index_put _unsafe_index _unsafe_index_put index_add index_copy index_fill gather scatter
        scatter_add scatter_reduce select_scatter slice_scatter masked_fill masked_scatter masked_select where embedding
        _embedding_bag one_hot nonzero take resize set_ complex view_as_real view_as_complex unsafe_split
        unsafe_split_with_sizes unsafe_chunk transpose t squeeze unsqueeze swapaxes swapdims""",
    "make": """empty empty_like empty_strided empty_permuted new_empty new_empty_strided new_zeros new_ones new_full
        zeros zeros_like ones ones_like full full_like fill zero arange linspace logspace eye scalar_tensor tensor rand
        rand_like randn randn_like randint randint_like randperm bernoulli multinomial normal uniform random
        exponential dropout native_dropout _fused_dropout alpha_dropout feature_dropout""",
    "normalise": """native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
        _native_batch_norm_legit_functional _batch_norm_with_update _batch_norm_no_update cudnn_batch_norm
        miopen_batch_norm batch_norm_stats batch_norm_elemt native_layer_norm native_group_norm _fused_rms_norm
        _weight_norm_interface renorm""",
    "activate": """hardswish hardshrink softshrink _softmax _log_softmax _safe_softmax _masked_softmax
        log_sigmoid_forward glu _prelu_kernel rrelu_with_noise nan_to_num _thnn_fused_lstm_cell _thnn_fused_gru_cell""",
    "pool": """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
        mkldnn_max_pool2d max_unpool2d max_unpool3d avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d
        _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d""",
    "resize": """upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
        _upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
        _upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler_2d grid_sampler_3d affine_grid_generator""",
    "reduce": """mean sum nansum prod amax amin aminmax max min argmax argmin any all var var_mean std std_mean norm
        linalg_vector_norm logsumexp cumsum cumprod cummax cummin count_nonzero median mode kthvalue topk sort argsort
        unique_consecutive _unique2 unique_dim bincount histc bucketize searchsorted isin equal allclose
        nll_loss_forward nll_loss2d_forward mse_loss smooth_l1_loss huber_loss binary_cross_entropy""",
    "inspect": "_local_scalar_dense item is_same_size _assert_async _assert_scalar sym_size",
    # The derivative of an operator without MACs has none; these are not named after the operator.
    "differentiate": """embedding_dense_backward slice_backward select_backward value_selecting_reduction_backward
        nll_loss_backward nll_loss2d_backward unfold_backward diagonal_backward
        index_select_backward""",
}
ZERO_MACS = frozenset(name for names in _ZERO_BY_KIND.values() for name in names.split())

# How PyTorch names the derivative of an operator after it.
_BACKWARD_ENDINGS = ("_backward_data", "_backward", "_jvp", "_vjp")


def operator_name(func: OpOverload) -> str:
    """Name an operator without its overload: ``aten::convolution``."""
    return func._schema.name


def declared_zero(func: OpOverload) -> bool:
    """Tell whether an operator does no MACs by the convention: a view, element-wise, or named in ``ZERO_MACS``."""
    if func.is_view or torch.Tag.pointwise in func.tags:
        return True
    schema = func._schema
    if not any("Tensor" in str(value.type) for value in (*schema.arguments, *schema.returns)):
        return True  # it asks something of PyTorch
    namespace, name = operator_name(func).split("::")
    if namespace in ("prim", "prims"):  # PyTorch's own building blocks; prim::device is a fake tensor's `.device`
        return name in {"device", "convert_element_type", "broadcast_in_dim", "view_of", "transpose", "collapse_view"}
    if namespace != "aten":
        return False
    functional = name.removesuffix("_")  # add_ is add, in place
    stems = [name.removesuffix(ending) for ending in _BACKWARD_ENDINGS]
    return any(stem in ZERO_MACS or _pointwise(stem) for stem in (functional, *stems))


def _pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )
