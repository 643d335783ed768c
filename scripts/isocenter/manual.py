"""The manual of the files that a person writes: one key table a schema, kept in ``config/README.md``.

``python -m isocenter.manual`` writes the tables anew between their markers, and the pages of commands and models below
``docs/reference``; tests hold all of them against what they are made from.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isocenter.errors import ConfigError, explain
from isocenter.schemas import SCHEMAS, load_schema, resolve

MANUAL = SCHEMAS.parents[1] / "config" / "README.md"

MARKERS = re.compile(r"(<!-- keys of ([a-z]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)

HEADER = "| key | type | unit | default | meaning |\n|---|---|---|---|---|\n"


def list_schemas() -> list[str]:
    """The names of all schemas."""
    return sorted(path.name.removesuffix(".schema.yaml") for path in SCHEMAS.glob("*.schema.yaml"))


def list_keys(schema: str) -> list[dict[str, str]]:
    """Every key of a schema in its order: ``key`` (dotted path), ``type``, ``unit``, ``default``, ``meaning``."""
    root = load_schema(schema)
    return list(_walk(root, "", root, {}))


def _walk(node: dict[str, Any], path: str, root: dict[str, Any], seen: dict[str, str]) -> Iterator[dict[str, str]]:
    reference = node.get("$ref", "")
    node = resolve(node, root)
    first = seen.setdefault(reference, path) if reference and node.get("type") == "object" else path
    if path and node.get("description"):
        yield {
            "key": path,
            "type": _type(node),
            "unit": str(node.get("unit", "")),
            "default": _default(node),
            "meaning": " ".join(str(node["description"]).split())
            + (f" Keys as in `{first}`." if first != path else ""),
        }
    if first != path:
        return
    required = node.get("required", [])
    for key, sub in node.get("properties", {}).items():
        for row in _walk(sub, f"{path}.{key}" if path else key, root, seen):
            is_own = row["key"] == (f"{path}.{key}" if path else key)
            yield {**row, "default": "required"} if is_own and key in required and not row["default"] else row
    named = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    for sub in named:
        if isinstance(sub, dict):
            yield from _walk(sub, f"{path}.*" if path else "*", root, seen)
    items = node.get("items")
    if isinstance(items, dict) and "properties" in resolve(items, root):
        # The list's own row has said what an entry is; its keys follow.
        yield from (row for row in _walk(items, f"{path}[]", root, seen) if row["key"] != f"{path}[]")


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return " · ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    types = node.get("type", "any")
    return " or ".join([types] if isinstance(types, str) else types)


def _default(node: dict[str, Any]) -> str:
    if "default" not in node:
        return ""
    value = node["default"]
    words = {None: "`null`", True: "`true`", False: "`false`", "": '`""`'}
    try:
        return words[value] if value is None or isinstance(value, bool) or value == "" else f"`{value}`"
    except TypeError:
        return f"`{value}`"


def render_table(schema: str) -> str:
    """The key table of a schema as Markdown."""
    cells = ("key", "type", "unit", "default", "meaning")
    rows = ({**row, "key": f"`{row['key']}`"} for row in list_keys(schema))
    return HEADER + "".join("| " + " | ".join(row[c].replace("|", "\\|") for c in cells) + " |\n" for row in rows)


def render_manual(text: str) -> str:
    """A manual's text with the table between each pair of markers written anew."""
    absent = sorted(set(list_schemas()) - {match[2] for match in MARKERS.finditer(text)})
    if absent:
        raise ConfigError(
            explain(
                "The manual has no place for a schema's keys",
                where="config/README.md",
                expected=", ".join(f"<!-- keys of {name} --> … <!-- end of {name} -->" for name in absent),
                remedy="add the two markers where the table should stand",
            )
        )
    return MARKERS.sub(lambda match: f"{match[1]}{render_table(match[2])}{match[3]}", text)


def write_manual(path: Path = MANUAL) -> None:
    """Write the key tables of the manual anew."""
    path.write_text(render_manual(path.read_text(encoding="utf-8")), encoding="utf-8")


def write_reference() -> None:
    """Write the pages of commands and of signal models anew."""
    from isocenter import command_manual, model_manual  # they load every command and every model

    command_manual.PAGE.write_text(command_manual.render_commands(), encoding="utf-8")
    model_manual.PAGE.write_text(model_manual.render_models(), encoding="utf-8")


if __name__ == "__main__":
    write_manual()
    write_reference()
