"""A site with several scanners: each has its own ruler, and none may read by another's.

The file of a calibration holds one curve where the site has one scanner. With more it is itself refused, so that
whoever asks for *the* curve of such a site gets none, and holds under ``scanners`` one curve by the scanner's id
(docs/decisions/0048).
"""

from collections.abc import Mapping
from typing import Any

from isocenter.calibration.curve import Calibration

#: Why a scanner has no curve although another of its site has one.
NO_SESSION = "this scanner has no phantom session"
SEVERAL = "the site has several scanners, each with a curve of its own"


def hold_curves(biomarker: str, unit: str, curves: Mapping[str, Calibration]) -> dict[str, Any]:
    """The content of the file for the curves of several scanners, by their ids."""
    whole = Calibration.refuse(biomarker, unit, SEVERAL).to_dict()
    return {**whole, "scanners": {scanner: curve.to_dict() for scanner, curve in curves.items()}}


def list_curves(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The curves of a file by scanner, as plain content; that of a site with one scanner under ""."""
    return dict(content.get("scanners") or {"": content})


def choose_curve(content: Mapping[str, Any], scanner: str) -> Calibration:
    """The curve of a scanner; refused where it has no phantom session, whatever other scanners of its site have."""
    curves = list_curves(content)
    if "" in curves:
        return Calibration.from_dict(curves[""])
    if scanner not in curves:
        return Calibration.refuse(content["biomarker"], content["unit"], NO_SESSION)
    return Calibration.from_dict(curves[scanner])
