"""Optimisers, schedules, losses and rules of recipes, against PyTorch's own and Keras's formulas worked by hand."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fer_bench as fb
from fer_bench.accuracy import recipe_tables as tables
from fer_bench.accuracy import schedules
from fer_bench.accuracy.methods import RecipeMethod
from fer_bench.accuracy.recipe_tables import Plateau, Selection, Stopping
from fer_bench.accuracy.recipes import Recipe, read_recipe
from fer_bench.records.errors import FerBenchError

MINE = Recipe("mine", "mine", ("net",), 6, 4, tables.SGD("sgd", 0.1), Selection("last"))


class Net(nn.Module):
    """A trunk and a head, each with batch norm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(2), nn.Dropout(0.5))
        self.classifier = nn.Linear(2, 3)

    def forward(self, images):
        return self.classifier(self.head(self.trunk(images)))


def recipe(**changes):
    return dataclasses.replace(MINE, **changes)


def optimizer(rate=0.1):
    return torch.optim.SGD([nn.Parameter(torch.ones(1))], rate)


def rate_of(made):
    (rate,) = {group["lr"] for group in made.param_groups}
    return rate


def rates(how, epochs=6, steps=3, values=lambda epoch: {}):
    """The rate of each step under a schedule, which is saved and loaded after every second epoch."""
    made = optimizer()
    schedule = schedules.make_schedule(how, made, steps)
    seen = []
    for epoch in range(epochs):
        for _ in range(steps):
            seen.append(rate_of(made))
            schedule.after_step()
        schedule.after_epoch(values(epoch))
        if epoch % 2:
            state = json.loads(json.dumps(schedule.state_dict()))
            made = optimizer()
            schedule = schedules.make_schedule(how, made, steps)
            schedule.load_state_dict(state)
    return seen


def theirs(make, epochs=6, steps=3, by_step=False, values=None):
    """The rate of each step under a scheduler of PyTorch's."""
    made = optimizer()
    scheduler = make(made)
    seen = []
    for epoch in range(epochs):
        for _ in range(steps):
            seen.append(made.param_groups[0]["lr"])
            made.step()
            if by_step:
                scheduler.step()
        if not by_step:
            scheduler.step(*([] if values is None else [values(epoch)]))
    return seen


@pytest.mark.parametrize(
    ("schedule", "make", "by_step"),
    [
        (tables.Constant("constant"), lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1), False),
        (tables.Step("step", 2, 0.9), lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.9), False),
        (tables.Exponential("exponential", 0.7), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.7), False),
        (
            tables.OneCycle("one_cycle"),
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=18, cycle_momentum=False),
            True,
        ),
        (
            tables.OneCycle("one_cycle", 0.2, 10.0, 100.0),
            lambda o: torch.optim.lr_scheduler.OneCycleLR(
                o, 0.1, 18, pct_start=0.2, div_factor=10, final_div_factor=100, cycle_momentum=False
            ),
            True,
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call")
def test_a_schedule_gives_the_rates_of_pytorch_s(schedule, make, by_step):
    assert rates(recipe(schedule=schedule)) == pytest.approx(theirs(make, by_step=by_step))


def test_the_steps_of_paper_002_end_at_a_third_of_the_rate():
    seen = rates(read_recipe("zhu2024"), epochs=33, steps=1)
    assert seen[0] == pytest.approx(0.01)
    assert seen[3] == pytest.approx(0.009)
    assert seen[-1] == pytest.approx(0.01 * 0.9**10)


def test_inverse_time_is_keras_s_formula():
    # InverseTimeDecay: 0.1 / (1 + 0.5 epoch / 4)
    how = recipe(schedule=tables.InverseTime("inverse_time", 4, 0.5))
    assert rates(how, epochs=4, steps=1) == pytest.approx([0.1, 0.1 / 1.125, 0.1 / 1.25, 0.1 / 1.375])


LOSSES = [1.0, 0.9, 0.95, 0.91, 0.9, 0.89, 0.95, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94]


@pytest.mark.parametrize("patience", [0, 1, 2, 4])
@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy"])
def test_exceeding_a_patience_is_pytorch_s_plateau(patience, monitor):
    sign = 1 if monitor == "validation_loss" else -1
    plateau = Plateau("plateau", monitor, 0.1, patience, "exceeds", min_lr=1e-3)
    made = rates(recipe(schedule=plateau), len(LOSSES), 1, lambda epoch: {monitor: sign * LOSSES[epoch]})
    mode = "min" if sign > 0 else "max"
    expected = theirs(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, mode, 0.1, patience, threshold=0, threshold_mode="abs", min_lr=1e-3, eps=0
        ),
        len(LOSSES),
        1,
        values=lambda epoch: sign * LOSSES[epoch],
    )
    assert made == pytest.approx(expected)


