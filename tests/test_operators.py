"""Formulas against hand calculations and brute force; nothing that is dispatched passes in silence."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from fer_bench.measuring.counting.operators import (
    FORMULAS,
    UNCOUNTED,
    ZERO_MACS,
    declared_zero,
    find_formula,
    is_registered,
)
from fer_bench.measuring.counting.trace import trace

aten = torch.ops.aten


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def macs(name, *args, out=None, **kwargs):
    return FORMULAS[name](args, kwargs, out)


@pytest.mark.parametrize(
    ("name", "args", "out", "expected"),
    [
        ("aten::mm", (meta(2, 3), meta(3, 5)), meta(2, 5), 2 * 3 * 5),
        ("aten::_int_mm", (meta(2, 3), meta(3, 5)), meta(2, 5), 2 * 3 * 5),
        ("aten::_scaled_mm", (meta(2, 3), meta(3, 5)), meta(2, 5), 2 * 3 * 5),
        ("aten::bmm", (meta(7, 2, 3), meta(7, 3, 5)), meta(7, 2, 5), 7 * 2 * 3 * 5),
        ("aten::mv", (meta(2, 3), meta(3)), meta(2), 2 * 3),
        ("aten::dot", (meta(3), meta(3)), meta(), 3),
        ("aten::vdot", (meta(3), meta(3)), meta(), 3),
        ("aten::addmm", (meta(5), meta(2, 3), meta(3, 5)), meta(2, 5), 2 * 3 * 5),  # the bias is no MAC
        ("aten::_addmm_activation", (meta(5), meta(2, 3), meta(3, 5)), meta(2, 5), 2 * 3 * 5),
        ("aten::addmv", (meta(2), meta(2, 3), meta(3)), meta(2), 2 * 3),
        ("aten::baddbmm", (meta(1), meta(7, 2, 3), meta(7, 3, 5)), meta(7, 2, 5), 7 * 2 * 3 * 5),
        ("aten::addbmm", (meta(2, 5), meta(7, 2, 3), meta(7, 3, 5)), meta(2, 5), 7 * 2 * 3 * 5),
    ],
)
def test_matrix_products(name, args, out, expected):
    assert macs(name, *args, out=out) == expected


def brute_convolution(inputs, weight, stride, padding, dilation, groups):
    """Count the products of a 2-d convolution one by one, with padding's zeros as any other value."""
    (batch, _, height, width), (out_channels, group_width, *kernel) = inputs, weight
    count = 0
    rows = range(-padding, height + padding - dilation * (kernel[0] - 1), stride)
    columns = range(-padding, width + padding - dilation * (kernel[1] - 1), stride)
    for _ in itertools.product(range(batch), range(out_channels), rows, columns):
        count += sum(1 for _ in itertools.product(range(group_width), range(kernel[0]), range(kernel[1])))
    return count


@pytest.mark.parametrize(
    ("inputs", "weight", "stride", "padding", "dilation", "groups"),
    [
        ((2, 3, 5, 6), (4, 3, 3, 3), 1, 0, 1, 1),
        ((1, 4, 7, 7), (6, 2, 3, 1), 2, 1, 1, 2),
        ((1, 4, 9, 8), (4, 1, 3, 3), 1, 2, 2, 4),
        ((3, 2, 4, 4), (5, 2, 1, 1), 1, 0, 1, 1),
    ],
)
def test_convolutions_against_brute_force(inputs, weight, stride, padding, dilation, groups):
    args = (meta(*inputs), meta(*weight), None, [stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], groups)
    expected = brute_convolution(inputs, weight, stride, padding, dilation, groups)
    out = aten.convolution.default(*args)
    assert macs("aten::convolution", *args, out=out) == expected
    assert macs("aten::_slow_conv2d_forward", *args[:2], out=out) == expected


