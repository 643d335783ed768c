"""Every bad input ends as a row with a reason: nothing crashes, escapes, or costs the series beside it."""

import csv
import os
import re

import pytest
from dicom import bad_values
from dicom.bad_files import DOCUMENTS
from dicom.bad_inputs import CASES, write_bad
from dicom.small import header, uid, write_classic
from dicom.test_recognize import INVERSIONS

assert bad_values  # each module of cases enters its own
FORMULA = re.compile(r"^[=+@\t\r]|^-[^0-9.]")
GOOD = uid("series", "good", "PAT-0042", "20250310", "101500")
BAD = uid("series", "bad", "PAT-0042", "20250310", "120000")


def test_the_corpus_is_large():
    assert len(CASES) + len(DOCUMENTS) >= 60


@pytest.mark.parametrize("name", sorted(CASES))
def test_bad_input_is_a_row_and_stops_nothing(site, name):
    case = CASES[name]
    write_classic(site.dicom / "good", header("good"), INVERSIONS)
    case.spoil(site, write_bad(site))
    before = list_outside(site)
    table = site.take_in(suffixes=["IRT1", "MESE", "dwi"])
    rows = site.exclusions()
    assert list_outside(site) == before
    assert_confined(site)
    good = table[(table.series_uid == GOOD) & (table.disposition == "used")]
    assert len(good) == 1, table.to_dict("records")
    assert len(good.files.iloc[0].split("|")) == 4
    assert all((site.bids / file).is_file() for file in good.files.iloc[0].split("|"))
    reasons = [*rows.reason, *table.reason, *table.action]
    if case.reason:
        found = rows[rows.reason.str.contains(case.reason)]
        assert len(found), reasons
        assert found.action.ne("").all()
    bad = table[table.series_uid == BAD]
    assert bool((bad.disposition == "used").any()) == case.is_used, reasons
    assert not any("failed unexpectedly" in reason for reason in reasons), reasons
    again = site.files()
    site.take_in(suffixes=["IRT1", "MESE", "dwi"])
    assert site.files() == again


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_bad_document_is_a_row_of_its_site(site, name):
    file, content, reason = DOCUMENTS[name]
    write_classic(site.dicom / "good", header("good"), INVERSIONS)
    (site.folder / file).write_bytes(content)
    before = list_outside(site)
    assert len(site.take_in()) == 0
    assert list_outside(site) == before
    rows = site.exclusions()
    assert rows.reason.str.contains(reason).any(), rows.reason.tolist()
    assert not rows.reason.str.contains("failed unexpectedly").any()
    assert_confined(site)


def list_outside(site):
    """Everything at the site and beside it but the results, and the table of told names that belongs beside them."""
    found = set()
    for folder, folders, names in os.walk(os.fsencode(site.folder.parent)):
        if folder == os.fsencode(site.folder):
            folders[:] = [name for name in folders if name != b"results"]
        found |= {os.path.join(folder, name) for name in [*folders, *names]}
    return found - {os.path.join(os.fsencode(site.folder), b".arrived.txt")}


def assert_confined(site):
    """Results are the tables, the index and BIDS files, all below the results; no cell is a formula."""
    for name in site.files():
        assert name.startswith(("intake/", "bids/")), name
        assert name.isascii()
    for table in ("scans", "exclusions"):
        text = (site.folder / "results" / "intake" / f"{table}.tsv").read_text(encoding="utf-8")
        rows = list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_MINIMAL))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert not [cell for row in rows for cell in row if FORMULA.match(cell)]
