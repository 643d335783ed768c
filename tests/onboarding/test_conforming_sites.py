"""Sites that follow the protocol: no alarm, whatever the vendor's dialect and the seed."""

import pytest
from onboarding.vendor_site import DIALECTS, VendorSite, broken


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_a_conforming_site_has_nothing_to_change(tmp_path, dialect, seed):
    site = VendorSite(tmp_path / "site", dialect, seed)
    site.write()
    answer = site.judge()
    assert broken(answer) == set()
    assert answer["verdict"] == "pass"
    assert answer["counts"]["pass"] > 80