def test_a_transposed_convolution_uses_each_weight_at_each_place_of_its_input():
    # 3 -> 6 channels, 2x2 kernel, stride 2, 5x4 -> 10x8: every input value meets 6 * 2 * 2 weights.
    args = (meta(2, 3, 5, 4), meta(3, 6, 2, 2), None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1)
    out = aten.convolution.default(*args)
    assert out.shape == (2, 6, 10, 8)
    assert macs("aten::convolution", *args, out=out) == (2 * 3 * 5 * 4) * (6 * 2 * 2)


def test_convolutions_in_one_and_three_dimensions():
    args = (meta(2, 3, 10), meta(4, 3, 3), None, [1], [0], [1], False, [0], 1)
    assert macs("aten::convolution", *args, out=meta(2, 4, 8)) == 2 * 4 * 8 * (3 * 3)
    args = (meta(1, 3, 4, 5, 6), meta(2, 3, 2, 2, 2), None, [1] * 3, [0] * 3, [1] * 3, False, [0] * 3, 1)
    assert macs("aten::convolution", *args, out=meta(1, 2, 3, 4, 5)) == 2 * (3 * 4 * 5) * (3 * 8)
    # One image without a batch.
    args = (meta(3, 10), meta(4, 3, 3), None, [1], [0], [1], False, [0], 1)
    assert macs("aten::convolution", *args, out=meta(4, 8)) == 4 * 8 * (3 * 3)


@pytest.mark.parametrize(
    ("mask", "times"), [([True, True, True], 2), ([False, True, True], 1), ([False, False, True], 0)]
)
def test_each_gradient_of_a_convolution_costs_a_forward_pass(mask, times):
    forward = 2 * 4 * (3 * 4) * (3 * 9)  # batch, channels, 3x4 positions, window
    args = (meta(2, 4, 3, 4), meta(2, 3, 5, 6), meta(4, 3, 3, 3), [4], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, mask)
    assert macs("aten::convolution_backward", *args) == times * forward


def test_the_gradients_of_a_transposed_convolution():
    forward = (2 * 3 * 5 * 4) * (6 * 2 * 2)
    args = (meta(2, 6, 10, 8), meta(2, 3, 5, 4), meta(3, 6, 2, 2), [6], [2, 2], [0, 0], [1, 1], True, [0, 0], 1)
    assert macs("aten::convolution_backward", *args, [True, True, False]) == 2 * forward


def brute_attention(batch, heads, queries, keys, width, value_width):
    """Count the products of softmax(q k^T) v: one query, one key, one channel at a time."""
    count = 0
    for _ in itertools.product(range(batch), range(heads), range(queries), range(keys)):
        count += width  # a score
        count += value_width  # its share of the output
    return count


ATTENTION = {"batch": 2, "heads": 3, "queries": 4, "keys": 5, "width": 6, "value_width": 7}


@pytest.mark.parametrize(
    "name",
    sorted(n for n in FORMULAS if n.startswith("aten::_scaled_dot_product") and not n.endswith("_backward")),
)
def test_attention_against_brute_force(name):
    query, key, value = meta(2, 3, 4, 6), meta(2, 3, 5, 6), meta(2, 3, 5, 7)
    assert macs(name, query, key, value) == brute_attention(**ATTENTION)


@pytest.mark.parametrize(
    "name",
    sorted(n for n in FORMULAS if n.startswith("aten::_scaled_dot_product") and n.endswith("_backward")),
)
def test_the_gradients_of_attention_cost_two_products_each_and_the_scores_again(name):
    query, key, value = meta(2, 3, 4, 6), meta(2, 3, 5, 6), meta(2, 3, 5, 7)
    gradients = 2 * brute_attention(**ATTENTION)
    assert macs(name, meta(2, 3, 4, 7), query, key, value) == gradients + 2 * 3 * 4 * 5 * 6


