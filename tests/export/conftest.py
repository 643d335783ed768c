import pytest

from isocenter.export.identity import Identity, pseudonym


@pytest.fixture
def identity() -> Identity:
    return pseudonym("siteA", "T01", "01")
