"""What a schema has against a file, in one line a person can act on: where, expected, found, what to do."""

import difflib
from collections.abc import Iterator
from typing import Any

from isocenter.errors import explain
from isocenter.schemas import load_schema, load_validator, resolve

KeyPath = tuple[str | int, ...]


def find_complaints(
    content: Any, schema: str, name: str, lines: dict[KeyPath, int], *, flat: bool = False
) -> Iterator[str]:
    """One line per way in which `content` breaks its schema, in the order of the file."""
    errors = sorted(load_validator(schema).iter_errors(content), key=lambda e: [str(p) for p in e.absolute_path])
    for error in errors:
        path: KeyPath = tuple(error.absolute_path)
        line = lines.get(() if flat else path)
        key = ("column" if flat else "key") + f" {dotted(path)}"
        where = name + (f", line {line}" if line else "") + (f", {key}" if path else "")
        yield _describe(error, where, load_schema(schema))


def _describe(error: Any, where: str, root: dict[str, Any]) -> str:
    schema = resolve(error.schema, root) if isinstance(error.schema, dict) else {}
    remedy = " ".join(str(schema.get("description", "")).split())
    value = error.validator_value
    found = _shorten(error.instance)
    match error.validator:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            unknown = [key for key in error.instance if key not in known]
            close = [match for key in unknown for match in difflib.get_close_matches(key, known, 1)]
            return explain(
                f"Unknown key {', '.join(map(repr, unknown))}",
                where=where,
                expected=f"one of {', '.join(known)}",
                remedy=f"did you mean {', '.join(close)}?" if close else "remove it, or see config/README.md",
            )
        case "required":
            missing = [key for key in value if key not in error.instance and f"'{key}'" in error.message]
            known = schema.get("properties", {}).get(missing[0], {}) if missing else {}
            known = resolve(known, root) if known else {}
            return explain(
                f"The key {missing[0] if missing else value!r} is missing",
                where=where,
                remedy=f"add it: {known.get('description', 'see config/README.md')}",
            )
        case "anyOf":
            options = [" and ".join(option["required"]) for option in value if "required" in option]
            return explain(
                "A key is missing",
                where=where,
                expected=f"at least one of {', '.join(options)}" if options else _type_text(schema),
                found=", ".join(error.instance) if isinstance(error.instance, dict) else found,
                remedy="add one of them",
            )
        case "dependentRequired":
            return explain("A key needs another", where=where, found=error.message, remedy="add the missing key")
    if "propertyNames" in error.absolute_schema_path:
        return explain(
            f"The key {error.instance!r} is not allowed",
            where=where,
            expected=f"text that matches {value}" if error.validator == "pattern" else str(value),
            remedy="rename it",
        )
    expected = {
        "type": _type_text(schema),
        "enum": f"one of {', '.join(map(str, value))}" if isinstance(value, list) else "",
        "minimum": f"at least {value}",
        "maximum": f"at most {value}",
        "exclusiveMinimum": f"more than {value}",
        "minLength": "some text",
        "minItems": f"at least {value} entries",
        "maxItems": f"at most {value} entries",
        "minProperties": f"at least {value} keys",
        "uniqueItems": "no entry twice",
        "pattern": f"text that matches {value}",
    }.get(error.validator, error.message)
    return explain("A value is not allowed", where=where, expected=expected, found=found, remedy=remedy)


def _type_text(schema: dict[str, Any]) -> str:
    types = schema.get("type", "another value")
    words = {"null": "null", "object": "a mapping", "array": "a list", "string": "text (quoted)"}
    return " or ".join(
        words.get(t, f"a{'n' if t[0] in 'aeiou' else ''} {t}") for t in ([types] if isinstance(types, str) else types)
    )


def find_header_complaints(header: list[str], schema: str, name: str) -> list[str]:
    """One line per missing, unknown or repeated column of a TSV."""
    known = list(load_schema(schema)["properties"])
    complaints = []
    for column in load_schema(schema)["required"]:
        if column not in header:
            complaints.append(
                explain(
                    f"The column {column} is missing",
                    where=f"{name}, line 1",
                    expected=", ".join(known),
                    found=_shorten(", ".join(header)),
                    remedy="name the columns in the first line, separated by tabs",
                )
            )
    for column in dict.fromkeys(header):
        if column not in known or header.count(column) > 1:
            what = "Unknown column" if column not in known else "Repeated column"
            complaints.append(
                explain(
                    f"{what} {column!r}",
                    where=f"{name}, line 1",
                    expected=", ".join(known),
                    remedy="remove it",
                )
            )
    return complaints


def _shorten(value: Any, length: int = 80) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= length else f"{text[: length // 2]} … {text[-length // 4 :]}"


def dotted(path: KeyPath) -> str:
    """A key path as a person reads it: ``phantoms[0].serial``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
