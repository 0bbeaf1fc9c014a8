"""Peak activation bytes: by hand, and against the allocators of the CPU and of CUDA."""

import gc

import pytest
import torch
from torch import nn
from torch._C._profiler import _EventType
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from fer_bench import find
from fer_bench.measuring.counting.totals import measure_activations
from fer_bench.measuring.counting.trace import trace
from fer_bench.networks import build

FLOAT = 4  # bytes
TOLERANCE = 0.01  # of the allocator's peak without workspaces; the docstring of `activations` states it
WORKSPACES_IN_TRAINING = 1.15  # with them, how far above ours the CPU may be; the docstring says 10 %
WORKSPACES_IN_INFERENCE = 2.5
# Operators whose kernels allocate workspaces: copies of weights and images in layouts of their own.
NATIVE = {"aten::convolution", "aten::convolution_backward"}


def peak(model, *shape, train=False):
    return trace(model, (torch.empty(shape, device="meta"),), train=train).peak_bytes


class Sees(nn.Module):
    """A network of one function."""

    def __init__(self, function, **members):
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self.function(self, x)


def test_an_operator_needs_its_input_and_its_output():
    assert peak(nn.Linear(10, 30), 2, 10) == FLOAT * (2 * 10 + 2 * 30)


def test_a_chain_frees_what_no_one_needs():
    # 10 -> 50 -> 5: the caller holds the batch, so the peak is at the second layer: 10 + 50 + 5.
    assert peak(nn.Sequential(nn.Linear(10, 50), nn.Linear(50, 5)), 1, 10) == FLOAT * (10 + 50 + 5)


def test_a_layer_in_place_takes_nothing():
    assert peak(nn.ReLU(), 1, 10) == FLOAT * 20
    assert peak(Sees(lambda _, x: x.relu_()), 1, 10) == FLOAT * 10


def test_views_share_their_storage():
    assert peak(Sees(lambda _, x: x.view(5, 2).t().flatten()), 1, 10) == FLOAT * 20  # flatten has to copy
    assert peak(Sees(lambda _, x: x.view(5, 2)[1:].unsqueeze(0).expand(9, 4, 2)), 1, 10) == FLOAT * 10


def test_a_skip_keeps_its_input_alive():
    # At the second layer of the branch: the batch (10), the skip's copy (10), the hidden layer (40), the output (10).
    branch = nn.Sequential(nn.Linear(10, 40), nn.Linear(40, 10))
    assert peak(Sees(lambda s, x: (y := x * 2) + s.branch(y), branch=branch), 1, 10) == FLOAT * (10 + 10 + 40 + 10)


def test_parameters_and_buffers_are_no_activations():
    network = nn.Sequential(nn.Linear(100, 1), nn.BatchNorm1d(1))
    assert peak(network.eval(), 1, 100) == FLOAT * (100 + 1 + 1)
    assert peak(Sees(lambda s, x: s.weight * 1 + 0 * x, weight=nn.Parameter(torch.ones(7))), 7) == FLOAT * 7 * 4


def test_what_the_backward_pass_needs_stays():
    # x(10) -> h = x W1(20) -> sigmoid(20, kept) -> W2 -> out(5), its sum(1). While sigmoid's gradient is worked out:
    # x, sigmoid's output, the gradients of W2 (5 * 20), of the sigmoid's output (20) and of h (20), and of the output:
    # one number, expanded. The hidden layer itself was freed: no backward formula needs it.
    network = nn.Sequential(nn.Linear(10, 20, bias=False), nn.Sigmoid(), nn.Linear(20, 5, bias=False))
    backward = 10 + 20 + 100 + 20 + 20 + 1
    last = 10 + 100 + 20 + 200 + 1  # the gradient of W1, from the batch and the gradient of h
    assert peak(network, 1, 10, train=True) == pytest.approx(FLOAT * max(backward, last), abs=FLOAT * 6)


