"""The manual of the signal models, made from their cards: ``docs/reference/models.md``."""

import ast
import inspect
import math
import re
from pathlib import Path

from isocenter import models
from isocenter.models import Model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "models.md"

_HEAD = """<!-- Made from the models' cards by python -m isocenter.manual; a test holds it against them. -->
# Signal models

The name stands under `model` of a biomarker (`config/biomarkers.yaml`) and after `isocenter fit`; options stand under
`options`, or after `--option KEY=VALUE`. Needs and uses are keys of the BIDS sidecar, in its units.
"""
_KEYS = ("equation", "assumptions", "needs", "options", "parameters", "known bias", "reference")
_SHOWN = ("equation", "assumptions", "options", "known bias", "reference")
_DOI = re.compile(r"\b(10\.\d{4,9}/[^\s,;]*[^\s,;.)])")


def render_models() -> str:
    """The page: one section a model, in the order of their names."""
    return _HEAD + "".join(f"\n{_section(models.get(name))}" for name in sorted(models.names()))


def read_card(model: Model) -> dict[str, list[str]]:
    """The card at the top of a model's file: its lines under each key, less their common indent."""
    source = Path(inspect.getfile(type(model))).read_text(encoding="utf-8")
    card: dict[str, list[str]] = {}
    key = ""
    for line in (ast.get_docstring(ast.parse(source)) or "").splitlines():
        start = next((k for k in _KEYS if line.startswith(f"{k} ")), "")
        if start:
            key = start
            card[key] = [line[len(start) :].strip()]
        elif key and line.startswith(" "):
            card[key].append(line.strip())
        else:
            key = ""
    return card


def _section(model: Model) -> str:
    card = read_card(model)
    told = "".join(_paragraph(key, card[key]) for key in _SHOWN if key in card)
    options = ", ".join(f"`{key}={_default(value)}`" for key, value in model.options.items())
    told += f"**defaults** {options}\n\n" if options else ""
    told += f"**needs** {_list(model.needs)}" + (f"; uses {_list(model.uses)}" if model.uses else "") + "\n\n"
    rows = "".join(
        f"| `{p.name}` | {p.unit} | {_bound(p.lower)} to {_bound(p.upper)} | {p.meaning} |\n" for p in model.parameters
    )
    return (
        f"## {model.name}\n\n{model.title}. {model.algorithm}.\n\n{told}"
        f"| parameter | unit | range | meaning |\n|---|---|---|---|\n{rows}"
    )


def _paragraph(key: str, lines: list[str]) -> str:
    if key == "equation":
        return _verbatim(lines)
    if key == "options":
        return f"**{key}**\n\n" + _verbatim(lines)
    parts = " ".join(lines).split("`")  # what stands between backticks is code, where nothing is markup
    text = "`".join(re.sub(r"([*<>\[\]|])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(parts))
    return f"**{key}** " + _DOI.sub(r"[\1](https://doi.org/\1)", text) + "\n\n"


def _verbatim(lines: list[str]) -> str:
    return "```text\n" + "\n".join(lines) + "\n```\n\n"


def _list(keys) -> str:
    return ", ".join(f"`{key}`" for key in keys) or "nothing but the images"


def _default(value) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def _bound(value: float) -> str:
    return "∞" if value == math.inf else "−∞" if value == -math.inf else f"{value:g}".replace("-", "−")
