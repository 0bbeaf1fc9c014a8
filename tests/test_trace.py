"""The pass: twenty traps of other counters, on every way, in every grad mode; the network left as it was."""

import contextlib
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_bench import find, list_models
from fer_bench.measuring.counting.trace import trace
from fer_bench.networks import build
from fer_bench.records.errors import CountingError

WAYS = ("meta", "fake", "cpu")


class Sees(nn.Module):
    """A network of one function; members may be modules or parameters."""

    def __init__(self, function, **members):
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, nn.Parameter(member) if isinstance(member, torch.Tensor) else member)

    def forward(self, x):
        return self.function(self, x)


def attend(_, x):
    return (x @ x.transpose(-2, -1)).softmax(-1) @ x


def thrice(s, x):
    return s.conv(s.conv(s.conv(x)))


def aliased():
    network = nn.Sequential(nn.Conv2d(4, 4, 1))
    network.again = network[0]
    return Sees(lambda s, x: s.inner[0](x), inner=network)


def deformable(s, x):
    from torchvision.ops import deform_conv2d

    return deform_conv2d(x, x.new_zeros(x.shape[0], 18, 4, 4), s.w)


def tied():
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    return nn.Sequential(first, second)


SEQUENCE = (5, 8)  # five positions, eight channels
HEADS = (2, 5, 8)
ATTENTION = 2 * (5 * 5 * 8) * 2  # two heads; scores and weighted sums
MHA = 5 * 8 * 8 * 4 + 2 * (5 * 5 * 4) * 2  # four projections; two heads of four channels
# Gates of both weights: 4 * 4 * (8 + 4) a step and layer one; its two directions feed 8 to the second.
LSTM = 5 * (4 * 4 * (8 + 4)) * 2 * 2

# name: (network, one sample's shape, MACs a sample by hand)
TRAPS = {
    "conv, groups and dilation": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 2, 3, dilation=2, padding=2)),
        (4, 8, 8),
        6 * 36 * (2 * 9) + 2 * 36 * (6 * 9),
    ),
    "conv with bias": (lambda: nn.Conv2d(3, 4, 3, bias=True), (3, 6, 6), 4 * 16 * 27),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(3, 6, 2, stride=2), (3, 5, 5), (3 * 25) * (6 * 4)),
    "F.conv2d": (lambda: Sees(lambda s, x: F.conv2d(x, s.w), w=torch.randn(4, 3, 3, 3)), (3, 6, 6), 4 * 16 * 27),
    "F.linear": (lambda: Sees(lambda s, x: F.linear(x, s.w), w=torch.randn(3, 8)), SEQUENCE, 5 * 8 * 3),
    "x @ w": (lambda: Sees(lambda s, x: x @ s.w, w=torch.randn(8, 3)), SEQUENCE, 5 * 8 * 3),
    "q @ k.T, softmax, @ v": (lambda: Sees(attend), HEADS, ATTENTION),
    "einsum": (
        lambda: Sees(lambda s, x: torch.einsum("bnc,oc->bno", x, s.w), w=torch.randn(3, 8)),
        SEQUENCE,
        5 * 8 * 3,
    ),
    "scaled_dot_product_attention": (
        lambda: Sees(lambda _, x: F.scaled_dot_product_attention(x, x, x)),
        HEADS,
        ATTENTION,
    ),
    "MultiheadAttention": (
        lambda: Sees(lambda s, x: s.a(x, x, x)[0], a=nn.MultiheadAttention(8, 2, batch_first=True)),
        SEQUENCE,
        MHA,
    ),
    "TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        SEQUENCE,
        MHA + 5 * (8 * 16 + 16 * 8),
    ),
    "one conv called 3 times": (
        lambda: Sees(thrice, conv=nn.Conv2d(3, 3, 3, padding=1)),
        (3, 6, 6),
        3 * (3 * 36 * 27),
    ),
    "module aliased at two paths": (aliased, (4, 3, 3), 4 * 9 * 4),
    "LSTM": (lambda: nn.LSTM(8, 4, batch_first=True, bidirectional=True, num_layers=2), SEQUENCE, LSTM),
    "raw parameter beside a conv": (
        lambda: Sees(lambda s, x: s.conv(x) + s.p, conv=nn.Conv2d(3, 4, 1), p=torch.ones(4, 1, 1)),
        (3, 5, 5),
        4 * 25 * 3,
    ),
    "deformable convolution": (lambda: Sees(deformable, w=torch.randn(5, 3, 3, 3)), (3, 6, 6), 5 * 16 * 27),
    "tied weights": (tied, (6,), 2 * 36),
}
assert LSTM == 5 * 192 * 2 + 5 * 192 * 2  # the second layer sees 2 * 4 = 8 channels, as many as the first


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trap", TRAPS)
def test_trap_is_counted_by_hand_in_every_grad_mode_and_batch(trap, way):
    make, shape, expected = TRAPS[trap]
    model = make().eval()
    peaks = set()
    for context in (contextlib.nullcontext, torch.no_grad, torch.inference_mode):
        for batch in (1, 5):
            with context():
                seen = trace(model, (torch.randn(batch, *shape),), device=way)
            assert (seen.macs, seen.uncounted, seen.counted_on) == (batch * expected, {}, way)
            peaks.add((batch, seen.peak_bytes))
    assert len(peaks) == 2  # one for each batch, whatever the grad mode