def test_attention_with_fewer_heads_of_keys_costs_by_the_queries():
    query, key, value = meta(2, 6, 4, 8), meta(2, 2, 5, 8), meta(2, 2, 5, 8)
    name = "aten::_scaled_dot_product_flash_attention"
    assert macs(name, query, key, value) == brute_attention(2, 6, 4, 5, 8, 8)


@pytest.mark.parametrize("name", ["aten::_efficient_attention_forward", "aten::_flash_attention_forward"])
def test_kernels_with_positions_before_heads(name):
    query, key, value = meta(2, 4, 3, 6), meta(2, 5, 3, 6), meta(2, 5, 3, 7)
    tail = (None, None, None, 4, 5)
    assert macs(name, query, key, value, *tail) == brute_attention(**ATTENTION)


def test_packed_sequences_hide_their_lengths():
    lengths = meta(3, dtype=torch.int32)
    rows = [meta(1, 20, 3, 6)] * 3
    assert macs("aten::_efficient_attention_forward", *rows, None, lengths, lengths, 9, 9) is None
    rows = [meta(20, 3, 6)] * 3
    assert macs("aten::_flash_attention_forward", *rows, lengths, lengths, 9, 9) is None


def test_multi_head_attention_whole():
    # N=2, 4 queries, 5 keys, E=6, 3 heads of 2: projections of queries, keys, values, and of the output.
    query, key = meta(2, 4, 6), meta(2, 5, 6)
    projections = 2 * (4 * 36 + 5 * 36 + 5 * 36 + 4 * 36)
    expected = projections + brute_attention(2, 3, 4, 5, 2, 2)
    assert macs("aten::_native_multi_head_attention", query, key, key, 6, 3, meta(18, 6), meta(18)) == expected


def test_encoder_layer_whole():
    # N=2, 4 positions, E=6, 3 heads of 2, hidden 10.
    norms = [meta(6)] * 4
    args = (meta(2, 4, 6), 6, 3, meta(18, 6), meta(18), meta(6, 6), meta(6), True, False, 1e-5, *norms)
    expected = 2 * 4 * (3 * 36 + 36 + 6 * 10 + 10 * 6) + brute_attention(2, 3, 4, 4, 2, 2)
    feed_forward = meta(10, 6), meta(10), meta(6, 10), meta(6)
    assert macs("aten::_transformer_encoder_layer_fwd", *args, *feed_forward) == expected


def test_deformable_convolution_is_a_convolution_of_the_sampled_values():
    # 4 -> 6 channels in 2 groups, 3x3, one image to 5x5: 6 * 25 outputs of 2 * 9 products.
    assert macs("torchvision::deform_conv2d", meta(1, 4, 7, 7), meta(6, 2, 3, 3), out=meta(1, 6, 5, 5)) == 150 * 18


TESTED_ABOVE = {"aten::_convolution", "aten::convolution_overrideable"}  # share aten::convolution's formula