def test_reaching_a_patience_is_keras_s_plateau():
    # Best .9 after epoch 2; two without: down after epoch 4; .9 is no better than .9, .89 is; then two again.
    plateau = Plateau("plateau", "validation_loss", 0.5, 2, "reaches")
    made = rates(recipe(schedule=plateau), 9, 1, lambda epoch: {"validation_loss": LOSSES[epoch]})
    assert made == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025])


def test_an_improvement_must_exceed_the_smallest_one_that_counts():
    plateau = Plateau("plateau", "validation_accuracy", 0.1, 1, "reaches", min_delta=0.05)
    values = [0.5, 0.54, 0.6]
    made = rates(recipe(schedule=plateau), 4, 1, lambda epoch: {"validation_accuracy": (*values, 0.6)[epoch]})
    assert made == pytest.approx([0.1, 0.1, 0.01, 0.01])


def ends(rule, values, name):
    stopper = schedules.Stopper(rule)
    for epoch, value in enumerate(values, 1):
        said = stopper.after_epoch({name: value})
        state = json.loads(json.dumps(stopper.state_dict()))
        stopper = schedules.Stopper(rule)
        stopper.load_state_dict(state)
        if said:
            return epoch, said
    return None


def test_a_training_ends_when_its_patience_does():
    values = [0.1, 0.5, *[0.4] * 20]
    # Paper 001: more than eight epochs without a better one: the ninth after epoch 2.
    exceeds = Stopping("validation_accuracy", 8, "exceeds")
    assert ends(exceeds, values, "validation_accuracy") == (11, "9 epochs without a better validation accuracy")
    reaches = Stopping("training_accuracy", 8, "reaches")
    assert ends(reaches, values, "training_accuracy") == (10, "8 epochs without a better training accuracy")
    assert ends(None, values, "validation_accuracy") is None
    assert ends(exceeds, [0.1, float("nan"), 0.2], "validation_accuracy") is None


def test_a_value_that_is_not_there_cannot_be_watched():
    with pytest.raises(FerBenchError, match="watches the validation loss, and there is none; try: --validation"):
        schedules.Stopper(Stopping("validation_loss", 1, "reaches")).after_epoch({"validation_loss": None})


@pytest.mark.parametrize(
    ("how", "kind", "group"),
    [
        (tables.SGD("sgd", 0.1, 0.9, True, 1e-4), torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (tables.Adam("adam", 0.1, eps=1e-7), torch.optim.Adam, {"eps": 1e-7, "decoupled_weight_decay": False}),
        (tables.Adam("adamw", 0.1, weight_decay=0.1), torch.optim.AdamW, {"weight_decay": 0.1}),
        (
            tables.Adam("radam", 0.1, weight_decay=0.1),
            torch.optim.RAdam,
            {"weight_decay": 0.1, "decoupled_weight_decay": False},
        ),
        (tables.RMSprop("rmsprop", 0.1, alpha=0.9), torch.optim.RMSprop, {"alpha": 0.9}),
    ],
)
def test_an_optimizer_is_pytorch_s_with_the_recipe_s_values(how, kind, group):
    made = schedules.make_optimizer(recipe(optimizer=how), Net())
    assert type(made) is kind
    assert made.param_groups[0].items() >= {"lr": 0.1, **group}.items()


def test_a_frozen_network_has_nothing_to_train():
    with pytest.raises(FerBenchError, match="nothing to train"):
        schedules.make_optimizer(MINE, Net().requires_grad_(False))


OUTPUTS, TARGETS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]]), torch.tensor([0, 2])


