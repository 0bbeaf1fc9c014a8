"""Networks of other inputs than one image: clips, two images, tokens; by place, by name, in a dictionary."""

import json

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import fer_bench
from fer_bench.cli.main import main
from fer_bench.networks.build import Build, OfOneInput, create, feed
from fer_bench.networks.inputs import Input, read_inputs
from fer_bench.records.errors import CountingError, FerBenchError

CLIP, PAIR = "3x16x112x112", "3x128x128,3x128x128"
VIDEO = {
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), CLIP),
    "s3d": "3x16x224x224",
    **dict.fromkeys(("mvit_v1_b", "mvit_v2_s"), "3x16x224x224"),
    **dict.fromkeys(("swin3d_t", "swin3d_s", "swin3d_b"), "3x16x112x112"),
    **dict.fromkeys(("raft_small", "raft_large"), PAIR),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VIDEO)
def test_torchvision_s_networks_of_clips_and_pairs_count_as_pytorch_counts_them(name):
    spec = fer_bench.find(f"torchvision:{name}")
    inputs = read_inputs(VIDEO[name])
    flow = name.startswith("raft")
    row = fer_bench.count(spec, Build(None if flow else 400, inputs=inputs)).row()
    builder = torchvision.models.get_model_builder(name)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    assert row["parameters"]["total"] == weights.meta["num_params"]
    with torch.device("meta"):
        reference = builder(weights=None).eval()
        arguments = [torch.empty(1, *one.shape) for one in inputs]
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        reference(*arguments)
    assert row["macs"] == flops.get_total_flops() // 2
    assert row["reservations"] == []


CODE = """import torch
from torch import nn
class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.words, self.project = nn.Conv2d(3, 8, 3, padding=1), nn.Embedding(100, 8), nn.Linear(8, 4)
    def forward(self, image, tokens, mask=None):
        words = self.words(tokens)
        if mask is not None:
            words = words * mask.unsqueeze(-1)
        images = self.project(self.conv(image).mean((2, 3)))
        return images * self.project(words.mean(1))
class InDictionary(Both):
    def forward(self, batch):
        return super().forward(batch["image"], batch["tokens"])
class OfAnyName(Both):
    def forward(self, **given):
        return super().forward(given["image"], given["tokens"])
def both(): return Both()
def of_any_name(): return OfAnyName()
def in_dictionary(): return InDictionary()
"""
MACS = 32 * 32 * 27 * 8 + 2 * 8 * 4  # a convolution at 32x32, and two projections
PARAMETERS = 3 * 8 * 9 + 8 + 100 * 8 + 8 * 4 + 4


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "both.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize(
    ("factory", "inputs"),
    [
        ("both", "image:3x32x32,tokens:7:int64"),
        ("both", "tokens:7:int64,image:3x32x32"),
        ("both", "3x32x32,7:int64"),
        ("both", "3x32x32, 7:int64, 7:bool"),
        ("of_any_name", "image:3x32x32,tokens:7:int64"),
        ("in_dictionary", "image:3x32x32,tokens:7:int64"),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_images_and_tokens_count_by_place_by_name_and_in_a_dictionary(code, factory, inputs, batch):
    spec = fer_bench.find(f"{code}:{factory}")
    row = fer_bench.count(spec, Build(inputs=read_inputs(inputs)), batch=batch, train=True).row()
    assert (row["macs"], row["parameters"]["total"], row["reservations"]) == (MACS, PARAMETERS, [])
    assert row["inputs"] == [part.strip() for part in inputs.split(",")]
    assert row["training"]["macs"] > MACS


def test_a_network_of_several_inputs_runs_as_one_of_the_first(code):
    network = create(fer_bench.find(f"{code}:both"))
    inputs = read_inputs("image:3x32x32,tokens:7:int64,mask:7:bool")
    fed = feed(network, (3, 32, 32), inputs, 2, "cpu")
    alone = OfOneInput(network, fed)
    torch.testing.assert_close(alone(fed.tensors[0]), network(**fed.kwargs))
    assert alone(torch.zeros(5, 3, 32, 32)).shape == (5, 4)  # another batch, as of a training step
    assert fed.kwargs["tokens"].tolist() == [[0] * 7] * 2  # which every vocabulary has
    assert fed.kwargs["mask"].all()


def test_the_command_line_counts_and_measures_it(code, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ("--inputs", "image:3x32x32,tokens:7:int64")
    assert main(["count", f"{code}:both", *given, "--counter", "torch", "--format", "json"]) == 1
    assert "torch gives inputs by their place only" in capsys.readouterr().err
    by_place = ["count", f"{code}:both", "--inputs", "3x32x32,7:int64", "--counter", "torch,thop", "--format", "json"]
    assert main(by_place) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["counters"]["torch"]["value"] == 2 * MACS
    run = ["run", f"{code}:both", *given, "--metrics", "static,latency,memory,training", "--runs", "5", "--full"]
    assert main(run) == 0
    out = capsys.readouterr().out
    assert "Built with inputs=image:3x32x32,tokens:7:int64" in " ".join(out.split())
    assert "221 k" in out


def test_a_clip_is_an_image_size_with_time(capsys):
    assert main(["count", "torchvision:r3d_18", "--input", "3x4x56x56", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["input_shape"] == [3, 4, 56, 56]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image=3x32x32", "is no input: [NAME:]SIZExSIZE[:TYPE], such as image:3x224x224"),
        ("3x0x32", "is no input"),
        ("", "is no input"),
        ("7:int46", "the type 'int46' is unknown (did you mean int64"),
        ("a:3x32x32,a:7", "two inputs have one name"),
        ("a:3x32x32,7", "give names to all inputs or to none"),
    ],
)
def test_what_is_no_input_is_refused(text, said):
    with pytest.raises(FerBenchError) as caught:
        read_inputs(text)
    assert said in str(caught.value)


def test_both_ways_to_say_an_input_are_refused_and_so_is_what_a_network_cannot_take(code, capsys):
    assert main(["count", f"{code}:both", "--inputs", "3x32x32,7:int64", "--input", "3x32x32"]) == 1
    assert "leave --input out" in capsys.readouterr().err
    with pytest.raises(CountingError, match=r"cannot run on input \(1, 3, 32, 32\)"):
        fer_bench.count(fer_bench.find(f"{code}:both"), Build(inputs=(Input("", (3, 32, 32)),)))
