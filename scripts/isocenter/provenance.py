"""What made a result: digests of the code that a step uses and of the files it came from.

Snakemake tracks a rule's script but not the modules that the script imports. Each rule carries
:func:`code_digest` among its params, so that a change in any imported module of ours reruns exactly the jobs
that use it.
"""

import ast
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "isocenter"
#: Files of a package that its code reads: page templates, styles, citations.
DATA_SUFFIXES = frozenset({".html", ".css", ".js", ".tsv"})
SCRIPTS = Path(__file__).resolve().parent.parent
#: The exact versions of all packages, with their hashes.
LOCK = SCRIPTS.parent / "requirements.lock"


@cache
def code_digest(step: str, *, models: tuple[str, ...] = ()) -> str:
    """SHA-256 (12 hex digits) over a step's file and every module of ours that it imports, directly or not.

    Signal models are found by name when a job runs, which no import statement shows: `models` names the ones that
    the job uses.
    """
    digest = hashlib.sha256()
    model_files = [SCRIPTS / PACKAGE / "models" / f"{name}.py" for name in models]
    for path in sorted(imported_files(SCRIPTS / f"{step}.py", *model_files)):
        digest.update(_content(path))
    return digest.hexdigest()[:12]


@cache
def _content(path: Path) -> bytes:
    """What a file gives to a digest: its name among ours and its bytes. Dozens of steps share most of their modules."""
    return str(path.relative_to(SCRIPTS)).encode() + path.read_bytes()


def imported_files(*scripts: Path) -> set[Path]:
    """The files of ours that `scripts` need, themselves included, by walking their import statements."""
    found: set[Path] = set()
    waiting = [path for path in scripts if path.is_file()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            needed, data = _needs(path)
            found.update(data)
            waiting += needed
    return found


@cache
def _needs(path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The modules of ours that a file imports, and the other files of the package that it is the door of."""
    data: tuple[Path, ...] = ()
    if path.name == "__init__.py":
        data = tuple(file for file in path.parent.rglob("*") if file.suffix in DATA_SUFFIXES)
    return tuple(target for module in _imports(path) if (target := _file_of(module))), data


@cache
def _imports(path: Path) -> tuple[str, ...]:
    modules: list[str] = []
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.append(node.module)
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(m for m in modules if m == PACKAGE or m.startswith(f"{PACKAGE}."))


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """All statements of a file, without a look into expressions, which hold no import and most of the nodes."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            children = getattr(node, name, ())
            if isinstance(children, list):
                waiting += children
        if isinstance(node, ast.stmt):
            yield node


@cache
def _file_of(module: str) -> Path | None:
    stem = SCRIPTS.joinpath(*module.split("."))
    for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def tree_digest(folder: Path) -> str:
    """SHA-256 (12 hex digits) over names, sizes and times of the files under `folder`.

    It notices new, changed and removed files without reading them.
    """
    found = []
    for inside, _, names in os.walk(folder):
        parts = Path(inside).relative_to(folder).parts
        for name in names:
            with contextlib.suppress(OSError):  # a link to nowhere, or a file that has just gone
                status = os.stat(os.path.join(inside, name))
                if stat.S_ISREG(status.st_mode):
                    found.append(((*parts, name), status.st_size, status.st_mtime_ns))
    digest = hashlib.sha256()
    for parts, size, time in sorted(found):
        told = f"{'/'.join(parts)}\0{size}\0{time}\n"
        digest.update(told.encode("utf-8", "surrogatepass"))  # a name need not be UTF-8
    return digest.hexdigest()[:12]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def environment_digest() -> str:
    """SHA-256 of the lock of the environment; "" where the code is installed without it."""
    return file_digest(LOCK) if LOCK.is_file() else ""


#: What results are made with, as a methods text names it.
TOOLS = (
    "antspyx", "dcm2niix", "nibabel", "numba", "numpy", "pandas", "pingouin", "pydicom", "scipy", "snakemake",
    "statsmodels",
)  # fmt: skip


def installed_versions() -> dict[str, str]:
    """The versions of Python and of the packages in `TOOLS` that are installed."""
    found = {"Python": platform.python_version()}
    for name in TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def text_digest(text: str) -> str:
    """SHA-256 (12 hex digits) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