def test_cross_entropy_is_the_mean_of_minus_log_probabilities():
    expected = (-torch.log_softmax(OUTPUTS[0], 0)[0] + np.log(3)) / 2
    assert schedules.make_loss(MINE, Net())(OUTPUTS, TARGETS).item() == pytest.approx(float(expected))
    shares = functional.one_hot(TARGETS, 3).float()
    assert schedules.make_loss(MINE, Net())(OUTPUTS, shares).item() == pytest.approx(float(expected))


def test_smoothed_labels_give_all_classes_a_part():
    smooth = recipe(loss=tables.Loss(label_smoothing=0.3))
    shares = functional.one_hot(TARGETS, 3) * 0.7 + 0.1
    expected = -(shares * torch.log_softmax(OUTPUTS, 1)).sum(1).mean()
    assert schedules.make_loss(smooth, Net())(OUTPUTS, TARGETS).item() == pytest.approx(float(expected))


def test_balanced_classes_weigh_by_the_inverse_of_their_share():
    # scikit-learn's formula n / (k n_c): of 8 images 4, 2, 2 in three classes: 2/3, 4/3, 4/3.
    balanced = recipe(loss=tables.Loss(class_weights="balanced"))
    each = functional.cross_entropy(OUTPUTS, TARGETS, reduction="none")
    expected = (each[0] * 2 / 3 + each[1] * 4 / 3) / 2
    made = schedules.make_loss(balanced, Net(), [4, 2, 2])
    assert made(OUTPUTS, TARGETS).item() == pytest.approx(float(expected))
    assert made(OUTPUTS, functional.one_hot(TARGETS, 3).float()).item() == pytest.approx(float(expected))
    absent = schedules.make_loss(balanced, Net(), [4, 0, 4])  # of 8 in two classes: 1 each
    assert absent(OUTPUTS, TARGETS).item() == pytest.approx(float(each.mean()))


def test_squares_are_of_the_weights_of_named_modules_and_no_others():
    net = Net()
    plain = schedules.make_loss(MINE, net)(OUTPUTS, TARGETS)
    trunk = net.trunk[0].weight.square().sum()
    whole = trunk + net.classifier.weight.square().sum()
    for pattern, squares in ((("trunk",), trunk), (("trunk*",), trunk), (("*",), whole), (("trunk", "*"), whole)):
        made = schedules.make_loss(recipe(loss=tables.Loss(l2=0.25, l2_on=pattern)), net)
        assert made(OUTPUTS, TARGETS).item() == pytest.approx((plain + 0.25 * squares).item())


def test_the_l2_of_paper_004_is_of_the_two_convolutions_of_the_stem():
    net = fb.create_model("mini_xception")
    made = schedules.make_loss(read_recipe("rao2023"), net)
    outputs = torch.zeros(1, 7)
    squares = net.stem[0].weight.square().sum() + net.stem[3].weight.square().sum()
    assert made(outputs, torch.tensor([0])).item() == pytest.approx(np.log(7) + 0.01 * squares.item(), rel=1e-5)


def test_names_of_modules_that_are_not_there_are_refused():
    with pytest.raises(FerBenchError, match="'stem', and Net has none such; its own are: trunk, head, classifier"):
        schedules.make_loss(recipe(loss=tables.Loss(l2=0.1, l2_on=("stem",))), Net())


def test_statistics_of_batch_norm_are_averages_over_batches():
    norm = nn.BatchNorm1d(1, momentum=0.01)
    model = nn.Sequential(norm, nn.Dropout(0.5))
    batches = [torch.tensor([[1.0], [3.0]]), torch.tensor([[10.0], [30.0]])]
    assert schedules.reestimate_batch_norms(model.train(), batches) == 2
    # Means 2 and 20; unbiased variances 2 and 200.
    assert (norm.running_mean.item(), norm.running_var.item()) == pytest.approx((11, 101))
    assert (norm.momentum, norm.training, model[1].training) == (0.01, True, True)
    assert schedules.reestimate_batch_norms(model, []) == 0
    assert schedules.reestimate_batch_norms(model, batches[:1], [norm]) == 1
    assert (norm.running_mean.item(), norm.running_var.item()) == pytest.approx((11, 101))


