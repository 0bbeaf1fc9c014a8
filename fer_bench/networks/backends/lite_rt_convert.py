"""Convert a program of ``torch.export`` into a ``.tflite`` file; run by the interpreter that has ``litert-torch``.

    python lite_rt_convert.py program.pt2 model.tflite
    python lite_rt_convert.py --versions

It imports nothing of ours.
"""

import importlib.metadata
import sys


def main(source: str, target: str) -> None:
    """Convert a file."""
    import litert_torch
    import torch

    program = torch.export.load(source)
    arguments, _ = program.example_inputs
    litert_torch.convert(program.module(), arguments).export(target)


if __name__ == "__main__":
    if sys.argv[1:] == ["--versions"]:
        for name in ("litert-torch", "litert-converter", "torch"):
            print(name, importlib.metadata.version(name))
    else:
        main(*sys.argv[1:])