def test_backend_convolutions_share_one_formula():
    inputs, weight, out = meta(1, 3, 5, 5), meta(4, 3, 3, 3), meta(1, 4, 3, 3)
    others = ("backward", "deform", "quantized", "transpose", "tbc")
    for name in FORMULAS:
        if "conv" in name and not any(word in name for word in others) and name not in TESTED_ABOVE:
            args = (inputs, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
            assert macs(name, *args, out=out) == 4 * 9 * 27, name


def test_backend_transposed_convolutions_use_each_weight_at_each_place_of_the_input():
    inputs, weight, out = meta(2, 3, 5, 4), meta(3, 6, 2, 2), meta(2, 6, 10, 8)
    names = [name for name in FORMULAS if "transpose" in name and "quantized" not in name]
    assert len(names) == 5
    for name in names:
        assert macs(name, inputs, weight, None, out=out) == (2 * 3 * 5 * 4) * (6 * 2 * 2), name


def counted(function, *args, device="cpu"):
    """Count what a function dispatches, without a network."""

    class Calls(torch.nn.Module):
        def forward(self, x):
            return function(*args)

    return trace(Calls(), (torch.zeros(1, 1),), device=device)


A, B, C = torch.ones(2, 3), torch.ones(3, 5), torch.ones(2, 5)
BATCH = torch.ones(7, 2, 3), torch.ones(7, 3, 5)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: torch.zeros(2, 5).addmm_(A, B), 2 * 3 * 5),
        (lambda: torch.mm(A, B, out=torch.zeros(2, 5)), 2 * 3 * 5),
        (lambda: torch.zeros(7, 2, 5).baddbmm_(*BATCH), 7 * 2 * 3 * 5),
        (lambda: torch.zeros(2, 5).addbmm_(*BATCH), 7 * 2 * 3 * 5),
        (lambda: torch.zeros(2).addmv_(A, torch.ones(3)), 2 * 3),
        (lambda: torch.addr(C, torch.ones(2), torch.ones(5)), 2 * 5),
        (lambda: torch.zeros(2, 5).addr_(torch.ones(2), torch.ones(5)), 2 * 5),
        (lambda: torch.einsum("ij,jk->ik", A, B), 2 * 3 * 5),
        (lambda: torch.tensordot(A, B, 1), 2 * 3 * 5),
        (lambda: torch.outer(torch.ones(2), torch.ones(5)), 0),  # products, and no sum of them
        (lambda: torch.nn.functional.bilinear(A, C, torch.ones(4, 3, 5)), 2 * 4 * 3 * 5),
        # time 9, batch 2, 3 channels; a kernel of 4 gives 6 steps of 5 channels
        (lambda: torch.conv_tbc(torch.ones(9, 2, 3), torch.ones(4, 3, 5), torch.zeros(5)), 6 * 2 * 4 * 3 * 5),
        (lambda: torch.cdist(torch.ones(30, 3), torch.ones(40, 3)), 30 * 40 * 3),  # by the product
        (lambda: torch.cdist(torch.ones(30, 3), torch.ones(40, 3), p=1.0), 0),  # by differences
        (lambda: torch.cdist(torch.ones(4, 3), torch.ones(5, 3)), 0),  # likewise, being few
        (lambda: torch.cdist(torch.ones(4, 3), torch.ones(5, 3), compute_mode="use_mm_for_euclid_dist"), 4 * 5 * 3),
        (lambda: torch.ones(8, 32).to_sparse() @ torch.ones(32, 6), 8 * 32 * 6),
        (lambda: torch.eye(8).to_sparse() @ torch.ones(8, 6), 8 * 6),
        (lambda: torch.eye(8).to_sparse_csr() @ torch.ones(8, 6), 8 * 6),
        (lambda: torch.sparse.addmm(torch.ones(8, 6), torch.eye(8).to_sparse(), torch.ones(8, 6)), 8 * 6),
        (lambda: torch.mv(torch.eye(8).to_sparse(), torch.ones(8)), 8),
        (lambda: torch.complex(A, A) @ torch.complex(B, B), 4 * 2 * 3 * 5),
        (lambda: torch.nn.functional.conv1d(torch.ones(1, 3, 9) + 0j, torch.ones(5, 3, 2) + 0j), 4 * 8 * 5 * 6),
    ],
)
def test_what_pytorch_runs_is_counted_by_hand(call, expected):
    seen = counted(call)
    assert (seen.macs, seen.uncounted) == (expected, {})


def test_rows_of_a_grouped_product_meet_one_expert_each():
    half = {"dtype": torch.bfloat16}
    rows, experts = meta(96, 32, **half), meta(4, 32, 64, **half)
    assert macs("aten::_grouped_mm", rows, experts, out=meta(96, 64, **half)) == 96 * 32 * 64
    # Gradients of the experts: of the 96 rows each is summed in one of the four products.
    assert macs("aten::_grouped_mm", rows.t(), meta(96, 64, **half), out=meta(4, 32, 64)) == 96 * 32 * 64
    assert macs("aten::_grouped_mm", meta(4, 9, 32), experts, out=meta(4, 9, 64)) == 4 * 9 * 32 * 64


