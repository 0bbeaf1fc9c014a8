"""Networks as users write them, other than plain modules of plain tensors: counted, or refused in our own words."""

import dataclasses
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer_bench import count, find, trace
from fer_bench.measuring.counting.params import count_parameters
from fer_bench.measuring.counting.totals import OUTSIDE
from fer_bench.networks.spec import Source
from fer_bench.records.errors import BuildError, CountingError

CONVOLUTION = 32 * 32 * 27 * 8  # 3 -> 8 channels, 3x3, padded, at 32x32
HEAD = 8 * 7
SMALL = CONVOLUTION + HEAD
PARAMETERS = 3 * 8 * 9 + 8 + 8 * 7 + 7


class Small(nn.Module):
    """A convolution and a fully connected layer over its mean."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 7)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


class Sees(Small):
    """The same, with another way through it."""

    def __init__(self, function, **members):
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self.function(self, x)


@pytest.fixture
def counted(monkeypatch):
    """Count a factory as the command line does."""

    def run(factory, shape=(3, 32, 32), **options):
        import fer_bench_odd_factories as module

        module.build = factory
        spec = dataclasses.replace(
            find("fer_bench_odd_factories:build"),
            source=Source("module", "build", module="fer_bench_odd_factories"),
            input_shape=shape,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return count(spec, **options)

    import sys
    import types

    monkeypatch.setitem(sys.modules, "fer_bench_odd_factories", types.ModuleType("fer_bench_odd_factories"))
    return run


def plain():
    return Small()


def compiled_in_place():
    network = Small()
    network.compile()
    return network


def compiled_forward():
    network = Small()
    network.forward = torch.compile(network.forward)
    return network


def compiled_part():
    network = Small()
    network.conv = torch.compile(network.conv)
    return network


def scripted():
    return torch.jit.script(Small())


def traced():
    return torch.jit.trace(Small().cpu().eval(), torch.zeros(1, 3, 32, 32, device="cpu"))


def frozen():
    return torch.jit.freeze(torch.jit.script(Small().cpu().eval()))


def exported():
    return torch.export.export(Small().cpu().eval(), (torch.zeros(1, 3, 32, 32, device="cpu"),))


def exported_module():
    return exported().module()


def symbolic():
    return torch.fx.symbolic_trace(Small())


def lazy():
    return nn.Sequential(
        nn.LazyConv2d(8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(7)
    )


def with_norm():
    network = Small()
    nn.utils.parametrizations.weight_norm(network.conv)
    return network


def moved():
    return Sees(lambda s, x: Small.forward(s, x.cuda() * torch.ones(1, device="cuda").to("cuda:0")))


def checkpointed():
    from torch.utils.checkpoint import checkpoint

    return Sees(lambda s, x: checkpoint(lambda y: Small.forward(s, y), x, use_reentrant=False))


def under_autocast():
    def forward(s, x):
        with torch.autocast("cpu", torch.bfloat16):
            return Small.forward(s, x)

    return Sees(forward)


def inference_inside():
    def forward(s, x):
        with torch.inference_mode():
            return Small.forward(s, x)

    return Sees(forward)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * 2

    @staticmethod
    def backward(context, gradient):
        return gradient * 2


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


class NoReturn(Small):
    def train(self, mode=True):
        super().train(mode)  # and returns nothing


class Slots(Small):
    __slots__ = ("kept",)

    def forward(self, *images):
        self.kept = images[0]
        return super().forward(self.kept)


def in_a_thread(s, x):
    answers = SimpleQueue()
    thread = threading.Thread(target=lambda: answers.put(Small.forward(s, x)))
    thread.start()
    thread.join()
    return answers.get()


def in_a_pool(s, x):
    with ThreadPoolExecutor(2) as pool:
        return pool.submit(Small.forward, s, x).result()


EARLIER = ThreadPoolExecutor(1)


def in_an_earlier_pool(s, x):
    EARLIER.submit(int).result()
    return EARLIER.submit(Small.forward, s, x).result()


class Worker(Small):
    """A network whose own thread has been waiting for work since it was made."""

    def __init__(self):
        super().__init__()
        self.work, self.done = SimpleQueue(), SimpleQueue()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            self.done.put(self.conv(self.work.get()))

    def forward(self, x):
        self.work.put(x)
        return self.head(torch.relu(self.done.get(timeout=60)).mean((2, 3)))


def with_cached_grid(s, x):
    """Keep a tensor for the next call, and then need values, which the first way of the pass does not have."""
    y = s.conv(x) + s.grids.setdefault("x", torch.arange(x.shape[-1], device=x.device))
    int(torch.ones(1, device=s.conv.weight.device).item())
    return s.head(y.mean((2, 3)))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Small()

    def forward(self, x):
        return torch.func.functional_call(self.inner, dict(self.inner.named_parameters()), (x,))


NETWORKS = {
    factory.__name__: factory
    for factory in (
        *(plain, compiled_in_place, compiled_forward, compiled_part, scripted, traced, exported, exported_module),
        *(symbolic, lazy, with_norm, moved, checkpointed, under_autocast, inference_inside),
    )
} | {
    "data parallel": lambda: nn.DataParallel(Small()),
    "half": lambda: Small().half(),
    "bfloat16": lambda: Small().bfloat16(),
    "channels last": lambda: Small().to(memory_format=torch.channels_last),
    "autograd function": lambda: Sees(lambda s, x: Small.forward(s, Doubled.apply(x))),
    "dataclass": lambda: Sees(lambda s, x: Output(Small.forward(s, x))),
    "dictionary": lambda: Sees(lambda s, x: {"logits": Small.forward(s, x), "nothing": None}),
    "list": lambda: Sees(lambda s, x: [Small.forward(s, x), x]),
    "train returns nothing": NoReturn,
    "slots and a list of arguments": Slots,
    "thread": lambda: Sees(in_a_thread),
    "pool": lambda: Sees(in_a_pool),
    "earlier pool": lambda: Sees(in_an_earlier_pool),
    "worker thread": Worker,
    "cache of tensors": lambda: Sees(with_cached_grid, grids={}),
    "functional call": Functional,
    "stubs": lambda: nn.Sequential(torch.ao.quantization.QuantStub(), Small(), torch.ao.quantization.DeQuantStub()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_counts_the_same_in_whatever_form_it_comes(counted, name):
    row = counted(NETWORKS[name]).row()
    assert (row["macs"], row["uncounted"]) == (SMALL, {})
    assert not [text for text in row["reservations"] if "elsewhere" in text]
    extra = 8 if name == "with_norm" else 0  # a length for each of 8 filters
    assert row["parameters"]["total"] == PARAMETERS + extra
    assert (row["layers"]["conv"], row["layers"]["fc"]) == (1, 1)


@torch.library.custom_op("fer_bench_tests::in_a_thread", mutates_args=())
def operator_in_a_thread(x: torch.Tensor) -> torch.Tensor:
    answers = SimpleQueue()
    thread = threading.Thread(target=lambda: answers.put(x.relu()))
    thread.start()
    thread.join()
    return answers.get(timeout=60)


def test_an_operator_of_the_user_may_wait_for_threads(counted):
    row = counted(lambda: Sees(lambda s, x: Small.forward(s, operator_in_a_thread(x)))).row()
    assert (row["macs"], row["uncounted"]) == (SMALL, {"fer_bench_tests::in_a_thread": 1})


def complex_network():
    network = Sees(lambda s, x: torch.view_as_real(s.mix(s.conv(x + 0j).mean((2, 3)))))
    network.conv = nn.Conv2d(3, 8, 3, padding=1, dtype=torch.complex64)
    network.mix = nn.Linear(8, 7, dtype=torch.complex64)
    return network


def flexible():
    from torch.nn.attention.flex_attention import flex_attention

    # Of 3 "heads" of 32 positions and 32 channels.
    return Sees(lambda s, x: flex_attention(x, x, x))


def branching():
    def forward(s, x):
        return torch.cond(x.sum() > 0, lambda y: s.conv(y).mean((2, 3)), lambda y: s.conv(y).amax((2, 3)), (x,))

    return Sees(forward)


def looping():
    def forward(s, x):
        steps = torch.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, s.step(y)), (torch.zeros(1).int(), x))
        return steps[1]

    return Sees(forward, step=nn.Conv2d(3, 3, 1))


def nested():
    def forward(s, x):
        rows = torch.nested.nested_tensor([x[0, 0, :5], x[0, 0, :9]], layout=torch.jagged)  # 5 and 9 of 32 values
        return F.linear(rows, s.rows.weight).to_padded_tensor(0.0)

    return Sees(forward, rows=nn.Linear(32, 4, bias=False))


class LoRA(nn.Linear):
    """As loralib has it: the product of two stored matrices beside the layer."""

    def __init__(self, inputs, outputs, rank):
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.ones(rank, inputs)), nn.Parameter(torch.ones(outputs, rank))

    def forward(self, x):
        return super().forward(x) + (x @ self.down.T) @ self.up.T


def spectral(normalise):
    network = Small()
    normalise(network.conv)
    return network


def in_double():
    network = Sees(lambda s, x: Small.forward(s, x) * s.scale.float())
    network.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
    network._parameters = {"scale": network._parameters.pop("scale"), **network._parameters}  # the first of all
    return network


def of_buffers():
    network = Sees(lambda s, x: F.conv2d(x, s.weight))
    del network.conv, network.head
    network.register_buffer("weight", torch.zeros(8, 3, 1, 1, dtype=torch.float64))
    return network


BY_HAND = {  # factory, MACs, convolutions, fully connected layers
    "complex": (complex_network, 4 * SMALL, 1, 1),
    "flex attention": (flexible, 2 * 3 * 32 * 32 * 32, 0, 0),
    "branch": (branching, CONVOLUTION, 1, 0),
    "loop": (looping, 3 * 32 * 32 * 9, 1, 0),
    "jagged": (nested, (5 + 9) * 32 * 4, 0, 1),
    "LoRA": (lambda: nn.Sequential(nn.Flatten(), LoRA(3072, 7, 2)), 3072 * 7 + 3072 * 2 + 2 * 7, 0, 1),
    # Three products of 8 filters of 27 weights: two of the power iteration (training only), one of sigma.
    "spectral norm": (lambda: spectral(nn.utils.parametrizations.spectral_norm), SMALL + 8 * 27 + 8, 1, 1),
    "spectral norm by hooks": (lambda: spectral(nn.utils.spectral_norm), SMALL + 8 * 27 + 8, 1, 1),
    "a double first": (in_double, SMALL, 1, 1),
    "buffers only": (of_buffers, 32 * 32 * 3 * 8, 1, 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_an_odd_network_does_is_counted_by_hand(counted, name):
    factory, macs, convolutions, linear = BY_HAND[name]
    row = counted(factory).row()
    assert (row["macs"], row["uncounted"]) == (macs, {})
    assert (row["layers"]["conv"], row["layers"]["fc"]) == (convolutions, linear)


class KeepsSome(nn.Module):
    """Runs a layer over the rows whose score is positive."""

    def __init__(self):
        super().__init__()
        self.score, self.layer = nn.Linear(32, 1), nn.Linear(32, 32)

    def forward(self, x):
        rows = x.flatten(1, 2)[0]  # 96 of 32 values
        return self.layer(rows[self.score(rows)[:, 0] > 0])


def test_work_that_depends_on_values_is_said_to_and_is_the_same_in_every_count(counted):
    rows = [counted(KeepsSome).row() for _ in range(3)]
    assert len({row["macs"] for row in rows}) == 1
    kept, rest = divmod(rows[0]["macs"] - 96 * 32, 32 * 32)
    assert rest == 0
    assert 0 < kept < 96
    assert rows[0]["depends_on_values"] == ["aten::index"]
    said = "depends on values (aten::index): this is for random weights and images, of seed 0"
    assert rows[0]["reservations"] == [said]
    (macs,) = (m for m in counted(KeepsSome).measurements() if m.metric == "macs")
    assert macs.warnings == (said,)


@pytest.mark.parametrize(
    "function",
    [
        lambda s, x: Small.forward(s, x[:, s.order]),  # an index that no image decides
        lambda s, x: Small.forward(s, x) if s.order.sum().item() == 3 else x,
        lambda s, x: Small.forward(s, x) if x.shape[-1] > 8 else x,
    ],
)
def test_values_that_no_image_decides_change_nothing(counted, function):
    def factory():
        network = Sees(function)
        network.register_buffer("order", torch.arange(3, device="cpu"))
        return network

    row = counted(factory).row()
    assert (row["macs"], row["depends_on_values"], row["reservations"]) == (SMALL, [], [])


class Foreign(nn.Module):
    """As a wrapper of ONNX Runtime or of an extension has it: arrays go in and come out."""

    def __init__(self, **members):
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        if hasattr(self, "conv"):
            x = self.conv(x)
        images = x.detach().cpu().numpy()
        weights = numpy.ones((images[0].size, 7), dtype=numpy.float32)
        return torch.from_numpy(images.reshape(len(images), -1) @ weights)


def test_work_outside_pytorch_is_not_counted_as_nothing(counted):
    made = counted(Foreign)
    row = made.row()
    assert (row["macs"], row["flops"]) == (None, None)
    assert row["reservations"] == [OUTSIDE]
    (macs,) = (m for m in made.measurements() if m.metric == "macs")
    assert (macs.values, macs.failure) == ((), OUTSIDE)
    partly = counted(lambda: Foreign(conv=nn.Conv2d(3, 8, 3, padding=1))).row()
    assert partly["macs"] == CONVOLUTION
    assert partly["reservations"][0].startswith("a lower bound: no output comes from the images")


def test_a_network_that_returns_an_object_can_be_trained():
    returned = Sees(lambda s, x: SimpleNamespace(detections=[Output(Small.forward(s, x))]))
    seen = trace(returned.train(), (torch.empty(2, 3, 32, 32, device="meta"),), train=True)
    # Every weight has a gradient, and of the inputs only the head's: the images need none.
    assert (seen.outside, seen.forward_macs, seen.backward_macs) == (False, 2 * SMALL, 2 * (CONVOLUTION + 2 * HEAD))
    assert seen.outputs == [(2, 7)]


def test_a_network_without_products_has_none_and_no_reservation(counted):
    row = counted(lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten())).row()
    assert (row["macs"], row["reservations"]) == (0, [])


def test_parameters_that_no_pass_uses_are_said(counted):
    row = counted(lambda: Sees(Small.forward, aux=nn.Linear(100, 100), bias=nn.Parameter(torch.ones(2)))).row()
    assert row["parameters"]["unused"] == 100 * 100 + 100 + 2
    assert row["parameters"]["total"] == PARAMETERS + 10102
    assert row["reservations"] == ["10.1 k of 10.4 k parameters are not used by the pass: bias, aux"]
    few = counted(lambda: Sees(Small.forward, bias=nn.Parameter(torch.ones(2)))).row()
    assert (few["parameters"]["unused"], few["reservations"]) == (2, [])  # below one in a hundred


def test_the_auxiliary_heads_of_googlenet_are_not_used_in_inference():
    import torchvision

    made = torchvision.models.googlenet(num_classes=7, aux_logits=True, init_weights=False)
    heads = sum(p.numel() for head in (made.aux1, made.aux2) for p in head.parameters())
    row = count(find("torchvision:googlenet")).row()
    assert row["parameters"]["unused"] == heads
    assert "aux1, aux2" in row["reservations"][0]


def quantised():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 16, device="cpu"), nn.ReLU(), nn.Linear(16, 7, device="cpu"))
    return torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)


def quantised_recurrent():
    network = nn.Sequential(nn.Flatten(2), nn.LSTM(1024, 8, batch_first=True, device="cpu"))
    return torch.ao.quantization.quantize_dynamic(network, {nn.LSTM}, dtype=torch.qint8)


def test_packed_weights_of_quantised_layers_are_parameters(counted):
    row = counted(quantised).row()
    weights, biases = 3072 * 16 + 16 * 7, 16 + 7
    assert (row["parameters"]["total"], row["parameters"]["trainable"]) == (weights + biases, 0)
    assert (row["macs"], row["uncounted"]) == (weights, {})
    assert row["parameters"]["parameter_bytes"] == weights + 4 * biases  # a byte each, and float32
    recurrent = counted(quantised_recurrent).row()
    assert recurrent["parameters"]["total"] == 4 * 8 * (1024 + 8) + 2 * 4 * 8
    assert list(recurrent["uncounted"]) == ["aten::quantized_lstm"]


def test_a_frozen_program_is_counted_and_its_weights_are_constants(counted):
    row = counted(frozen).row()
    assert (row["macs"], row["parameters"]["total"]) == (SMALL, PARAMETERS)
    assert row["parameters"]["frozen"] == PARAMETERS


def test_what_cannot_be_counted_is_refused_in_our_own_words(counted):
    def fails(s, x):
        return x @ s.head.weight

    with pytest.raises(CountingError) as caught:
        counted(lambda: Sees(fails))
    assert not re.search(r"Recorder|Fake|Meta|dispatch|_parameters|HigherOrder", str(caught.value))
    with pytest.raises(BuildError, match="lazy modules, whose shapes a first pass decides"):
        counted(lambda: nn.Sequential(nn.LazyConv2d(8, 64)))


def test_a_slice_of_a_large_parameter_is_counted_by_storages():
    whole = torch.zeros(2200, 2200)
    network = nn.ParameterList([nn.Parameter(whole[:, :2100]), nn.Parameter(whole[:, 2000:])])
    counts = count_parameters(network)
    assert counts.total == 2200 * 2200
    assert counts.tied == 2200 * 100


class Wrapped(torch.Tensor):
    """A tensor that keeps its values as bytes and a scale, as quantising libraries have it."""

    @staticmethod
    def __new__(cls, values, scale):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=scale.dtype)

    def __init__(self, values, scale):
        self.values, self.scale = values, scale

    def __tensor_flatten__(self):
        return ["values", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inner, _, size, stride):
        return Wrapped(inner["values"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        def plain(value):
            return value.values.to(value.scale.dtype) * value.scale if isinstance(value, Wrapped) else value

        if func is torch.ops.aten.detach.default:
            return Wrapped(args[0].values, args[0].scale)
        return func(*torch.utils._pytree.tree_map(plain, args), **(kwargs or {}))


def test_a_tensor_that_wraps_others_is_counted_by_what_it_shows(counted):
    def factory():
        network = Small()
        weight = Wrapped(torch.ones(7, 8, dtype=torch.int8, device="cpu"), torch.ones(7, 1, device="cpu"))
        network.head.weight = nn.Parameter(weight, requires_grad=False)
        return network

    row = counted(factory).row()
    assert (row["macs"], row["parameters"]["total"], row["layers"]["fc"]) == (SMALL, PARAMETERS, 1)
    assert row["parameters"]["parameter_bytes"] == 4 * (PARAMETERS - 56) + 56 + 4 * 7


def test_two_counts_at_once_and_other_threads_do_not_disturb_each_other():
    started, stop = threading.Thread.start, threading.Event()
    others = []

    def busy():  # another part of the program, which starts threads and computes while networks are counted
        while not stop.is_set():
            thread = threading.Thread(target=lambda: others.append(torch.ones(4, 4) @ torch.ones(4, 4)))
            thread.start()
            thread.join()

    background = threading.Thread(target=busy)
    background.start()
    try:
        with ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(lambda _: count(find("mini_xception")).row(), range(4)))
    finally:
        stop.set()
        background.join()
    assert {row["macs"] for row in rows} == {5_520_448}  # the original's, as its sheet has it
    assert all(tensor.device.type == "cpu" for tensor in others)
    assert threading.Thread.start is started