def data(labels=(0, 0, 1, 2, 2, 2, 0, 1, 1, 2), classes=("angry", "happy", "sad")):
    labels = np.array(labels)
    return SimpleNamespace(labels=labels, labelled=labels >= 0, targets=None, classes=classes)


CONTRACT = dataclasses.replace(fb.find("mini_xception").input, classes=("angry", "happy", "sad"))
PHASES = (
    tables.Phase("head", 2, frozen=("trunk",), frozen_batch_norms=("trunk",)),
    tables.Phase(
        "all", 4, optimizer=tables.SGD("sgd", 0.01, 0.5), stopping=Stopping("training_accuracy", 2, "reaches")
    ),
)


def epoch(number, **values):
    names = ("training_loss", "training_accuracy", "validation_loss", "validation_accuracy")
    return SimpleNamespace(epoch=number, **{name: values.get(name) for name in names})


def restore():
    raise AssertionError


def step(method, net):
    method.optimizer.zero_grad()
    method.loss(net(torch.rand(4, 1, 8, 8)), torch.tensor([0, 1, 2, 0])).backward()
    method.optimizer.step()
    method.after_step()


def test_a_phase_freezes_weights_and_batch_norms_and_the_next_frees_them():
    net = Net()
    method = RecipeMethod(recipe(phases=PHASES), net, data(), CONTRACT)
    before, running = net.trunk[0].weight.clone(), net.trunk[1].running_mean.clone()
    net.train()
    method.begin_epoch()
    assert (net.trunk[1].training, net.head[2].training) == (False, True)
    head = net.classifier.weight.clone()
    step(method, net)
    assert torch.equal(net.trunk[0].weight, before)
    assert torch.equal(net.trunk[1].running_mean, running)
    assert not torch.equal(net.classifier.weight, head)
    assert [method.after_epoch(epoch(1), restore), method.after_epoch(epoch(2), restore)] == ["", ""]
    assert (rate_of(method.optimizer), method.optimizer.param_groups[0]["momentum"]) == (0.01, 0.5)
    net.train()
    method.begin_epoch()
    step(method, net)
    assert not torch.equal(net.trunk[0].weight, before)
    assert not torch.equal(net.trunk[1].running_mean, running)
    state = json.loads(json.dumps(method.state_dict()))
    again = RecipeMethod(recipe(phases=PHASES), Net(), data(), CONTRACT)
    again.load_state_dict(state)
    assert (again.recipe.stopping, rate_of(again.optimizer)) == (PHASES[1].stopping, 0.01)
    # Two epochs without a better training accuracy after the third.
    said = [again.after_epoch(epoch(number, training_accuracy=0.5), restore) for number in (3, 4, 5)]
    assert said == ["", "", "2 epochs without a better training accuracy"]


def test_a_training_whose_first_phase_ends_early_ends_with_its_last_phase():
    phases = (dataclasses.replace(PHASES[1], name="first", epochs=4), tables.Phase("last", 2))
    method = RecipeMethod(recipe(phases=phases), Net(), data(), CONTRACT)
    said = [method.after_epoch(epoch(number, training_accuracy=0.5), restore) for number in range(1, 6)]
    assert said == ["", "", "", "", "the last phase is over"]


def test_a_phase_begins_with_the_best_weights_and_its_own_loss_where_it_says_so():
    balanced = tables.Loss(class_weights="balanced")
    head = dataclasses.replace(PHASES[0], loss=balanced)
    phases = (head, dataclasses.replace(PHASES[1], begins="best"))
    method = RecipeMethod(recipe(phases=phases), Net(), data(), CONTRACT)  # 3 angry, 3 happy, 4 sad of 10
    asked, each = [], functional.cross_entropy(OUTPUTS, TARGETS, reduction="none")
    assert method.loss(OUTPUTS, TARGETS).item() == pytest.approx(float((each[0] * 10 / 9 + each[1] * 10 / 12) / 2))
    method.after_epoch(epoch(1), restore)
    method.after_epoch(epoch(2), lambda: asked.append("best"))
    assert asked == ["best"]
    assert method.loss(OUTPUTS, TARGETS).item() == pytest.approx(float(each.mean()))
    method.after_epoch(epoch(3, training_accuracy=0.5), restore)


