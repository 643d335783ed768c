"""Registration: the only door to ANTs."""

from isocenter.registration.engine import register_rigid, to_ants
from isocenter.registration.judged import Judged, align_judged
from isocenter.registration.loading import load_ants
from isocenter.registration.placement import Placement, place_by_scanner, place_scan
from isocenter.registration.segmentation import segment_tissues
from isocenter.registration.series import METHODS, MOTION_LIMIT, Alignment, align_volumes
from isocenter.registration.template import Transfer, transfer_tissues
from isocenter.registration.undistortion import Undistorted, undistort

__all__ = [
    "METHODS",
    "MOTION_LIMIT",
    "Alignment",
    "Judged",
    "Placement",
    "Transfer",
    "Undistorted",
    "align_judged",
    "align_volumes",
    "load_ants",
    "place_by_scanner",
    "place_scan",
    "register_rigid",
    "segment_tissues",
    "to_ants",
    "transfer_tissues",
    "undistort",
]
