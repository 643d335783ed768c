"""Registration: the only door to ANTs."""

from isocenter.registration.engine import register_rigid, to_ants
from isocenter.registration.judged import Judged, align_judged
from isocenter.registration.loading import load_ants
from isocenter.registration.segmentation import segment_tissues
from isocenter.registration.series import METHODS, MOTION_LIMIT, Alignment, align_volumes
from isocenter.registration.template import Transfer, transfer_tissues

__all__ = [
    "METHODS",
    "MOTION_LIMIT",
    "Alignment",
    "Judged",
    "Transfer",
    "align_judged",
    "align_volumes",
    "load_ants",
    "register_rigid",
    "segment_tissues",
    "to_ants",
    "transfer_tissues",
]
