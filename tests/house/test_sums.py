"""In kernels whose sums may be reordered no loop both stores and sums (decision 0107).

Such a loop asks at run time where its arrays lie, and sums in another order by the answer: results would differ in
their last digits from one run to the next. Looked for in the sources, and in the machine code that they became.
"""

import ast
import pickle
import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from house.source import PACKAGE
from isocenter.fitting import compile_kernels
from isocenter.models import compiled

REORDERING = {"vector_kernel", "lean_vector_kernel", "inlined_kernel"}


def kernels(source):
    """Functions of a source whose sums may be reordered."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and REORDERING & {ast.unparse(mark) for mark in node.decorator_list}:
            yield node


def innermost_loops(function):
    for loop in ast.walk(function):
        if isinstance(loop, ast.For | ast.While):
            inside = [node for node in ast.walk(loop) if node is not loop]
            # A loop that may end early is not made into vector code.
            if not any(isinstance(node, ast.For | ast.While | ast.Break | ast.Return) for node in inside):
                yield loop, inside


def is_count(value):
    """Zeros and ones: their sum is the same in any order."""
    if isinstance(value, ast.IfExp):
        return isinstance(value.body, ast.Constant) and isinstance(value.orelse, ast.Constant)
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, ast.BitAnd | ast.BitOr)
    if isinstance(value, ast.Subscript):
        return ast.unparse(value.value).startswith("is_")
    return isinstance(value, ast.Compare) or (isinstance(value, ast.Constant) and isinstance(value.value, int))


def sums_of(inside):
    """Targets of `x += ...` and `x = x + ...`, with their lines."""
    for node in inside:
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub) and not is_count(node.value):
            yield node.target, node.lineno
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
            sides = ast.unparse(node.value.left), ast.unparse(node.value.right)
            if isinstance(node.value.op, ast.Add | ast.Sub) and ast.unparse(node.targets[0]) in sides:
                yield node.targets[0], node.lineno


def written(inside, until=np.inf):
    """Names that a loop gives a new value, before a line."""
    return {
        name.id
        for node in inside
        if isinstance(node, ast.Assign) and node.lineno < until
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }


def names(node):
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def find_mixed_loops(source):
    """Function and line of innermost loops that both store and sum."""
    for function in kernels(source):
        for loop, inside in innermost_loops(function):
            stores = any(isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) for node in inside)
            turns = written(inside) | (names(loop.target) if isinstance(loop, ast.For) else set())
            for target, line in sums_of(inside):
                if isinstance(target, ast.Name):
                    is_mixed = stores and target.id not in written(inside, line)
                else:  # a place of an array that is the same in every turn
                    is_mixed = not names(target.slice) & turns
                if is_mixed:
                    yield f"{function.name}, line {line}"


MIXED = """
@vector_kernel
def kernel(a, b, count):
    total = 0.0
    for i in range(count):
        {}
    return total
"""


@pytest.mark.parametrize(
    ("body", "is_mixed"),
    [
        ("b[i] = a[i]; total += a[i]", True),
        ("b[i] = a[i]; total = total + a[i]", True),
        ("b[0] += a[i]", True),
        ("b[0] -= a[i] * a[i]", True),
        ("total += a[i]", False),
        ("b[i] = a[i]; total += 1", False),
        ("b[i] = a[i]; total += a[i] > 0.0", False),
        ("b[i] += a[i]", False),
        ("x = a[i]\n        x += 1.5 * b[i]\n        b[i] = x", False),
    ],
)
def test_a_loop_that_does_both_is_seen_in_a_source(body, is_mixed):
    assert bool(list(find_mixed_loops(MIXED.format(body)))) is is_mixed


def test_no_loop_both_stores_and_sums():
    sources = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    assert sum(len(list(kernels(source))) for source in sources.values()) > 50
    found = [
        f"{path.relative_to(PACKAGE)}: {where}" for path, text in sources.items() for where in find_mixed_loops(text)
    ]
    assert not found, "make two loops of each, one that stores and one that sums: " + "; ".join(found)


_FUNCTION = re.compile(r'^define [^@]*@"?([^"(]+)"?\(.*?^}', re.M | re.S)
_LABEL = re.compile(r'^"?([\w.$-]+)"?:')
_NEXT = re.compile(r'label %"?([\w.$-]+)"?')
_SUM = re.compile(r"= phi <\d+ x (?:double|float)>")


def find_asking_sums(code):
    """Functions of LLVM code in which vectors are summed only if arrays were found to lie apart."""
    for function in _FUNCTION.finditer(code):
        if "vector.memcheck" not in function[0]:
            continue
        blocks, label = {}, ""
        for line in function[0].splitlines()[1:]:
            if begins := _LABEL.match(line):
                label = begins[1]
            blocks.setdefault(label, []).append(line)
        waiting = [label for label in blocks if label.startswith("vector.memcheck")]
        seen = set()
        while waiting:
            label = waiting.pop()
            if label in seen or not label.startswith("vec"):
                continue
            seen.add(label)
            if "vector.body" in label:
                if any(_SUM.search(line) for line in blocks[label]):
                    yield function[1]
                continue
            waiting += [label for line in blocks[label] if " br " in line for label in _NEXT.findall(line)]


def test_a_loop_that_does_both_is_seen_in_machine_code(tmp_path):
    """The compiler does what the decision says it does: else the test below would see nothing."""
    names = {"vector_kernel": lambda function: compiled.numba.njit(fastmath=compiled._REORDERED)(function)}
    found = []
    for body in ("b[i] = 2.0 * a[i]; total += a[i]", "b[i] = 2.0 * a[i]", "total += a[i]"):
        space = dict(names)
        exec(MIXED.format(body), space)
        space["kernel"](np.ones(64), np.ones(64), 64)
        (code,) = space["kernel"].inspect_llvm().values()
        found.append(bool(list(find_asking_sums(code))))
    assert found == [True, False, False]


def test_no_sum_asks_where_arrays_lie():
    compile_kernels()
    found, files = set(), 0
    for package in ("consensus", "fields", "fitting", "interpolation", "models", "statistics"):
        folder = PACKAGE / "__pycache__" / f"kernels-{package}-{compiled.source_digest(package)}"
        for path in sorted(folder.rglob("*.nbc")):
            if path.name.startswith("test_"):  # a kernel of a test, whose module is not at hand here
                continue
            library = next(part for part in pickle.loads(path.read_bytes()) if "object" in part)
            _, bitcode = library[2]
            files += 1
            found |= set(find_asking_sums(str(llvm.parse_bitcode(bitcode))))
    assert files > 150
    assert not found, "make two loops of each: " + "; ".join(sorted(found))
