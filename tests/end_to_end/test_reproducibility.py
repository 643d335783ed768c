"""The same trial from scratch gives the same numbers, to the byte."""

import pytest
from end_to_end.conftest import SMALL, Trial


def numeric_files(trial: Trial) -> dict[str, bytes]:
    """Every table and number file of the results; the audit trail tells the time of each run."""
    results = trial.directory / "results"
    paths = [p for suffix in ("*.tsv", "*.json", "*.nii.gz") for p in results.rglob(suffix)]
    return {str(p.relative_to(results)): p.read_bytes() for p in sorted(paths) if results / "audit" not in p.parents}


@pytest.mark.slow
def test_twice_from_scratch_is_the_same_to_the_byte(small, tmp_path):
    again = Trial(tmp_path / "again")
    again.simulate(**SMALL)
    again.run()
    first, second = numeric_files(small), numeric_files(again)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name] and "index.json" not in name] == []
