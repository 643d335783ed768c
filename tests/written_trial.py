"""A trial as people write it, which tests spoil: the repository's config, and sites made from the template."""

import shutil
from pathlib import Path

import pytest

from isocenter.errors import ConfigError
from isocenter.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[1]


def make_trial(folder: Path) -> Path:
    """The repository's own config with one site made from the template."""
    shutil.copytree(REPOSITORY / "config", folder / "config")
    add_site(folder, "siteA")
    return folder


def add_site(root: Path, name: str) -> Path:
    folder = root / "sites" / name
    shutil.copytree(REPOSITORY / "sites" / "_template", folder)
    replace(folder / "site.yaml", "site: template", f"site: {name}")
    return folder


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def complaint(root: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(root)
    for line in str(caught.value).splitlines():
        assert "where: " in line, line
    return str(caught.value)
