"""What made a result: digests of the code that a step uses and of the files it came from.

Snakemake tracks a rule's script but not the modules that the script imports. Each rule carries
:func:`code_digest` among its params, so that a change in any imported module of ours reruns exactly the jobs
that use it.
"""

import ast
import hashlib
import importlib.metadata
import platform
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
        digest.update(str(path.relative_to(SCRIPTS)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def imported_files(*scripts: Path) -> set[Path]:
    """The files of ours that `scripts` need, themselves included, by walking their import statements."""
    found: set[Path] = set()
    waiting = list(scripts)
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        if path.name == "__init__.py":
            found.update(file for file in path.parent.rglob("*") if file.suffix in DATA_SUFFIXES)
        waiting += [target for module in _imports(path) if (target := _file_of(module))]
    return found


@cache
def _imports(path: Path) -> tuple[str, ...]:
    modules: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.append(node.module)
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(m for m in modules if m == PACKAGE or m.startswith(f"{PACKAGE}."))


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
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            told = f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n"
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