def test_a_recipe_reestimates_and_clips_only_where_it_says_so():
    def fail(*_):
        raise AssertionError

    net = Net()
    plain = RecipeMethod(MINE, net, data(), CONTRACT)
    plain.before_evaluation(fail)
    plain.before_update(fail)
    asked = []
    method = RecipeMethod(recipe(bn_reestimate=2, clip_norm=3.0), net, data(), CONTRACT)
    method.before_update(asked.append)
    batches = iter([torch.rand(4, 1, 8, 8) for _ in range(5)])
    method.before_evaluation(lambda: batches)
    assert (asked, len(list(batches))) == ([3.0], 3)


def test_dropout_is_set_where_the_network_has_some():
    net = Net()
    RecipeMethod(recipe(dropout=0.2), net, data(), CONTRACT)
    assert net.head[3].p == 0.2
    with pytest.raises(FerBenchError, match="no such layer"):
        RecipeMethod(recipe(dropout=0.2), net.trunk, data(), CONTRACT)


def test_class_weights_follow_the_order_of_the_network_s_outputs():
    counted = recipe(loss=tables.Loss(class_weights="balanced"))
    turned = dataclasses.replace(CONTRACT, classes=("sad", "angry", "happy"))
    method = RecipeMethod(counted, Net(), data(), turned)  # 4 sad, 3 angry, 3 happy of 10
    each = functional.cross_entropy(OUTPUTS, TARGETS, reduction="none")
    expected = (each[0] * 10 / 12 + each[1] * 10 / 9) / 2
    assert method.loss(OUTPUTS, TARGETS).item() == pytest.approx(float(expected))


SIDE = 32  # of images, so that it is quick
QUICKER = {"rarn": {"backbone": "resnet18"}}
OWN = (
    ("muminov2024", "resnet50_patch_attn"),
    ("safavi2023", "mit_fusion"),
    ("zhu2024", "rarn"),
    ("xue2023", "resnetv2_50"),
    ("rao2023", "mini_xception"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "network"), OWN)
def test_each_paper_s_recipe_trains_its_own_network_for_three_steps_on_rendered_faces(name, network, tmp_path):
    from fer_bench.accuracy.transforms import prepare

    faces = fb.load_data(fb.make_faces(tmp_path / "faces", images=16, persons=10), cache=False)
    how, spec = read_recipe(name), fb.find(network)
    contract = how.contract(spec.input).replace("quicker", size=(SIDE, SIDE))
    if contract.classes != faces.classes:
        contract = contract.replace("the data's", classes=faces.classes)
    torch.manual_seed(0)
    model = fb.create_model(network, num_classes=len(faces.classes), **QUICKER.get(network, {}))
    method = RecipeMethod(how.with_(batch_size=16), model, faces, contract)
    before = {key: value.clone() for key, value in model.named_parameters()}
    images = prepare([faces.images[place] for place in range(16)], contract)
    targets = torch.from_numpy(faces.labels)
    losses = []
    for number in range(1, 4):
        model.train()
        method.begin_epoch()
        method.optimizer.zero_grad()
        loss = method.loss(model(method.augment(images, 0, number, range(16))), targets)
        loss.backward()
        method.before_update(lambda norm: torch.nn.utils.clip_grad_norm_(model.parameters(), norm))
        method.optimizer.step()
        method.after_step()
        losses.append(loss.item())
        values = {"training_accuracy": 0.1, "validation_accuracy": 0.1, "validation_loss": loss.item()}
        assert method.after_epoch(epoch(number, training_loss=loss.item(), **values), restore) == ""
    assert np.isfinite(losses).all()
    moved = [key for key, value in model.named_parameters() if not torch.equal(value, before[key])]
    assert len(moved) > 0.9 * len(before)
