"""What tags cannot tell and a site can: rules of ``site.yaml`` that name the kind of a series by the site's own name.

A rule asks the series description and the protocol name; the first that matches decides. Values are still read from
the header alone: a rule says what a series is for, never what its flip angle was.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from isocenter.dicom.gradient_echoes import check_values
from isocenter.dicom.group import Series
from isocenter.dicom.recognition import Recognition, ignore
from isocenter.dicom.suffixes import NONE, SUFFIXES


def apply_rules(one: Series, rules: Sequence[dict[str, Any]]) -> Recognition | None:
    """What the first matching rule makes of a series; None where no rule speaks of it.

    rules : mappings of ``name`` (a pattern with * and ?, in any case) and ``suffix`` (a kind of series, or ``none``)
    """
    names = [name.casefold() for name in one.description.names]
    for rule in rules:
        pattern = rule["name"].casefold()
        if any(fnmatchcase(name, pattern) for name in names):
            if rule["suffix"] == NONE:
                return ignore("", f"A rule of site.yaml leaves out series called {rule['name']}")
            suffix = rule["suffix"]
            return check_values(suffix, one) or Recognition(suffix, reason=SUFFIXES[suffix].title)
    return None