def test_packed_weights_of_quantised_layers_are_unpacked():
    linear = torch.ops.quantized.linear_prepack(
        torch.quantize_per_tensor(torch.ones(5, 3), 1.0, 0, torch.qint8), torch.zeros(5)
    )
    assert counted(lambda: torch.ops.quantized.linear_dynamic(A, linear)).macs == 2 * 3 * 5
    images = torch.quantize_per_tensor(torch.ones(1, 4, 6, 6), 1.0, 0, torch.quint8)
    weight = torch.quantize_per_tensor(torch.ones(8, 2, 3, 3), 1.0, 0, torch.qint8)
    packed = torch.ops.quantized.conv2d_prepack(weight, torch.zeros(8), [1, 1], [0, 0], [1, 1], 2)
    seen = counted(lambda: torch.ops.quantized.conv2d(images, packed, 1.0, 0))
    assert (seen.macs, seen.uncounted) == (16 * 8 * 2 * 9, {})


def test_a_formula_that_the_user_registered_counts_and_is_named():
    name = "fer_bench_tests::registered"

    @torch.library.custom_op(name, mutates_args=())
    def registered(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    assert counted(lambda: registered(A)).uncounted == {name: 1}

    @register_flop_formula(torch.ops.fer_bench_tests.registered)
    def flops(shape, *args, out_shape=None, **kwargs):
        return 2 * 11 * math.prod(shape)

    seen = counted(lambda: registered(A))
    assert (seen.macs, seen.uncounted) == (11 * 2 * 3, {})
    assert seen.operators[name].registered
    assert not is_registered("aten::mm")  # PyTorch's own entries are not the user's


def operators_of_pytorch():
    """Every operator of aten that can be dispatched, with its overloads."""
    for name in sorted({schema.name for schema in torch._C._jit_get_all_schemas()}):
        namespace, _, plain = name.partition("::")
        packet = getattr(aten, plain, None) if namespace == "aten" else None
        if packet is not None:
            overloads = [getattr(packet, overload) for overload in packet.overloads()]
            if not any(_of_torchscript_only(one) for one in overloads):
                yield name, overloads


def _of_torchscript_only(func):
    try:
        is_composite(func)
    except RuntimeError:  # PyTorch's dispatcher does not know it
        return True
    return False


def is_composite(func):
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def test_every_operator_of_pytorch_is_classified():
    """A new version of PyTorch brings new operators: put each into FORMULAS, ZERO_MACS or UNCOUNTED."""
    undecided = [
        name
        for name, overloads in operators_of_pytorch()
        if find_formula(name) is None
        and not all(declared_zero(one) for one in overloads)
        and not all(map(is_composite, overloads))
        and name.removeprefix("aten::") not in UNCOUNTED
        and not name.startswith(("aten::_test_", "aten::_foobar"))
    ]
    assert undecided == []


def test_no_operator_is_in_two_classes():
    assert not {name.removeprefix("aten::") for name in FORMULAS} & UNCOUNTED
    assert not ZERO_MACS & UNCOUNTED
    assert [name for name in UNCOUNTED if not hasattr(aten, name)] == []


def test_every_formula_is_of_an_operator_that_exists():
    import torchvision  # noqa: F401 - registers deform_conv2d

    for name in FORMULAS:
        namespace, plain = name.split("::")
        assert hasattr(getattr(torch.ops, namespace), plain) or "convolution_overrideable" in name or "mps" in name, (
            name
        )


def test_every_zero_is_of_an_operator_that_exists():
    import torchvision  # noqa: F401 - registers its own

    unknown = set()
    for name in ZERO_MACS:
        namespace, _, plain = f"aten::{name}".rpartition("::")
        place = getattr(torch.ops, namespace.removeprefix("aten::"))
        if not any(hasattr(place, plain + ending) for ending in ("", "_", "_backward", "_copy")):
            unknown.add(name)
    assert not unknown


def test_no_operator_is_both_counted_and_zero():
    assert not {name.removeprefix("aten::") for name in FORMULAS} & ZERO_MACS


@pytest.mark.parametrize(
    "func",
    [
        aten.add_.Tensor,
        aten.relu.default,
        aten.view.default,
        aten.native_batch_norm.default,
        aten.native_batch_norm_backward.default,
        aten.threshold_backward.default,
        aten._softmax_backward_data.default,
        aten.max_pool2d_with_indices_backward.default,
        aten.upsample_bilinear2d.default,
        aten.unsafe_split.Tensor,
        aten.transpose_.default,
        torch.ops.prim.device.default,
        # Indices, windows, diagonals: nothing is multiplied and added up.
        aten.floor_divide.default,
        aten.tril_indices.default,
        aten.hann_window.default,
        aten.polar.default,
        aten.diag_embed.default,
        aten.trace.default,
        aten.histc.default,
        aten._pack_padded_sequence.default,
        aten.binary_cross_entropy_with_logits.default,
        aten.renorm.default,
        aten.alias_copy.default,
        aten._foreach_add.List,
        aten._foreach_norm.Scalar,
        aten._fused_adam_.default,
    ],
    ids=str,
)
def test_these_do_no_products(func):
    assert declared_zero(func)


@pytest.mark.parametrize(
    "func",
    [
        aten.mm.default,
        aten.convolution.default,
        aten.convolution_backward.default,
        aten._cdist_forward.default,
        aten._trilinear.default,
        aten._foreach_mm.default,
        aten._fft_r2c.default,
        aten.linalg_inv_ex.default,
        aten._sparse_mm_reduce_impl.default,
        aten._scaled_dot_product_flash_attention_backward.default,
        torch.ops.quantized.linear_dynamic.default,
        torch.ops.quantized.conv2d.new,
    ],
    ids=str,
)
def test_these_are_never_declared_zero(func):
    assert not declared_zero(func)


# Everything of aten that multiplies and adds by design. New names come with new versions of PyTorch: a name that
# tells of a product and is declared zero would be a silent hole.
TELLING = (
    "_mm",
    "addmm",
    "bmm",
    "matmul",
    "conv",
    "attention",
    "linear",
    "einsum",
    "dot",
    "lstm",
    "gru",
    "rnn",
    "bilinear",
    "fft",
)
NOT_PRODUCTS = {
    "upsample_bilinear2d": "interpolation",
    "upsample_linear1d": "interpolation",
    "upsample_trilinear3d": "interpolation",
    "_upsample_bilinear2d_aa": "interpolation",
    "_thnn_fused_lstm_cell": "the element-wise half of a cell, its products are done before",
    "torchvision::roi_align": "interpolation",
    "_thnn_fused_lstm_cell_backward_impl": "the element-wise half of a cell, its products are done before",
    "_thnn_fused_gru_cell": "the element-wise half of a cell, its products are done before",
}


def test_no_product_is_declared_zero_by_its_name():
    packs = ("convert_", "reorder", "pack", "fftfreq", "dropout_state", "flatten_weight")  # and multiplies nothing
    names = {name for name in ZERO_MACS if not any(word in name for word in packs)}
    telling = {name for name in names if any(word in name for word in TELLING)}
    assert telling - NOT_PRODUCTS.keys() == set()


def test_the_convention_is_sums_of_products():
    # One dense layer by hand: 5 outputs, each a sum of 3 products, for 2 rows.
    rows, weight = torch.ones(2, 3), torch.ones(3, 5)
    out: Tensor = rows @ weight
    assert int(out.sum()) == macs("aten::mm", rows, weight, out=out) == math.prod((2, 3, 5))