@pytest.mark.parametrize("trap", TRAPS)
def test_trap_needs_no_fall_back(trap):
    make, shape, expected = TRAPS[trap]
    seen = trace(make().eval(), (torch.empty(1, *shape, device="meta"),))
    assert (seen.macs, seen.counted_on) == (expected, "meta")


def test_a_network_made_in_inference_mode_counts_and_trains_on_paper():
    with torch.inference_mode():
        model, images = nn.Conv2d(3, 4, 1), torch.randn(2, 3, 5, 5)
    for way in WAYS:
        assert trace(model, (images,), device=way).macs == 2 * 4 * 25 * 3


# --- never silently zero ---------------------------------------------------------------------------------------------


@torch.library.custom_op("fer_bench_tests::double", mutates_args=())
def _double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@torch.library.custom_op("fer_bench_tests::triple", mutates_args=())
def _triple(x: torch.Tensor) -> torch.Tensor:
    return x * 3


@_triple.register_fake
def _(x):
    return torch.empty_like(x)


def test_a_custom_operator_is_listed_as_uncounted():
    model = Sees(lambda s, x: _triple(_triple(s.l(x))), l=nn.Linear(8, 3))
    seen = trace(model, (torch.randn(2, 8),))
    assert seen.uncounted == {"fer_bench_tests::triple": 2}
    assert (seen.macs, seen.counted_on) == (2 * 8 * 3, "meta")


def test_a_custom_operator_without_shapes_is_run_on_the_cpu_and_listed():
    seen = trace(Sees(lambda s, x: _double(s.l(x)), l=nn.Linear(8, 3)), (torch.randn(2, 8),))
    assert (seen.uncounted, seen.macs, seen.counted_on) == ({"fer_bench_tests::double": 1}, 2 * 8 * 3, "cpu")


def test_a_quantised_linear_layer_is_counted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 3)), {nn.Linear})
    seen = trace(model, (torch.randn(2, 8),))
    assert (seen.uncounted, seen.macs) == ({}, 2 * 8 * 3)


def test_operators_without_a_formula_are_listed_with_their_calls():
    seen = trace(Sees(lambda s, x: torch.fft.rfft(torch.fft.rfft(x).real).real), (torch.randn(2, 8),))
    assert seen.uncounted == {"aten::_fft_r2c": 2}
    inverse = trace(Sees(lambda s, x: torch.linalg.inv(x @ x.T)), (torch.randn(2, 8),))
    assert list(inverse.uncounted) == ["aten::linalg_inv_ex"]


