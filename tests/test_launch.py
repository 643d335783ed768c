"""What is changed about Snakemake when it is started: the same plan, found sooner."""

import functools
import inspect

import pytest
from snakemake import common, jobs, rules, sourcecache

from isocenter.warm import launch


@pytest.fixture
def looked_up(monkeypatch):
    """Snakemake as `look_up_once` leaves it; as it was afterwards."""
    asked = []
    for module in (common, jobs, rules):
        monkeypatch.setattr(module, "get_function_params", common.get_function_params)
    monkeypatch.setattr(sourcecache, "parse_uri", common.parse_uri)
    signature = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda function: asked.append(function) or signature(function))
    launch.look_up_once()
    return asked


def test_functions_of_rules_have_the_parameters_that_snakemake_finds(looked_up):
    def overwritten(*args):
        return args

    common.overwrite_function_params(overwritten, ["wildcards", "input"])
    functions = [lambda wildcards: 1, lambda wildcards, input, attempt: 2]
    functions.append(functools.partial(functions[1], attempt=1))
    for function in functions:
        for module in (common, jobs, rules):
            assert list(module.get_function_params(function)) == list(inspect.signature(function).parameters)
    assert rules.get_function_params(overwritten) == ["wildcards", "input"]
    given = {"input": 1, "output": 2, "attempt": 3}
    assert rules.get_input_function_aux_params(functions[1], given) == {"input": 1, "attempt": 3}


def test_a_function_is_looked_at_once(looked_up):
    def size(wildcards, attempt):
        return attempt

    for _ in range(5):
        rules.get_function_params(size)
        rules.get_input_function_aux_params(size, {})
    assert looked_up.count(size) == 1


def test_addresses_of_scripts_are_those_that_snakemake_finds(looked_up):
    for address in ("/trial/scripts/fit_map.py", "file:///trial/scripts/fit_map.py", "https://example.org/fit map.py"):
        assert sourcecache.parse_uri(address) == common.parse_uri(address)
        assert sourcecache.parse_uri(address) is sourcecache.parse_uri(address)
