"""Config is data whose schema reads as a manual, and the manual is what the schema says."""

import jsonschema
import pytest

from isocenter import command_manual, model_manual, models
from isocenter.manual import MANUAL, list_keys, list_schemas, render_manual
from isocenter.schemas import load_schema, resolve

EXPECTED = {
    "arteries",
    "atlas",
    "biomarkers",
    "claims",
    "config",
    "consoles",
    "differences",
    "exclusions",
    "heart",
    "participants",
    "phantom",
    "protocol",
    "regions",
    "sessions",
    "shapes",
    "site",
    "spectra",
}


def walk(node, path, root):
    """Every property, item and free-named value of a schema, with its path."""
    node = resolve(node, root)
    yield path, node
    for key, sub in node.get("properties", {}).items():
        yield from walk(sub, f"{path}.{key}", root)
    for key in ("additionalProperties", "items"):
        if isinstance(node.get(key), dict):
            yield from walk(node[key], f"{path}.{key}", root)
    for sub in node.get("patternProperties", {}).values():
        yield from walk(sub, f"{path}.patternProperties", root)


def test_every_file_that_a_person_writes_has_a_schema():
    assert set(list_schemas()) == EXPECTED


@pytest.mark.parametrize("name", list_schemas())
def test_schema_is_a_valid_2020_12_schema(name):
    schema = load_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", list_schemas())
def test_every_key_says_type_and_meaning(name):
    schema = load_schema(name)
    for path, node in walk(schema, name, schema):
        kinds = {"type", "enum", "const", "oneOf", "anyOf"} & set(node)
        assert kinds, f"{path} has no type"
        assert node.get("description"), f"{path} has no description"


@pytest.mark.parametrize("name", list_schemas())
def test_no_object_takes_unknown_keys(name):
    schema = load_schema(name)
    for path, node in walk(schema, name, schema):
        if node.get("type") == "object" and path != "biomarkers.additionalProperties.options":
            is_closed = node.get("additionalProperties") is False
            is_dictionary = isinstance(node.get("additionalProperties"), dict) and not node.get("properties")
            assert is_closed or is_dictionary, f"{path} takes unknown keys"


@pytest.mark.parametrize("name", list_schemas())
def test_defaults_are_valid(name):
    schema = load_schema(name)
    for path, node in walk(schema, name, schema):
        if "default" in node:
            check = jsonschema.Draft202012Validator({**node, "$defs": schema.get("$defs", {})})
            assert check.is_valid(node["default"]), f"{path}: {node['default']!r}"


def test_key_tables_are_the_schemas():
    text = MANUAL.read_text(encoding="utf-8")
    assert render_manual(text) == text, "config/README.md is out of date: python -m isocenter.manual"


def test_numbers_say_their_unit():
    for name in ("biomarkers", "differences", "protocol", "site"):
        for row in list_keys(name):
            if row["type"] == "number":
                assert row["unit"], f"{name}: {row['key']} has no unit"


@pytest.mark.parametrize(
    ("page", "render"),
    [(command_manual.PAGE, command_manual.render_commands), (model_manual.PAGE, model_manual.render_models)],
    ids=["commands", "models"],
)
def test_pages_of_reference_are_what_they_are_made_from(page, render):
    assert page.read_text(encoding="utf-8") == render(), f"{page.name} is out of date: python -m isocenter.manual"


def test_every_option_of_every_command_says_what_it_means():
    rows = [line for line in command_manual.render_commands().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert not [row for row in rows if not row.split(" | ")[1].strip()], "an option without help"


@pytest.mark.parametrize("name", models.names())
def test_every_card_is_whole(name):
    card = model_manual.read_card(models.get(name))
    assert set(card) >= {"equation", "assumptions", "parameters", "known bias", "reference"}
    assert model_manual.read_card(models.get(name))["equation"] != [""]