def test_every_operator_of_a_pass_is_of_one_of_three_kinds():
    seen = trace(TRAPS["TransformerEncoderLayer"][0]().eval(), (torch.randn(2, *SEQUENCE),))
    assert {op.kind for op in seen.operators.values()} == {"counted", "zero"}
    assert all(op.calls > 0 for op in seen.operators.values())
    assert sum(op.macs for op in seen.operators.values()) == sum(seen.modules.values()) == seen.macs


# --- falling back ----------------------------------------------------------------------------------------------------

FALL_BACKS = {
    "a constant on the CPU": (lambda s, x: s.l(x + torch.arange(8.0, device="cpu")), "fake"),
    ".item()": (lambda s, x: s.l(x) * (1 if x.sum().item() > 0 else 2), "cpu"),
    "nonzero": (lambda s, x: s.l(x[x.sum(1) < 1e9]), "cpu"),
    "numpy": (lambda s, x: s.l(torch.from_numpy(x.detach().numpy() * 2)), "cpu"),
}


@pytest.mark.parametrize("case", FALL_BACKS)
@pytest.mark.parametrize("context", [contextlib.nullcontext, torch.inference_mode])
def test_what_meta_cannot_run_is_counted_elsewhere_and_says_so(case, context):
    function, way = FALL_BACKS[case]
    with context():
        seen = trace(Sees(function, l=nn.Linear(8, 3)), (torch.randn(2, 8),))
    assert (seen.macs, seen.counted_on, seen.uncounted) == (2 * 8 * 3, way, {})


def test_weights_without_values_have_nothing_to_fall_back_to():
    with torch.device("meta"):
        model = Sees(FALL_BACKS[".item()"][0], l=nn.Linear(8, 3))
    with pytest.raises(CountingError, match="needs values, and the network has none"):
        trace(model, (torch.empty(2, 8),))


def test_an_error_names_the_network_and_the_shapes():
    with pytest.raises(CountingError, match=r"Linear cannot run on input \(2, 9\)"):
        trace(nn.Linear(8, 3), (torch.randn(2, 9),))


def test_a_network_that_cannot_train_says_why():
    with pytest.raises(CountingError, match="trainable"):
        trace(nn.ReLU(), (torch.randn(2, 8),), train=True)


def test_wrappers_are_taken_off():
    assert trace(nn.DataParallel(nn.Linear(8, 3)), (torch.randn(2, 8),)).modules == {"": 48}


# --- the network is left as it was ------------------------------------------------------------------------------------


