"""What the house tests look at: the modules of the package, the steps, the rules."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
PACKAGE = SCRIPTS / "isocenter"
WORKFLOW = REPOSITORY / "workflow"


@cache
def package_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def steps() -> list[Path]:
    return sorted(SCRIPTS.glob("*.py"))


def module_name(path: Path) -> str:
    """``isocenter.io.nifti`` of a file; a package's ``__init__`` has the package's name."""
    return ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


@cache
def imported_modules(path: Path) -> set[str]:
    """Everything that a file imports, wherever in it, with names from a package spelled out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = module_name(path).split(".")
                base = base if path.name == "__init__.py" else base[:-1]
                base = base[: len(base) - node.level + 1]
                module = ".".join([*base, *([node.module] if node.module else [])])
            else:
                module = node.module or ""
            found.add(module)
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value))
    return found


@cache
def tracked_files() -> list[Path]:
    """The files that belong to the project; without git, everything that is not made by a run."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        names = [REPOSITORY / line for line in listing.stdout.splitlines()]
        return sorted(path for path in names if path.is_file())
    made = {".git", ".venv", "results", ".snakemake", "__pycache__", ".ruff_cache", ".pytest_cache", "demo-truth"}
    return sorted(p for p in REPOSITORY.rglob("*") if p.is_file() and not made & set(p.parts))


RULE = re.compile(r"^(?:rule|checkpoint) (?P<name>\w+):\n(?P<body>(?:(?:[ \t]+.*)?\n)+)", re.MULTILINE)
DIRECTIVE = re.compile(r"^    (?P<name>\w+):(?P<rest>.*)\n(?P<body>(?:(?:        .*)?\n)*)", re.MULTILINE)


@cache
def rules() -> dict[str, dict[str, str]]:
    """Rules by name: directive to the text of its arguments.

    snakefmt holds the files' form (one directive a block, four and eight spaces), so a small parser is enough and
    needs no trial to plan for.
    """
    found: dict[str, dict[str, str]] = {}
    for path in [WORKFLOW / "Snakefile", *sorted((WORKFLOW / "rules").glob("*.smk"))]:
        for rule in RULE.finditer(path.read_text(encoding="utf-8") + "\n"):
            assert rule["name"] not in found, f"two rules are called {rule['name']}"
            found[rule["name"]] = {
                directive["name"]: f"{directive['rest']}\n{directive['body']}"
                for directive in DIRECTIVE.finditer(rule["body"])
            }
    return found


def arguments(text: str, names: dict[str, object]) -> dict[str, ast.expr | None]:
    """The named arguments of a directive; ``**{…}`` is evaluated with `names`, its values are not looked at."""
    call = ast.parse(f"f({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    assert not call.args, f"an argument without a name: {ast.unparse(call.args[0])}"
    found: dict[str, ast.expr | None] = {}
    for keyword in call.keywords:
        if keyword.arg is not None:
            found[keyword.arg] = keyword.value
        else:
            expression = compile(ast.Expression(keyword.value), "rule", "eval")
            found.update(dict.fromkeys(eval(expression, {**names})))
    return found
