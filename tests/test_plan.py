"""The plan: its presets, its refusals, and the settings of a factory."""

import dataclasses
import json

import pytest

from fer_bench.errors import FerBenchError
from fer_bench.plan import PRESETS, QUICK, SAFAVI2023, Plan, parse_settings


def test_the_protocol_of_paper_001_is_as_section_iii_has_it():
    assert (SAFAVI2023.input_size, SAFAVI2023.batch_size, SAFAVI2023.runs) == (224, 48, 300)
    assert SAFAVI2023.max_time_s is None


def test_presets_are_found_under_their_own_names():
    assert all(plan.protocol == name for name, plan in PRESETS.items())


def test_a_plan_survives_json():
    assert Plan.of(json.loads(json.dumps(QUICK.to_dict()))) == QUICK


@pytest.mark.parametrize("name", ["batch_size", "runs", "num_classes", "input_size", "threads"])
def test_a_plan_refuses_less_than_one(name):
    with pytest.raises(FerBenchError, match=f"{name} is 0: it starts at 1"):
        dataclasses.replace(QUICK, **{name: 0})


def test_settings_are_literals_or_else_strings():
    given = ["width=0.5", "depth=3", "stages=(1, 2)", "on=True", "act=relu", "empty=", "eq=a=b"]
    assert parse_settings(given) == {
        "width": 0.5,
        "depth": 3,
        "stages": (1, 2),
        "on": True,
        "act": "relu",
        "empty": "",
        "eq": "a=b",
    }


@pytest.mark.parametrize("setting", ["width", "=3", "a-b=3", ""])
def test_a_setting_that_is_none_is_named(setting):
    with pytest.raises(FerBenchError, match="is not KEY=VALUE"):
        parse_settings([setting])
