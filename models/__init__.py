"""The zoo: one file a family, plain PyTorch, beside the sheet (TOML) that registers it.

A family file imports nothing of fer_bench and no other family, so that anyone may copy it out.
Import this folder as ``fer_bench.models``: as a top-level ``models`` every class would exist twice.
"""

if __name__ != "fer_bench.models":
    raise ImportError("import this folder as 'fer_bench.models', not as 'models'")
