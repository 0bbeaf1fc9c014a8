"""MiT + fusion: parts, counters and published layouts, against specs (zoo_a, section 4) and transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fer_bench.models import mit_fusion

# Stages 1 to 4 of MiT-B0: patch embedding, one block, closing norm.
STAGE_PARAMETERS = [(4_800, 79_616, 64), (18_624, 118_272, 128), (92_640, 418_560, 320), (369_408, 800_000, 512)]


@pytest.fixture
def skeleton() -> mit_fusion.MiTFusion:
    with torch.device("meta"):
        return mit_fusion.mit_fusion().eval()


@pytest.fixture(scope="module")
def segformer() -> Any:
    """MiT-B0 with an ImageNet head by transformers, every tensor random and no norm at its default."""
    transformers = pytest.importorskip("transformers", reason="the original, transformers, is not installed")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[32, 64, 160, 256], num_attention_heads=[1, 2, 5, 8], depths=[2, 2, 2, 2], sr_ratios=[8, 4, 2, 1]
    )
    network = transformers.SegformerForImageClassification(config).eval()
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            assert module.bias is not None
            nn.init.normal_(module.bias, std=0.1)
    return network


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def nvlabs_layout(encoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our encoder's state dict (without its prefix) in the names of the encoder authors' code."""
    parts = {
        "embed.conv": "patch_embed{s}.proj",
        "embed.norm": "patch_embed{s}.norm",
        "norm": "norm{s}",
        "norm1": "block{s}.{b}.norm1",
        "norm2": "block{s}.{b}.norm2",
        "attention.q": "block{s}.{b}.attn.q",
        "attention.kv": "block{s}.{b}.attn.kv",
        "attention.proj": "block{s}.{b}.attn.proj",
        "attention.reduce.conv": "block{s}.{b}.attn.sr",
        "attention.reduce.norm": "block{s}.{b}.attn.norm",
        "ffn.expand": "block{s}.{b}.mlp.fc1",
        "ffn.depthwise": "block{s}.{b}.mlp.dwconv.dwconv",
        "ffn.contract": "block{s}.{b}.mlp.fc2",
    }
    layout = {}
    for key, value in encoder.items():
        _, stage, *inside, tensor = key.split(".")
        block = None
        if inside[0] == "blocks":
            block, inside = inside[1], inside[2:]
        layout[parts[".".join(inside)].format(s=int(stage) + 1, b=block) + "." + tensor] = value
    return layout


