"""A step that goes on without a scan does not do so because the disk was full."""

import ast

import pytest

from house.source import steps

#: What tells the machine's trouble apart from the data's, and passes it on.
PASSES = {"from_error", "raise_trouble"}


def catches_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id == "Exception")


def calls(handler: ast.ExceptHandler) -> set[str]:
    found = (node.func for node in ast.walk(handler) if isinstance(node, ast.Call))
    return {getattr(function, "attr", getattr(function, "id", "")) for function in found}


@pytest.mark.parametrize("path", steps(), ids=lambda path: path.stem)
def test_what_catches_everything_asks_whose_fault_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        if function.name.startswith("_draw"):  # a picture decides nothing, and is written by what asks
            continue
        for handler in (node for node in ast.walk(function) if isinstance(node, ast.ExceptHandler)):
            if catches_everything(handler):
                assert calls(handler) & PASSES, f"{path.name}, line {handler.lineno}"
