import pytest
from dicom.small import header, write_classic
from dicom.small_site import make_site
from dicom.test_recognize import INVERSIONS


@pytest.fixture
def site(tmp_path):
    return make_site(tmp_path)


@pytest.fixture
def images(tmp_path):
    """Eight good files, outside the site."""
    write_classic(tmp_path / "images", header(), INVERSIONS)
    return tmp_path / "images"
