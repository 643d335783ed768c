"""Registration: the only door to ANTs."""

from isocenter.registration.engine import register_rigid, to_ants
from isocenter.registration.loading import load_ants
from isocenter.registration.series import Alignment, align_volumes
from isocenter.registration.template import Transfer, transfer_tissues

__all__ = ["Alignment", "Transfer", "align_volumes", "load_ants", "register_rigid", "to_ants", "transfer_tissues"]
