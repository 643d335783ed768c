"""One function, two lives: every step ends in the line that binds it, and its rule's names are its arguments."""

import ast
import importlib
import inspect

import pytest

from house.source import arguments, rules, steps
from isocenter import layout
from isocenter.step import RERUN_KEYS, THREADS, check_names, roles

#: Called from the command line before there is a trial to plan; the only step without a rule.
WITHOUT_RULE = {"simulate_trial"}

#: Directives that every rule with a script has.
DIRECTIVES = {"output", "log", "params", "message", "script"}


def bound_rules() -> dict[str, dict[str, str]]:
    return {name: rule for name, rule in rules().items() if "script" in rule}


def names_in_rules() -> dict[str, object]:
    return {"layout": layout}


@pytest.mark.parametrize("name", bound_rules())
def test_rule_names_are_the_steps_arguments(name):
    rule = bound_rules()[name]
    assert ast.literal_eval(rule["script"].strip()) == f"../../scripts/{name}.py"
    function = getattr(importlib.import_module(name), name)
    given = {role: set(arguments(rule.get(role, ""), names_in_rules())) for role in ("input", "output", "params")}
    assert check_names(function, given) == []
    assert ("threads" in rule) == (THREADS in inspect.signature(function).parameters)


@pytest.mark.parametrize("name", bound_rules())
def test_rule_says_what_it_does_and_with_which_code(name):
    rule = bound_rules()[name]
    assert set(rule) >= DIRECTIVES
    code = arguments(rule["params"], names_in_rules()).get("code")
    assert code is not None, "without the code's digest a changed module would not rerun the rule"
    assert f"code_digest('{name}'" in ast.unparse(code)


def test_every_step_has_a_rule():
    assert {path.stem for path in steps()} - WITHOUT_RULE == set(bound_rules())


@pytest.mark.parametrize("path", steps(), ids=lambda path: path.stem)
def test_step_is_one_function_and_its_binding(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module's docstring is the command line's help"
    *body, last = tree.body
    assert ast.unparse(last) == f"if __name__ == '__main__':\n    run_step({path.stem}, globals())"
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    assert path.stem in functions
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in body[1:]:
        assert isinstance(node, harmless), f"line {node.lineno} runs when the step is imported"


@pytest.mark.parametrize("path", steps(), ids=lambda path: path.stem)
def test_step_knows_neither_snakemake_nor_the_config(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            assert node.id != "snakemake"
        if isinstance(node, ast.Subscript):
            assert ast.unparse(node.value) != "config"


@pytest.mark.parametrize("path", steps(), ids=lambda path: path.stem)
def test_step_has_typed_arguments(path):
    function = getattr(importlib.import_module(path.stem), path.stem)
    found = roles(function)
    assert found["output"] or path.stem in WITHOUT_RULE, "a step writes something"
    assert not set(found["params"]) & set(RERUN_KEYS), "these names belong to Snakemake"
    for name, parameter in inspect.signature(function).parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty, name


def test_the_parser_of_rules_sees_a_difference():
    """The test above can fail: a rule whose names drift is told apart."""

    def step(scans, *, table):
        pass

    assert check_names(step, {"params": {"scans", "table"}}) == []
    assert check_names(step, {"params": {"scan", "table"}}) == [
        "params 'scan' is not an argument of step",
        "params 'scans' of step is not given",
    ]
    assert set(arguments("a=1, **{n: 0 for n in layout.STATISTICS_TABLES}", names_in_rules())) == {
        "a",
        *layout.STATISTICS_TABLES,
    }
