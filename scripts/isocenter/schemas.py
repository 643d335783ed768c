"""Schemas of the files that a person writes: JSON Schema 2020-12 in ``workflow/schemas/``, written as YAML."""

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from isocenter.errors import ConfigError, explain

#: The repository's schemas, beside the workflow that is checked with them.
SCHEMAS = Path(__file__).resolve().parents[2] / "workflow" / "schemas"


@cache
def load_schema(schema: str) -> dict[str, Any]:
    """The schema called `schema` (``workflow/schemas/<schema>.schema.yaml``)."""
    path = SCHEMAS / f"{schema}.schema.yaml"
    if not path.is_file():
        raise ConfigError(
            explain(
                "A schema is missing",
                where=str(path),
                remedy="run Isocenter from its repository, where workflow/schemas stands beside scripts",
            )
        )
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def load_validator(schema: str) -> Any:
    """A validator for the schema called `schema`."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def check_pattern(validator, pattern, instance, _schema):
        # Python's "$" also matches before a last line break; a label with one must not become a path.
        if isinstance(instance, str) and (not re.search(pattern, instance) or "\n" in instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")

    return extend(Draft202012Validator, {"pattern": check_pattern})(load_schema(schema))


def fill_defaults(content: Any, schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """A copy of `content` in which every absent key has its schema's default."""
    root = root if root is not None else schema
    schema = resolve(schema, root)
    if isinstance(content, dict):
        filled = dict(content)
        properties = schema.get("properties", {})
        for key, sub in properties.items():
            sub = resolve(sub, root)
            if key not in filled and "default" in sub:
                filled[key] = copy.deepcopy(sub["default"])
        others = schema.get("additionalProperties")
        for key, value in filled.items():
            sub = properties.get(key, others if isinstance(others, dict) else None)
            if sub is not None:
                filled[key] = fill_defaults(value, sub, root)
        return filled
    if isinstance(content, list) and isinstance(schema.get("items"), dict):
        return [fill_defaults(value, schema["items"], root) for value in content]
    return content


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A schema with its local reference (``#/$defs/…``) followed; its own keywords win."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Any = root
    for part in reference.removeprefix("#/").split("/"):
        target = target[part]
    return {**resolve(target, root), **{key: value for key, value in schema.items() if key != "$ref"}}
