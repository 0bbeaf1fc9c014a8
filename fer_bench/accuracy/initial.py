"""Initial weights of a training: random ones, a file's, or those of ImageNet that torchvision or timm publish.

A classifier of another number of classes stays random, and so do layers that the file lacks. A first convolution of
another number of channels is refused: what its weights should become is not to be guessed.
"""

from pathlib import Path

import torch
from torch import nn

from fer_bench.accuracy.recipes import Recipe
from fer_bench.networks.checkpoints import LoadReport, load_checkpoint
from fer_bench.networks.spec import ModelSpec
from fer_bench.records.errors import CheckpointError, FerBenchError, brief

RANDOM = "random"
_LEAST = 0.5  # of a network's entries: a file with fewer is another network's
_OF_LIBRARIES = {  # our names of networks that are a library's own
    **{name: f"torchvision:{name}" for name in ("densenet121", "resnet50", "resnet101", "resnet152")},
    "mobilenetv3_large": "torchvision:mobilenet_v3_large",
    "inception_v4": "timm:inception_v4",
}


def begin(model: nn.Module, spec: ModelSpec, recipe: Recipe, checkpoint: str | Path = "") -> str:
    """Give a network its initial weights, and return what they are, with what stays random.

    Args:
        model: with the random weights that it was made with.
        spec: of the network.
        recipe: says whether it begins with ImageNet's.
        checkpoint: a file of weights, which goes first; "" for none.

    Raises:
        CheckpointError: the file cannot be read, or is another network's.
        FerBenchError: ImageNet's weights are not to be had.
    """
    if str(checkpoint):
        return _loaded(model, spec, checkpoint)
    if recipe.initial == "imagenet":
        return f"ImageNet, {_loaded(model, spec, _published(spec, recipe))}"
    return RANDOM


def _loaded(model: nn.Module, spec: ModelSpec, path: str | Path) -> str:
    report = load_checkpoint(model, path, spec, strict=False)
    classifier = _classifier(model)
    others = [text for text in report.mismatched if text.partition(":")[0].rpartition(".")[0] != classifier]
    entries = len([key for key in model.state_dict() if not key.endswith("num_batches_tracked")])
    loaded = len([key for key in report.loaded if not key.endswith("num_batches_tracked")])
    name = Path(path).name
    if others:
        raise CheckpointError(
            f"{name} does not fit {spec.name}: {others[0]}; only the classifier, {classifier}, may differ; "
            "try: a file of this network, with as many channels of images"
        )
    if loaded < _LEAST * entries:
        raise CheckpointError(
            f"{name} is another network's: {loaded} of {entries} entries of {spec.name} are in it; "
            f"try: `fer-bench check-weights {spec.name} FILE`"
        )
    return f"{name}: {loaded} of {entries} entries" + _left_out(report, classifier)


def _left_out(report: LoadReport, classifier: str) -> str:
    """Return what stays random, and what the file has besides."""
    parts = []
    if report.mismatched:
        parts.append(f"the classifier {classifier} has another number of classes and stays random")
    if report.missing:
        parts.append(f"{len(report.missing)} entries are not in it and stay random, such as {report.missing[0]}")
    if report.unexpected:
        parts.append(f"{len(report.unexpected)} of its entries have no place here, such as {report.unexpected[0]}")
    return "".join(f"; {part}" for part in parts)


def _classifier(model: nn.Module) -> str:
    """Return the name of the last layer with weights."""
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else ""


def _published(spec: ModelSpec, recipe: Recipe) -> Path:
    """Return the file of ImageNet's weights of a library's network, downloaded where it is not there yet."""
    source = spec.source
    name = f"{source.kind}:{source.label}" if source.kind in ("torchvision", "timm") else _OF_LIBRARIES.get(spec.name)
    others = [f"--recipe {recipe.name}:{variant}" for variant in recipe.variants if variant == "scratch"]
    remedy = " or ".join(["--initial FILE", *others])
    if name is None:
        raise FerBenchError(
            f"recipe {recipe.name} begins with weights of ImageNet, and neither torchvision nor timm has any for "
            f"{spec.name}; try: {remedy}"
        )
    library, _, label = name.partition(":")
    try:
        return _from_torchvision(label) if library == "torchvision" else _from_timm(label)
    except Exception as error:  # of the network, of the disk, or of the library itself
        raise FerBenchError(
            f"recipe {recipe.name} begins with weights of ImageNet, and those of {name} cannot be had: "
            f"{brief(error)}; try: {remedy}"
        ) from error


def _from_torchvision(label: str) -> Path:
    from torchvision import models

    weights = models.get_model_weights(label)["IMAGENET1K_V1"]  # the recipe that papers mean; others are newer
    weights.get_state_dict(progress=False, check_hash=True)
    return Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])


def _from_timm(label: str) -> Path:
    import timm
    from huggingface_hub import hf_hub_download

    published = timm.get_pretrained_cfg(label)
    if published is None or not published.hf_hub_id:
        raise LookupError(f"timm names no file of {label}")
    return Path(hf_hub_download(published.hf_hub_id, "model.safetensors"))