def assert_same_stages(original: Any, state_dict: dict[str, Tensor]) -> None:
    """The encoder with these weights gives the stages of the original, to what the different eps allow."""
    network = mit_fusion.mit_fusion().eval()
    converted = mit_fusion.convert_state_dict(state_dict)
    prefix = "encoder."
    network.encoder.load_state_dict({k.removeprefix(prefix): v for k, v in converted.items() if k.startswith(prefix)})
    assert {key for key in converted if not key.startswith(prefix)} == {"classifier.weight", "classifier.bias"}
    torch.manual_seed(1)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = original.segformer(images, output_hidden_states=True).hidden_states[-4:]
        got = network.encoder(images)
    assert [maps.shape for maps in got] == [maps.shape for maps in expected]
    for ours, theirs in zip(got, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4


def test_stages_have_the_parameters_of_the_original(skeleton: mit_fusion.MiTFusion) -> None:
    for stage, (embed, block, norm) in zip(skeleton.encoder.stages, STAGE_PARAMETERS, strict=True):
        assert isinstance(stage, mit_fusion.Stage)
        assert parameters(stage.embed) == embed
        assert [parameters(part) for part in stage.blocks] == [block, block]
        assert parameters(stage.norm) == norm
    assert parameters(skeleton.encoder) == 3_319_392
    assert len(skeleton.encoder.state_dict()) == 176


def test_fusion_and_head_have_the_parameters_of_the_paper(skeleton: mit_fusion.MiTFusion) -> None:
    assert parameters(skeleton.fusion) == 131_072 + 256
    assert parameters(skeleton.fc) == 1_799


@pytest.mark.parametrize(("entry", "macs"), [("mit_fusion", 425_306_368), ("mit_fusion_w128", 375_519_232)])
def test_thop_counts_what_the_specs_say(entry: str, macs: int) -> None:
    thop = pytest.importorskip("thop", reason="the counter of paper 001 is not installed")
    with torch.device("meta"):
        network, image = getattr(mit_fusion, entry)().eval(), torch.empty(1, 3, 224, 224)
    assert thop.profile(network, inputs=(image,), verbose=False)[0] == macs


def test_layer_norms_have_the_eps_of_the_encoder_authors(skeleton: mit_fusion.MiTFusion) -> None:
    eps = [module.eps for module in skeleton.modules() if isinstance(module, nn.LayerNorm)]
    assert (eps.count(1e-6), eps.count(1e-5), len(eps)) == (20, 10, 30)


def test_heads_are_32_wide() -> None:
    with torch.device("meta"):
        networks = mit_fusion.mit_fusion(), mit_fusion.mit_fusion_w128()
    heads = [[m.heads for m in network.modules() if isinstance(m, mit_fusion.Attention)][::2] for network in networks]
    assert heads == [[1, 2, 5, 8], [1, 2, 4, 8]]


def test_widths_that_heads_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the head width 32"):
        mit_fusion.MixTransformer(3, (32, 64, 100, 256))


def test_drop_path_grows_linearly(skeleton: mit_fusion.MiTFusion) -> None:
    rates = [module.rate for module in skeleton.modules() if isinstance(module, mit_fusion.DropPath)]
    assert rates == pytest.approx([0.1 * block / 7 for block in range(8)])


def test_drop_path_drops_whole_samples_in_training_only() -> None:
    torch.manual_seed(0)
    drop, ones = mit_fusion.DropPath(0.5), torch.ones(64, 2, 2, 3)
    dropped = drop(ones)
    per_sample = dropped[:, 0, 0, 0]
    assert set(per_sample.tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, per_sample[:, None, None, None].expand_as(dropped))
    assert drop.eval()(ones) is ones


def test_score_weights_the_last_map() -> None:
    """With F_R held at zero the head sees F4 alone; at one, twice F4."""
    torch.manual_seed(0)
    network = mit_fusion.mit_fusion().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        pooled = network.encoder(images)[-1].mean(dim=(2, 3))
        nn.init.zeros_(network.fusion.weight)
        for held in (0.0, 1.0):
            nn.init.constant_(network.fusion.bias, held)  # type: ignore[arg-type]
            torch.testing.assert_close(network(images), network.fc((1 + held) * pooled))


@pytest.mark.parametrize("side", [29, 32, 48, 100, 224])
def test_pooled_maps_fit_the_last_at_any_side(side: int, skeleton: mit_fusion.MiTFusion) -> None:
    assert skeleton(torch.empty(2, 3, side, side, device="meta")).shape == (2, 7)


def test_is_the_function_of_transformers_with_weights_from_memory(segformer: Any) -> None:
    assert_same_stages(segformer, segformer.state_dict())


def test_is_the_function_of_transformers_with_stored_weights(segformer: Any, tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    segformer.save_pretrained(tmp_path)
    stored = files.load_file(tmp_path / "model.safetensors")
    assert "segformer.encoder.block.0.0.attention.self.key.weight" in stored
    assert_same_stages(segformer, stored)


@pytest.mark.parametrize("prefix", ["", "backbone.", "encoder."])
def test_layout_of_the_encoder_authors_loads(prefix: str, skeleton: mit_fusion.MiTFusion) -> None:
    ours = skeleton.encoder.state_dict()
    theirs = nvlabs_layout(ours)
    assert len(theirs) == 176
    assert {
        "patch_embed1.proj.weight",
        "block4.1.attn.kv.bias",
        "block1.0.attn.norm.weight",
        "norm4.bias",
    } <= theirs.keys()
    converted = mit_fusion.convert_state_dict({prefix + key: value for key, value in theirs.items()})
    assert converted.keys() == {"encoder." + key for key in ours}
    assert all(converted["encoder." + key] is ours[key] for key in ours)


def test_keys_stand_before_values() -> None:
    self_attention = "segformer.encoder.block.2.1.attention.self."
    state = {self_attention + "value.weight": torch.ones(2, 2), self_attention + "key.weight": torch.zeros(2, 2)}
    converted = mit_fusion.convert_state_dict(state)
    assert list(converted) == ["encoder.stages.2.blocks.1.attention.kv.weight"]
    assert converted["encoder.stages.2.blocks.1.attention.kv.weight"].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_convert_keeps_our_keys_heads_and_unknown_ones(skeleton: mit_fusion.MiTFusion) -> None:
    heads = [
        "head.weight",
        "classifier.bias",
        "decode_head.linear_fuse.conv.weight",
        "decode_head.linear_c.0.proj.weight",
    ]
    unknown = ["epoch", "block1.0.attn.new.weight", "backbone.norm5x.weight"]
    state = {**skeleton.state_dict(), **{key: torch.ones(1) for key in heads + unknown}}
    assert mit_fusion.convert_state_dict(state).keys() == state.keys()
