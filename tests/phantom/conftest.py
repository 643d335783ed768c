"""The shipped phantom definition, drawn phantoms with known vials, and the real session where it is present."""

import tarfile
from pathlib import Path

import pytest
import yaml

from isocenter.dicom.session import read_session
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


@pytest.fixture(scope="session")
def real_dicom(nist_data, tmp_path_factory):
    """The folder of the real session's DICOM, without its geometry scan."""
    folder = tmp_path_factory.mktemp("real_dicom")
    with tarfile.open(nist_data / "session_a_dicom.tar.gz") as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def real_session(real_dicom):
    """Its inversion recovery and its echo train, in memory."""
    return read_session(real_dicom, ["IRT1", "MESE"])
