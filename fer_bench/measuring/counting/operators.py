"""What one dispatched operator costs: the convention ``conv+matmul-v1``.

A MAC (multiply-accumulate) is one multiplication whose product is added to a running sum. The convention counts the
MACs of convolutions and of matrix products, attention's included, and nothing else: no bias, normalisation, activation,
pooling or interpolation. A complex MAC is four real ones, and two where one operand is real. Every operator is in one
of four classes, and nothing is silent:

- ``FORMULAS``: counted by a formula on shapes;
- zero: element-wise operators and views (PyTorch's own tags say so), what touches no tensor, and those named in
  ``ZERO_MACS``;
- composite: PyTorch takes it apart into others, which are counted;
- all others: uncounted, those of PyTorch named in ``UNCOUNTED``. They are listed with their calls; the total is then a
  lower bound. A formula that the user registered by ``torch.utils.flop_counter.register_flop_formula`` counts them.

tests/test_operators.py goes through all of PyTorch's operators: a new one must be put into a class here.
To count one more operator, add one function here and its hand calculation to tests/test_operators.py.
"""

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload

CONVENTION = "conv+matmul-v1"

# (positional arguments, keyword arguments, outputs) -> MACs, or None where these shapes do not determine them.
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


@_counts(
    """mm bmm mv dot vdot _int_mm _scaled_mm _scaled_mm_v2 linear mkldnn_linear _mixed_dtypes_linear _weight_int8pack_mm
    _weight_int4pack_mm _weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros _dyn_quant_matmul_4bit
    quantized::linear quantized::linear_relu quantized::linear_leaky_relu quantized::linear_tanh
    quantized::linear_dynamic quantized::linear_relu_dynamic quantized::linear_dynamic_fp16
    quantized::linear_relu_dynamic_fp16 quantized::linear_with_input_q_dq_qweight_dq_output_fp32
    quantized::linear_with_input_q_dq_qweight_dq_relu_output_fp32 onednn::qlinear_pointwise
    onednn::linear_dynamic_fp16 mkl::_mkl_linear mkldnn::_linear_pointwise"""
)
def _matrix_product(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int | None:
    # (..., m, k) x (k, n): every element of the output is a sum of k products. Packed weights hide n, not k.
    if _is_sparse(args[0]) or _is_sparse(args[1]):
        return _sparse_product(*args[:2])
    return int(out.numel() * args[0].shape[-1])


@_counts("addmm _addmm_activation baddbmm addmv addbmm _sparse_addmm sspaddmm")
def _matrix_product_and_sum(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int | None:
    # addbmm also sums over the batch; (b, n, k) x (b, k, m) costs b*n*k*m either way.
    first, second = args[1], args[2]
    if _is_sparse(first) or _is_sparse(second):
        return _sparse_product(first, second)
    columns = second.shape[-1] if second.dim() > 1 else 1
    return int(first.numel() * columns)


_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def _is_sparse(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.layout in _SPARSE


def _sparse_product(first: Any, second: Any) -> int | None:
    # Each stored element of (m, k) meets the n columns of (k, n); one of the second operand meets the m rows.
    sparse = first if _is_sparse(first) else second
    if sparse.is_meta or (_is_sparse(first) and _is_sparse(second)):  # only values say how many there are, or meet
        return None
    stored = sparse._nnz() if sparse.layout == torch.sparse_coo else sparse.values().numel()
    if sparse is second:
        return int(stored * first.shape[-2])
    return int(stored * (second.shape[-1] if second.dim() > 1 else 1))


@_counts("addr")
def _outer_product_and_sum(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return int(out.numel())  # one product is added to each element


@_counts("_grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2")
def _grouped_product(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # Each row (or column) of a 2-d operand belongs to one group; with two such, each k does.
    first, second = args[:2]
    if first.dim() == second.dim() == 2:
        return int(first.numel() * second.shape[-1])
    return int(out.numel() * first.shape[-1])


@_counts("_foreach_mm")
def _products(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return sum(int(product.numel() * first.shape[-1]) for product, first in zip(out, args[0], strict=True))


@_counts("_trilinear")
def _trilinear(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # nn.Bilinear (b, n) x (o, n, m) x (b, m): a sum over n and m for each of b and o. PyTorch multiplies two operands
    # element by element and the third as a matrix product.
    expanded = []
    for tensor, places in zip(args[:3], args[3:6], strict=True):
        for place in places:
            tensor = tensor.unsqueeze(place)
        expanded.append(tensor.shape)
    return math.prod(torch.broadcast_shapes(*expanded))  # type: ignore[no-untyped-call]


_DIRECTLY = 25  # rows up to which PyTorch works Euclidean distances out without a matrix product


@_counts("_cdist_forward")
def _distances(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # Of (..., p, d) and (..., r, d): Euclidean ones by the product of both; others, and few, by differences.
    first, second, norm, mode = args[:4]
    many = max(first.shape[-2], second.shape[-2]) > _DIRECTLY
    by_product = norm == 2 and (mode == 1 or (mode in (None, 0) and many))
    return int(out.numel() * first.shape[-1]) if by_product else 0


@_counts("_euclidean_dist")
def _euclidean_distances(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return int(out.numel() * args[0].shape[-1])


@_counts("linear_backward mkldnn_linear_backward")
def _linear_backward(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    inputs, grad_output, _, wanted = args[:4]
    return int(grad_output.numel() * inputs.shape[-1] * (int(wanted[0]) + int(wanted[1])))


@_counts("matmul_backward")
def _matmul_backward(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    grad_output, first, _, wanted = args[:4]
    return int(grad_output.numel() * first.shape[-1] * (int(wanted[0]) + int(wanted[1])))


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
    conv_depthwise3d _conv_depthwise2d slow_conv_dilated2d slow_conv_dilated3d cudnn_convolution_relu
    cudnn_convolution_add_relu miopen_convolution_relu miopen_convolution_add_relu miopen_depthwise_convolution
    _mps_convolution _nnpack_spatial_convolution"""
)
def _backend_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return _convolution_macs(args[0], args[1], False, out.shape)


@_counts(
    """cudnn_convolution_transpose miopen_convolution_transpose slow_conv_transpose2d slow_conv_transpose3d
    _mps_convolution_transpose"""
)
def _backend_transposed_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return _convolution_macs(args[0], args[1], True, out.shape)


@_counts(
    """quantized::conv1d quantized::conv1d_relu quantized::conv2d quantized::conv2d_relu quantized::conv3d
    quantized::conv3d_relu quantized::conv1d_dynamic quantized::conv2d_dynamic quantized::conv3d_dynamic"""
)
def _quantized_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    weight = args[1].unpack()[0]
    return int(out.shape[0] * math.prod(out.shape[2:]) * weight.numel())


@_counts("quantized::conv_transpose1d quantized::conv_transpose2d quantized::conv_transpose3d")
def _quantized_transposed_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    weight = args[1].unpack()[0]
    return int(args[0].shape[0] * math.prod(args[0].shape[2:]) * weight.numel())


@_counts("conv_tbc")
def _convolution_over_time(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # (time, batch, channels) with a weight (kernel, in, out), each used once at each position of the output.
    return int(out.shape[0] * out.shape[1] * args[1].numel())


@_counts("convolution_backward")
def _convolution_backward(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # The gradients of the input and of the weight cost as much as the forward pass each.
    grad_output, inputs, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    return _convolution_macs(inputs, weight, transposed, grad_output.shape) * (int(wanted[0]) + int(wanted[1]))


def attention_macs(batch_and_heads: int, queries: int, keys: int, width: int, value_width: int) -> int:
    """Return the MACs of scores and of their product with the values."""
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
    return attention_macs(math.prod(lead), queries, key.shape[-2], width, value.shape[-1])


@_counts(
    """_scaled_dot_product_flash_attention_backward _scaled_dot_product_flash_attention_for_cpu_backward
    _scaled_dot_product_efficient_attention_backward _scaled_dot_product_cudnn_attention_backward"""
)
def _scaled_dot_product_attention_backward(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # Two products for each of the forward pass, and the scores once more, which the fused kernels do not keep.
    query, key, value = args[1:4]
    *lead, queries, width = query.shape
    return int(math.prod(lead) * queries * key.shape[-2] * (3 * width + 2 * value.shape[-1]))


@_counts("_efficient_attention_forward _flash_attention_forward")
def _packed_attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int | None:
    # Here the heads come after the positions: query (N, queries, heads, width). Sequences packed to one row
    # (lengths in a tensor) hide them from shapes.
    query, key, value = args[:3]
    if query.dim() != 4 or any(isinstance(lengths, torch.Tensor) for lengths in args[4:6]):
        return None
    batch, queries, heads, width = query.shape
    return attention_macs(batch * heads, queries, key.shape[1], width, value.shape[-1])


@_counts("_native_multi_head_attention")
def _multi_head_attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # query, key and value (N, positions, E): one projection each, the attention itself, the output projection.
    query, key, embed = args[0], args[1], args[3]
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    projections = int(batch * embed * embed * (2 * queries + 2 * keys))
    return projections + attention_macs(batch, queries, keys, embed, embed)


@_counts("_transformer_encoder_layer_fwd")
def _encoder_layer(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # Attention with its four projections over one sequence, then two linear layers E -> hidden -> E.
    source, embed = args[0], args[1]
    hidden = args[14].shape[0]  # the first of the two feed-forward weights, (hidden, E)
    batch, positions = source.shape[0], source.shape[1]
    linear = int(batch * positions * (4 * embed * embed + 2 * embed * hidden))
    return linear + attention_macs(batch, positions, positions, embed, embed)


@_counts("torchvision::deform_conv2d")
def _deformable_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # The convolution over the sampled values; the sampling itself is interpolation, zero by the convention.
    return int(out.shape[0] * math.prod(out.shape[-2:]) * args[1].numel())


# Operators without MACs by the convention, by what they do.
_ZERO_BY_KIND = {
    "move": """alias as_strided _unsafe_view _reshape_alias _reshape_copy clone copy contiguous _to_copy to lift
        lift_fresh detach cat _chunk_cat stack _stack block_diag unsafe_split unsafe_split_with_sizes unsafe_chunk
        constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
        replication_pad3d roll flip rot90 repeat repeat_interleave tril triu pixel_shuffle pixel_unshuffle
        channel_shuffle im2col col2im index index_select index_put _index_put_impl _unsafe_index _unsafe_index_put
        _unsafe_masked_index _unsafe_masked_index_put_accumulate index_add index_copy index_fill index_reduce gather
        scatter scatter_add scatter_reduce put take select_scatter slice_scatter diagonal_scatter as_strided_scatter
        diag_embed masked_fill masked_scatter masked_select where embedding _embedding_bag _embedding_bag_forward_only
        one_hot nonzero nonzero_static resize resize_as _resize_output set complex view_as_real view_as_complex
        transpose t squeeze unsqueeze swapaxes swapdims _lazy_clone _copy_from _copy_from_and_resize _pin_memory
        record_stream shallow_copy_data _pack_padded_sequence to_padded_tensor segment_reduce lu_unpack""",
    "make": """empty empty_like empty_strided empty_permuted new_empty new_empty_strided new_zeros new_ones new_full
        _efficientzerotensor _new_zeros_with_same_feature_meta zeros zeros_like ones ones_like full full_like fill zero
        arange range linspace logspace eye scalar_tensor tensor from_file tril_indices triu_indices fft_fftfreq
        fft_rfftfreq bartlett_window blackman_window hamming_window hann_window kaiser_window rand rand_like randn
        randn_like randint randint_like randperm bernoulli binomial multinomial poisson normal normal_functional
        uniform random exponential cauchy geometric log_normal _standard_gamma _sample_dirichlet dropout native_dropout
        _fused_dropout _cudnn_init_dropout_state _fill_mem_eff_dropout_mask _masked_scale alpha_dropout feature_dropout
        _philox_key_fold_in _philox_key_split _philox_normal _philox_uniform""",
    "normalise": """native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
        _native_batch_norm_legit_functional _batch_norm_with_update _batch_norm_with_update_functional
        _batch_norm_no_update cudnn_batch_norm miopen_batch_norm quantized_batch_norm batch_norm batch_norm_stats
        batch_norm_elemt batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_gather_stats
        batch_norm_gather_stats_with_counts batch_norm_update_stats native_layer_norm native_group_norm _fused_rms_norm
        _weight_norm_interface renorm embedding_renorm""",
    "activate": """hardswish hardshrink softshrink softmax log_softmax _softmax _log_softmax _safe_softmax
        _masked_softmax _nested_tensor_softmax_with_shape _sparse_softmax _sparse_log_softmax log_sigmoid
        log_sigmoid_forward glu _prelu_kernel rrelu_with_noise rrelu_with_noise_functional nan_to_num _add_relu
        floor_divide __irshift__ polar linalg_cross _thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward_impl
        _thnn_fused_gru_cell _transform_bias_rescale_qkv""",
    "pool": """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
        mkldnn_max_pool2d mkldnn_max_pool3d quantized_max_pool1d quantized_max_pool2d quantized_max_pool3d max_unpool2d
        max_unpool3d avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d mkldnn_adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d torchvision::roi_pool
        torchvision::ps_roi_pool""",
    "resize": """upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
        _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_bicubic2d
        upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa _upsample_lanczos2d_aa grid_sampler_2d
        grid_sampler_3d _grid_sampler_2d_cpu_fallback cudnn_grid_sampler affine_grid_generator
        cudnn_affine_grid_generator torchvision::roi_align torchvision::ps_roi_align""",
    "reduce": """mean sum nansum prod amax amin aminmax _aminmax max min argmax argmin any all _is_all_true
        _is_any_true var var_mean std std_mean norm native_norm dist linalg_vector_norm linalg__powsum logsumexp cumsum
        cumprod cummax cummin _cummax_helper _cummin_helper logcumsumexp _logcumsumexp trace count_nonzero median
        nanmedian mode kthvalue topk sort argsort unique_consecutive _unique _unique2 unique_dim unique_dim_consecutive
        bincount histc histogram _histogramdd_bin_edges _histogramdd_from_bin_cts _histogramdd_from_bin_tensors
        hash_tensor bucketize searchsorted isin equal allclose _pdist_forward _sparse_sum _sparse_csr_sum
        _sparse_csr_prod torchvision::nms""",
    "lose": """nll_loss_forward nll_loss2d_forward mse_loss smooth_l1_loss huber_loss soft_margin_loss
        multi_margin_loss multilabel_margin_loss_forward binary_cross_entropy binary_cross_entropy_with_logits
        _ctc_loss _cudnn_ctc_loss miopen_ctc_loss _use_cudnn_ctc_loss _use_miopen_ctc_loss""",
    "inspect": """_linalg_check_errors _local_scalar_dense item is_same_size is_pinned is_set_to is_coalesced
        _assert_async _assert_scalar _assert_tensor_metadata _functional_assert_async _functional_assert_scalar
        _functional_sym_constrain_range _functional_sym_constrain_range_for_size _make_dep_token
        _has_same_storage_numel sym_size dense_dim sparse_dim _dimI _dimV _nnz qscheme q_scale q_zero_point
        q_per_channel_axis q_per_channel_scales q_per_channel_zero_points _fused_sdp_choice
        _validate_compressed_sparse_indices _nested_compute_contiguous_strides_offsets _nested_get_jagged_dummy
        _nested_get_lengths _nested_get_max_seqlen _nested_get_min_seqlen _nested_get_offsets _nested_get_ragged_idx
        _nested_tensor_size _nested_tensor_storage_offsets _nested_tensor_strides""",
    "convert": """_coalesce _coalesced copy_sparse_to_sparse sparse_compressed_tensor sparse_coo_tensor sparse_mask
        _sparse_mask_projection sparse_resize sparse_resize_and_clear resize_as_sparse
        _sparse_compressed_tensor_with_dims _sparse_coo_tensor_with_dims _sparse_coo_tensor_with_dims_and_tensors
        _sparse_broadcast_to _spdiags _to_dense _to_sparse _to_sparse_bsc _to_sparse_bsr _to_sparse_csc _to_sparse_csr
        _to_sparse_semi_structured _sparse_semi_structured_tile _cslt_compress _convert_indices_from_coo_to_csr
        _convert_indices_from_csr_to_coo to_mkldnn mkldnn_reorder_conv2d_weight mkldnn_reorder_conv3d_weight
        _mkldnn_reshape _mkldnn_transpose _nested_from_padded _nested_from_padded_and_nested_example
        _nested_from_padded_tensor _nested_tensor_from_mask _nested_tensor_from_mask_left_aligned
        _nested_tensor_from_tensor_list _jagged_to_padded_dense_forward _padded_dense_to_jagged_forward
        _convert_weight_to_int4pack _convert_weight_to_int4pack_for_cpu _dyn_quant_pack_4bit_weight
        _cudnn_rnn_flatten_weight int_repr dequantize empty_quantized _empty_affine_quantized
        _empty_per_channel_affine_quantized quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic
        _make_per_channel_quantized_tensor _make_per_tensor_quantized_tensor fake_quantize_per_channel_affine_cachemask
        fake_quantize_per_tensor_affine_cachemask _fake_quantize_learnable_per_channel_affine
        _fake_quantize_learnable_per_tensor_affine _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
        _fused_moving_avg_obs_fq_helper _fused_moving_avg_obs_fq_helper_functional quantized::linear_prepack
        quantized::linear_unpack quantized::conv2d_prepack quantized::conv2d_unpack""",
    # The derivative of an operator without MACs has none; these are not named after the operator.
    "differentiate": """embedding_dense_backward slice_backward select_backward value_selecting_reduction_backward
        nll_loss_backward nll_loss2d_backward unfold_backward diagonal_backward index_select_backward
        _embedding_bag_dense_backward _embedding_bag_per_sample_weights_backward _cdist_backward _pdist_backward
        _ctc_loss_backward _dirichlet_grad _standard_gamma_grad _nested_select_backward _nested_sum_backward
        _segment_reduce_backward log_sigmoid_backward multilabel_margin_loss_backward""",
    "train": """_amp_foreach_non_finite_check_and_unscale _amp_update_scale _fused_adagrad _fused_adam _fused_adamw
        _fused_sgd""",
}
ZERO_MACS = frozenset(name for names in _ZERO_BY_KIND.values() for name in names.split())

# Operators of PyTorch that do MACs, or may, and have no formula: by why.
_UNCOUNTED_BY_KIND = {
    "depends on the method": """_fft_c2c _fft_c2r _fft_r2c _linalg_det _linalg_eigh _linalg_eigvals _linalg_slogdet
        _linalg_solve_ex _linalg_svd linalg_cholesky_ex linalg_eig linalg_eigvals linalg_householder_product
        linalg_inv_ex linalg_ldl_factor_ex linalg_ldl_solve linalg_lstsq linalg_lu linalg_lu_factor_ex linalg_lu_solve
        linalg_matrix_exp linalg_matrix_sqrth linalg_pinv linalg_polar linalg_qr linalg_solve_triangular
        cholesky_inverse cholesky_solve _cholesky_solve_helper geqrf ormqr triangular_solve _spsolve
        _compute_linear_combination""",
    "fused recurrent kernels": """_cudnn_rnn _cudnn_rnn_backward miopen_rnn miopen_rnn_backward mkldnn_rnn_layer
        mkldnn_rnn_layer_backward _lstm_mps lstm_mps_backward quantized_gru quantized_lstm""",
    "fused attention kernels of one backend": """_cudnn_attention_forward _cudnn_attention_backward
        _efficient_attention_backward _flash_attention_backward _flash_attention_forward_no_dropout_inplace
        _scaled_dot_product_fused_attention_overrideable_backward _triton_multi_head_attention
        _triton_scaled_dot_attention""",
    "sparse products whose work values decide": """hspmm sparse_sampled_addmm _sparse_sparse_matmul
        _sparse_mm_reduce_impl _sparse_mm_reduce_impl_backward _sparse_semi_structured_addmm
        _sparse_semi_structured_apply _sparse_semi_structured_apply_dense _sparse_semi_structured_linear
        _sparse_semi_structured_mm _cslt_sparse_mm _cslt_sparse_mm_search""",
    "backward kernels of one backend": """_slow_conv2d_backward convolution_backward_overrideable
        mps_convolution_backward mps_convolution_transpose_backward mkldnn_linear_backward_input
        mkldnn_linear_backward_weights""",
}
UNCOUNTED = frozenset(name for names in _UNCOUNTED_BY_KIND.values() for name in names.split())

# How PyTorch names the derivative of an operator after it.
_BACKWARD_ENDINGS = ("_backward_data", "_backward_jvp", "_backward", "_jvp", "_vjp")


def operator_name(func: OpOverload) -> str:
    """Name an operator without its overload: ``aten::convolution``."""
    return func._schema.name


def find_formula(name: str) -> Formula | None:
    """Return an operator's formula: ours, or for want of one what the user registered with PyTorch.

    An operator that works in place has the formula of the one that does not.
    """
    ours = FORMULAS.get(name) or FORMULAS.get(name.removesuffix("_"))
    return ours or _registered_formula(name)


def is_registered(name: str) -> bool:
    """Report whether a formula is the user's, by ``torch.utils.flop_counter.register_flop_formula``."""
    return not (name in FORMULAS or name.removesuffix("_") in FORMULAS) and _registered_formula(name) is not None


def _registered_formula(name: str) -> Formula | None:
    # Without the module nobody can have registered anything; it takes a moment to import.
    module = sys.modules.get("torch.utils.flop_counter")
    namespace, _, short = name.partition("::")
    packet = getattr(getattr(torch.ops, namespace, None), short, None) if module is not None else None
    count = module.flop_registry.get(packet) if module is not None and packet is not None else None
    if count is None or getattr(inspect.unwrap(count), "__module__", "").startswith("torch."):
        return None

    def formula(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
        return int(count(*args, **kwargs, out_val=out)) // 2  # PyTorch's registry has FLOPs, two a MAC

    return formula


def declared_zero(func: OpOverload) -> bool:
    """Report whether an operator does no MACs by the convention: a view, element-wise, or named in ``ZERO_MACS``."""
    if func.is_view or torch.Tag.pointwise in func.tags:
        return True
    schema = func._schema
    if not any("Tensor" in str(value.type) for value in (*schema.arguments, *schema.returns)):
        return True  # it asks something of PyTorch
    full = operator_name(func)
    namespace, name = full.split("::")
    if namespace in ("prim", "prims"):  # PyTorch's own building blocks; prim::device is a fake tensor's `.device`
        return name in {"device", "convert_element_type", "broadcast_in_dim", "view_of", "transpose", "collapse_view"}
    if namespace == "torchvision":
        stem = name.removeprefix("_").removesuffix("_backward")
        return f"{namespace}::{stem}" in ZERO_MACS
    if namespace == "quantized":
        return full in ZERO_MACS
    if namespace != "aten":
        return False
    if name.startswith("_foreach_"):
        name = name.removeprefix("_foreach_").removeprefix("powsum") or "sum"
    functional = name.removesuffix("_")  # add_ is add, in place
    stems = [name.removesuffix(ending) for ending in (*_BACKWARD_ENDINGS, "_copy")]
    stems += [stem.removesuffix("_") for stem in stems]
    return any(stem in ZERO_MACS or _no_arithmetic(stem) for stem in (functional, *stems))


def _no_arithmetic(name: str) -> bool:
    """Report whether PyTorch says of an operator that it is element-wise or a view."""
    packet = getattr(torch.ops.aten, name, None)
    if packet is None:
        return False
    overloads = [getattr(packet, overload) for overload in packet.overloads()]
    return any(torch.Tag.pointwise in one.tags or one.is_view for one in overloads)
