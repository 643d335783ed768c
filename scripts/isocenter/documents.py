"""Files that a person writes: read safely, held against their schema, complained about in one line each.

A document is YAML or a TSV. Nothing in it is executed: YAML gives plain data only, and what would make its
meaning doubtful (a key twice, an alias, a number that is not finite) is refused. Schemas are JSON Schema 2020-12
in ``workflow/schemas/``; a default that a schema states is filled in.
"""

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

import yaml

from isocenter.complaints import KeyPath, dotted, find_complaints, find_header_complaints
from isocenter.errors import ConfigError, explain
from isocenter.schemas import fill_defaults, load_schema

#: No file that a person writes is larger; a larger one was not written by a person.
LARGEST_BYTES = 2_000_000

#: No file that a person writes nests deeper; recursion stays far from Python's limit.
DEEPEST_NESTING = 40


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Plain data only. Dates stay text; 1e-3 is a number, as in YAML 1.2."""


# A copy, because the resolvers are shared with PyYAML's own loaders.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_document(path: Path, schema: str, *, name: str | None = None, integer_keys: bool = False) -> Any:
    """A YAML file as plain data, valid under the schema called `schema`, its defaults filled in.

    `name` is what errors call the file (default: its path); `integer_keys` allows keys such as the number of
    a vial, which elsewhere are a forgotten pair of quotes ("01" is not 1). Raises ConfigError with one line per
    complaint.
    """
    name = name or str(path)
    content, lines = _parse_yaml(_read_text(path, name), name, integer_keys)
    complaints = list(find_complaints(content, schema, name, lines))
    if complaints:
        raise ConfigError("\n".join(complaints))
    return fill_defaults(content, load_schema(schema))


def read_plain(path: Path) -> dict[str, Any]:
    """A YAML file of keys whose meaning is another program's, as plain data without a schema."""
    content, _ = _parse_yaml(_read_text(path, str(path)), str(path), False)
    return content if isinstance(content, dict) else {}


def read_phantom(path: Path, *, name: str | None = None) -> dict[str, Any]:
    """A phantom's definition; its vials are numbered by integer keys."""
    return read_document(path, "phantom", name=name, integer_keys=True)


def read_rows(path: Path, schema: str, *, name: str | None = None) -> list[dict[str, str]]:
    """The rows of a TSV, each valid under the schema called `schema`, its defaults filled in.

    Raises ConfigError with one line per complaint.
    """
    name = name or str(path)
    text = _read_text(path, name)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    except csv.Error as error:
        raise ConfigError(explain("A file cannot be read as TSV", where=name, found=error)) from None
    if not table or not any(cell.strip() for cell in table[0]):
        raise ConfigError(
            explain(
                "A table has no header row",
                where=name,
                remedy="start it with the column names, tab-separated",
            )
        )
    header = [cell.strip() for cell in table[0]]
    complaints = find_header_complaints(header, schema, name)
    if complaints:
        raise ConfigError("\n".join(complaints))
    rows: list[dict[str, str]] = []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            complaints.append(
                explain(
                    "A row has not as many cells as the header",
                    where=f"{name}, line {number}",
                    expected=f"{len(header)} cells, separated by tabs",
                    found=len(cells),
                    remedy="separate cells by one tab; write n/a where there is nothing",
                )
            )
            continue
        row = {key: value.strip() for key, value in zip(header, cells, strict=True)}
        row = {key: value for key, value in row.items() if value not in ("", "n/a")}
        complaints += find_complaints(row, schema, name, {(): number}, flat=True)
        rows.append(fill_defaults(row, load_schema(schema)))
    if complaints:
        raise ConfigError("\n".join(complaints))
    return rows


def read_value(text: str, name: str) -> Any:
    """One value from the command line, read as YAML reads it: ``true`` is a truth value, ``[1, 2]`` a list."""
    return _parse_yaml(f"value: {text}", name, integer_keys=False)[0]["value"]


# Reading --------------------------------------------------------------------------------------------
def _read_text(path: Path, name: str) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise ConfigError(
                explain("A file is too large", where=name, expected=f"at most {LARGEST_BYTES} bytes", found=size)
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            explain("A file is missing", where=name, remedy="write it, or mend the path that names it")
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            explain("A file is not UTF-8 text", where=name, found=error, remedy="save it as UTF-8")
        ) from None
    except OSError as error:
        raise ConfigError(explain("A file cannot be read", where=name, found=error.strerror or error)) from None


def _parse_yaml(text: str, name: str, integer_keys: bool) -> tuple[Any, dict[KeyPath, int]]:
    """Plain data and the line of every key path."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(explain("A file is empty", where=name, remedy="see config/README.md for its keys"))
        lines: dict[KeyPath, int] = {}
        _walk(node, (), lines, name, set(), integer_keys)
        return loader.construct_document(node), lines
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(
            explain(
                "A file is no YAML that Isocenter reads",
                where=f"{name}, line {mark.line + 1}" if mark else name,
                expected="plain YAML: mappings, lists, text and numbers",
                found=" ".join(str(getattr(error, "problem", None) or error).split()),
                remedy="check indentation, quotes and colons near that line",
            )
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def _walk(
    node: yaml.Node,
    path: KeyPath,
    lines: dict[KeyPath, int],
    name: str,
    seen: set[int],
    integer_keys: bool,
) -> None:
    line = node.start_mark.line + 1
    where = f"{name}, line {line}" + (f", key {dotted(path)}" if path else "")
    if id(node) in seen:
        raise ConfigError(
            explain("An alias (*name) is not read", where=where, remedy="write the value out where it is used")
        )
    if len(path) > DEEPEST_NESTING:
        raise ConfigError(explain("A file nests too deep", where=where, expected=f"at most {DEEPEST_NESTING} levels"))
    seen.add(id(node))
    lines[path] = line
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            key = _key(key_node, name, path, integer_keys)
            lower = (*path, key)
            if lower in lines:
                raise ConfigError(
                    explain(
                        f"The key {key!r} stands twice",
                        where=f"{name}, line {key_node.start_mark.line + 1}, key {dotted(lower)}",
                        expected="each key once",
                        found=f"it stands in line {lines[lower]} as well",
                        remedy="remove one of them",
                    )
                )
            _walk(value, lower, lines, name, seen, integer_keys)
            lines[lower] = key_node.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines, name, seen, integer_keys)
    elif node.tag == "tag:yaml.org,2002:float" and not math.isfinite(_number(node.value)):
        raise ConfigError(explain("A number is not finite", where=where, expected="a number", found=node.value))


def _key(node: yaml.Node, name: str, path: KeyPath, integer_keys: bool) -> str:
    where = f"{name}, line {node.start_mark.line + 1}" + (f", under {dotted(path)}" if path else "")
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:merge":
        raise ConfigError(explain("A key is no plain text", where=where, remedy="write the keys out one by one"))
    known = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:int") if integer_keys else ("tag:yaml.org,2002:str",)
    if node.tag not in known:
        raise ConfigError(
            explain(
                "A key is read as a number or a truth value",
                where=where,
                expected="text",
                found=node.value,
                remedy=f'put it in quotes: "{node.value}"',
            )
        )
    return node.value


def _number(text: str) -> float:
    try:
        return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
    except ValueError:
        return math.nan if text.lower().lstrip("+-") in (".inf", ".nan") else 0.0
