"""The public names pass a strict type checker as users write them. Checked by mypy, never run."""

from pathlib import Path

import pandas
import torch

import fer_bench as fb

version: str = fb.__version__
names: list[str] = fb.list_models()
registry: fb.Registry = fb.Registry([Path("my_models")])
spec: fb.ModelSpec = fb.find("mini_xception")
model: torch.nn.Module = fb.create_model("resnet50", num_classes=7, in_channels=1)
weighted: torch.nn.Module = fb.create_model("resmaskingnet", checkpoint=Path("weights.pt"))
cut: torch.nn.Module = fb.truncate(model, at="layer3.2", block="patch_attention", num_classes=6)
counted: fb.Count = fb.count(spec, fb.Build(num_classes=8), batch=4, counters=["thop"])
by_name: fb.Count = fb.count("my_net", input_shape=(3, 96, 96), num_classes=8, registry=registry)
of_module: fb.Count = fb.count(model, input_shape=(1, 224, 224), name="mine")
macs: int = counted.inference.macs
trainable: int = counted.parameters.trainable
row: pandas.DataFrame = counted.to_frame()
seen: fb.Trace = fb.trace(model, (torch.empty(1, 1, 224, 224),), train=True)
contract: fb.InputContract = fb.input_contract(spec, Path("weights.pt"), "sheet")
missing: tuple[str, ...] = fb.load_checkpoint(model, "weights.pt", strict=False).missing
plan: fb.Plan = fb.Plan("mine", threads=1)

results: fb.Results = fb.load("last", store="results.sqlite", registry=registry)
measured: fb.Results = fb.measure(
    ["resnet50", model], "edge", metrics=["static"], input_shape=(1, 96, 96), batch_size=8
)
of_plan: fb.Results = fb.measure({"mine": model}, plan, store="results.sqlite", progress=False)
evaluated: fb.Results = fb.evaluate("mini_xception", Path("faces"), checkpoint="weights.h5", split="test", tta=10)
swept: fb.Sweep = fb.sweep(
    "patch-adaptation", backbone="resnet101", metrics=["static"], under="params=5M", batch_size=8
)
cuts: tuple[str, ...] = swept.labels
learnt: fb.Trainings = fb.train("mini_xception", "rao2023", Path("faces"), epochs=9, seeds=5, precision="bf16")
of_epochs: pandas.DataFrame = learnt.to_frame()
first: fb.Result = results[0]
some: fb.Results = results[:2]
frame: pandas.DataFrame = results.to_frame()

drawn: fb.Report = fb.report(results, names=["latency"], columns=["name", "latency_s"], sort="-latency_s", best=True)
heading: str = drawn["latency"].title
drawn.write(Path("drawn"), ["csv"])
verdicts: fb.Audit = fb.audit(pandas.DataFrame({"Model": ["ResNet-50"], "Params (M)": ["25.6"]}), num_classes=1000)
wrong: fb.Audit = fb.audit(papers=["001"], known=results, recount=False).wrong

drawn_faces: Path = fb.make_faces(Path("faces"), "folder", images=100, persons=20, duplicates=2)
recipe: fb.Recipe = fb.read_recipe(fb.recipe_names()[0]).with_(epochs=3)
faces: fb.Dataset = fb.load_data(drawn_faces, split="training", classes=["happy", "sad"], cache=False)
images_of_each: dict[str, int] = faces.subset(range(10)).counts()
people: pandas.DataFrame = faces.to_frame()
changed: pandas.DataFrame = fb.sensitivity(model, faces, contract).to_frame()
disturbed: pandas.DataFrame = fb.robustness(lambda batch: batch[:, 0, 0, :7], faces, contract, most=None).to_frame()

live: fb.Results = fb.realtime("my_net", "clip.mp4", detector="mtcnn", rate=24)
reason: str = fb.deploy("my_net", "onnxruntime", out="onnx", precision="fp16").reason
points: pandas.DataFrame = fb.history("my_net", "macs", store="results.sqlite", where={"device": "cpu"}).to_frame()
code: int = fb.gate(["my_net"], against="main", limits={"max_params": "5M"}, min_effect=0.03).exit_code()
changes: pandas.DataFrame = fb.compare(results, "results.json", progress=False).to_frame()


def mistake() -> str:
    """Catch what the user can mend."""
    try:
        return fb.load(Path("results.json"))[0].subject.name
    except fb.FerBenchError as error:
        return str(error)