class Busy(nn.Module):
    """Stores on itself, changes buffers, drops out, keeps gradients and hooks."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.mask = None
        self.fc.bias.requires_grad_(False)

    def forward(self, x):
        self.calls += 1
        self.mask = x > 0
        self.last = F.dropout(self.norm(self.conv(x)).mean((2, 3)), training=self.training)
        return self.fc(self.last)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_network_is_left_as_it_was(way, train):
    model = Busy().train(train)
    model(torch.randn(2, 3, 6, 6)).sum().backward()
    called = []
    model.conv.register_forward_hook(lambda *_: called.append(1))
    state = {name: (value.clone(), value.data_ptr()) for name, value in model.state_dict().items()}
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    wanted = [p.requires_grad for p in model.parameters()]
    kept = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    images = torch.randn(2, 3, 6, 6)
    before, generator = images.clone(), torch.random.get_rng_state()

    trace(model, (images,), train=train, device=way)

    assert called == [1]
    assert list(model.state_dict()) == list(state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name][0])
        assert value.data_ptr() == state[name][1]
    for name, parameter in model.named_parameters():
        assert gradients[name] is None if parameter.grad is None else torch.equal(parameter.grad, gradients[name])
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(module.training is train for module in model.modules())
    assert {name: value for name, value in vars(model).items() if not name.startswith("_")}.keys() == kept.keys()
    assert all(vars(model)[name] is value for name, value in kept.items())
    assert torch.equal(images, before)
    assert images.grad is None
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert len(model.conv._forward_hooks) == 1
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_switches_of_pytorch_are_put_back_even_after_an_error():
    def switches():
        cuda = torch.backends.cuda
        return (
            torch._C._get_mkldnn_enabled(),
            torch._C._get_cudnn_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
            cuda.flash_sdp_enabled(),
            cuda.mem_efficient_sdp_enabled(),
            cuda.cudnn_sdp_enabled(),
            torch.is_grad_enabled(),
        )

    before = switches()
    trace(nn.Linear(8, 3), (torch.randn(2, 8),))
    with pytest.raises(CountingError):
        trace(nn.Linear(8, 3), (torch.randn(2, 9),))
    assert switches() == before


# --- modules and training ------------------------------------------------------------------------------------------


def test_macs_go_to_the_innermost_module():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Sees(lambda s, x: s.conv(x) @ x, conv=nn.Conv2d(4, 4, 1)))
    seen = trace(network, (torch.randn(1, 3, 5, 5),))
    assert seen.modules == {"0": 4 * 25 * 3, "1.conv": 4 * 25 * 4, "1": 4 * 5 * 5 * 5}


def test_a_module_that_fails_and_is_caught_does_not_shift_the_paths():
    def careful(s, x):
        with contextlib.suppress(RuntimeError):
            s.wrong(x)
        return s.right(x)

    seen = trace(Sees(careful, wrong=nn.Linear(9, 3), right=nn.Linear(8, 3)), (torch.randn(1, 8),))
    assert seen.modules == {"right": 24}


def test_a_training_step_of_linear_layers_by_hand():
    # Forward 8*6 + 6*3; backward: both weights' gradients, and the gradient of the hidden layer but not of the images.
    seen = trace(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), (torch.randn(1, 8),), train=True)
    assert (seen.forward_macs, seen.backward_macs) == (48 + 18, 48 + 18 + 18)
    assert seen.uncounted == {}


def test_a_training_step_of_convolutions_by_hand():
    first, second = 4 * 16 * 27, 2 * 4 * 36  # 6x6 -> 4x4 -> 2x2
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    seen = trace(network, (torch.randn(2, 3, 6, 6),), train=True)
    assert (seen.forward_macs, seen.backward_macs) == (2 * (first + second), 2 * (first + 2 * second))


def test_frozen_weights_have_no_gradient_to_work_out():
    network = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3)).requires_grad_(False)
    network[1].requires_grad_(True)
    assert trace(network, (torch.randn(1, 8),), train=True).backward_macs == 18


# --- the zoo ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_the_zoo_is_counted_whole_and_as_pytorch_counts_it(name):
    spec = find(name)
    model = build.create(spec, device="meta")
    images = torch.empty(1, *spec.input_shape, device="meta")
    seen = trace(model, (images,))
    assert (seen.counted_on, seen.uncounted) == ("meta", {})
    if "macs" in spec.expected:
        assert seen.macs == spec.expected["macs"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    assert 2 * seen.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", ["mini_xception", "mtcnn_onet", "vgg13_ferplus", "simple_cnn"])
@pytest.mark.parametrize("way", ["fake", "cpu"])
def test_the_other_ways_see_the_same_network(name, way):
    spec = find(name)
    model = build.create(spec)
    images = torch.zeros(2, *spec.input_shape)
    meta, other = trace(model, (images,)), trace(model, (images,), device=way)
    assert (other.macs, other.peak_bytes, other.modules) == (meta.macs, meta.peak_bytes, meta.modules)
    assert other.convolutions == meta.convolutions


def product(s, x):
    return torch.matmul(x, s.weight)


def test_a_pool_that_outlives_the_pass_serves_each_module_and_is_left_as_it_was():
    with ThreadPoolExecutor(1) as pool:

        def in_the_pool(s, x):
            return pool.submit(product, s, x).result()

        network = nn.Sequential(*(Sees(in_the_pool, weight=torch.ones(8, 8)) for _ in range(2)))
        seen = trace(network, (torch.ones(1, 8),))
        assert seen.modules == {"0": 64, "1": 64}
        assert pool.submit(torch.is_grad_enabled).result()
        pool.submit(torch.matmul, torch.ones(8, 8), torch.ones(8, 8)).result()
        assert seen.macs == 128


def test_a_thread_that_outlives_the_pass_adds_nothing_to_it():
    over, threads = threading.Event(), []

    def leaves_one(s, x):
        threads.append(threading.Thread(target=lambda: over.wait(60) and product(s, torch.ones(1, 8))))
        threads[0].start()
        return product(s, x)

    seen = trace(Sees(leaves_one, weight=torch.ones(8, 8)), (torch.ones(1, 8),))
    over.set()
    threads[0].join()
    assert seen.macs == 64


def test_what_other_threads_of_the_program_compute_is_not_counted():
    begun, done = threading.Event(), threading.Event()

    def bystander():
        begun.wait(60)
        started = threading.Thread(target=torch.matmul, args=(torch.ones(8, 8), torch.ones(8, 8)))
        started.start()
        started.join()
        done.set()

    def waits(s, x):
        begun.set()
        assert done.wait(60)
        return product(s, x)

    other = threading.Thread(target=bystander)
    other.start()
    assert trace(Sees(waits, weight=torch.ones(8, 8)), (torch.ones(1, 8),)).macs == 64
    other.join()


def test_passes_in_two_threads_leave_the_process_as_it_was():
    """On overlapping passes, the second would restore what the first had put there."""
    started, submit = threading.Thread.start, ThreadPoolExecutor.submit
    switches = (torch.backends.mha.get_fastpath_enabled, torch.backends.cuda.flash_sdp_enabled)
    before = [switch() for switch in switches]
    first_inside, second_inside, first_over = threading.Event(), threading.Event(), threading.Event()
    counts = []

    def first(s, x):
        first_inside.set()
        second_inside.wait(1)  # in vain where passes take turns
        return product(s, x)

    def second(s, x):
        second_inside.set()
        first_over.wait(60)
        return product(s, x)

    def after_the_first():
        first_inside.wait(60)
        counts.append(trace(Sees(second, weight=torch.ones(8, 8)), (torch.ones(1, 8),)).macs)

    other = threading.Thread(target=after_the_first)
    other.start()
    counts.append(trace(Sees(first, weight=torch.ones(8, 8)), (torch.ones(1, 8),)).macs)
    first_over.set()
    other.join()
    assert counts == [64, 64]
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == (started, submit)
    assert [switch() for switch in switches] == before


@torch.library.custom_op("fer_bench_tests::in_threads", mutates_args=())
def in_threads(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """An operator whose kernel waits for a thread that computes."""
    return ThreadPoolExecutor(1).submit(torch.matmul, x, weight).result(10)


def test_an_operator_may_wait_for_a_thread():
    network = Sees(lambda s, x: in_threads(x, s.weight), weight=torch.ones(8, 8))
    seen = trace(network, (torch.ones(1, 8),), device="cpu")
    assert "fer_bench_tests::in_threads" in seen.uncounted


def test_a_complex_convolution_in_one_thread_leaves_the_real_ones_of_another_alone():
    kernel = torch.ones(4, 3, 1, 1)

    def side_by_side(s, x):
        made, answers = threading.Event(), []

        class Waits(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                if "convolution" in str(func) and not made.is_set():
                    real = threading.Thread(target=lambda: answers.append(F.conv2d(x, kernel.to(x.device))))
                    real.start()
                    real.join()
                    made.set()
                return func(*args, **(kwargs or {}))

        with Waits():
            F.conv2d(x + 0j, kernel.to(x.device) + 0j)
        return answers[0]

    # 8 x 8 places of 3 x 4 products: four real MACs for each complex one, and the real convolution's own.
    assert trace(Sees(side_by_side), (torch.ones(1, 3, 8, 8),)).macs == 5 * 64 * 12
