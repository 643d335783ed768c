"""The shipped phantom definition, drawn phantoms with known vials, and the real session where it is present."""

from pathlib import Path

import pytest
import yaml

from isocenter.phantom.library import load_phantom

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".." / "shared" / "data" / "nist_system_phantom"


@pytest.fixture(scope="session")
def definition():
    return yaml.safe_load((ROOT / "config" / "phantoms" / "nist_system.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def nist(definition):
    return load_phantom(definition)


@pytest.fixture(scope="session")
def nist_data():
    if not DATA.is_dir():
        pytest.skip(f"the real data are absent: {DATA}")
    return DATA