def test_a_trainable_network_needs_no_more_in_inference():
    network = nn.Sequential(*(nn.Linear(10, 10) for _ in range(8)))
    assert peak(network, 1, 10) == FLOAT * 30
    assert peak(network, 1, 10, train=True) > FLOAT * 80


@pytest.mark.parametrize("train", [False, True])
def test_the_peak_is_the_same_every_time_and_in_every_grad_mode(train):
    spec = find("mini_xception")
    model = build.create(spec, device="meta").train(train)
    expected = peak(model, 2, *spec.input_shape, train=train)
    for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with context():
            assert peak(model, 2, *spec.input_shape, train=train) == expected


def test_number_types_count_by_their_size():
    half = trace(nn.Linear(10, 30).bfloat16(), (torch.empty(2, 10, dtype=torch.bfloat16),))
    assert half.peak_bytes == 2 * (20 + 60)


def test_measurement_reports_the_batch_and_the_way():
    seen = measure_activations(trace(nn.ReLU(), (torch.empty(3, 10),)))
    assert (seen.metric, seen.unit, seen.values) == ("peak_activation_bytes", "bytes", (FLOAT * 60,))
    assert seen.details == {"batch": 3, "counted_on": "meta"}


def allocations(event, kernel=None):
    if event.tag == _EventType.Allocation:
        yield event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size, kernel
    if event.name in NATIVE:
        kernel = event.id
    for child in event.children:
        yield from allocations(child, kernel)


def cpu_peaks(model, images, train):
    """The CPU allocator's peak, with and without what is allocated and released inside one native kernel."""
    gc.collect()
    recorded = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with recorded as profiler, torch.set_grad_enabled(train), sdpa_kernel(SDPBackend.MATH):
        outputs = model(images)
        if train:
            outputs.sum().backward()
        del outputs
    roots = profiler.profiler.kineto_results.experimental_event_tree()
    events = sorted((found for root in roots for found in allocations(root)), key=lambda found: found[0])
    opened, workspaces = {}, set()
    for index, (_, address, size, kernel) in enumerate(events):
        if size > 0:
            opened[address] = index, kernel
        elif address in opened:
            first, its_kernel = opened.pop(address)
            if kernel is not None and kernel == its_kernel:
                workspaces |= {first, index}
    peaks = []
    for left_out in (set(), workspaces):
        now = largest = images.untyped_storage().nbytes()
        for index, (_, _, size, _) in enumerate(events):
            if index not in left_out:
                now += size
                largest = max(largest, now)
        peaks.append(largest)
    return peaks


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    "name",
    ["torchvision:resnet18", "mobilenetv3_large", "mit_fusion", "mini_xception", "densenet1_ler", "resnetv2_50"],
)
def test_the_cpu_allocator_has_the_same_peak(name, train):
    spec = find(name)
    model = build.create(spec).train(train)
    images = torch.randn(2, *spec.input_shape)
    ours = trace(model, (images,), train=train).peak_bytes
    with_workspaces, without = cpu_peaks(model, images, train)
    assert without == pytest.approx(ours, rel=TOLERANCE)
    most = WORKSPACES_IN_TRAINING if train else WORKSPACES_IN_INFERENCE
    assert (1 - TOLERANCE) * ours <= with_workspaces <= most * ours


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", ["torchvision:resnet18", "mini_xception", "densenet1_ler"])
def test_the_cuda_allocator_needs_no_less(name, train):
    spec = find(name)
    model = build.create(spec, device="cuda").train(train)
    images = torch.randn(2, *spec.input_shape, device="cuda")
    ours = trace(model, (images,), train=train).peak_bytes
    weights = torch.cuda.memory_allocated() - images.untyped_storage().nbytes()
    torch.cuda.reset_peak_memory_stats()
    with torch.set_grad_enabled(train):
        outputs = model(images)
        if train:
            outputs.sum().backward()
    assert torch.cuda.max_memory_allocated() - weights >= (1 - TOLERANCE) * ours
