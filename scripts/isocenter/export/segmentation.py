"""The regions of a map as a DICOM Segmentation (PS3.3 A.51): one binary segment a region, on the map's own grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription

from isocenter import __version__
from isocenter.export import codes
from isocenter.export.geometry import find_planes
from isocenter.export.identity import Identity, make_uid, plain_text
from isocenter.export.parametric_map import MANUFACTURER, Description, place_planes
from isocenter.export.sources import Sources, find_thickness


@dataclass(frozen=True)
class Region:
    """One region. name : as the trial has it; mask : (x, y, z) booleans; is_drawn : by a person at the site."""

    name: str
    mask: np.ndarray
    is_drawn: bool = False

    def tracking_uid(self, *key: str) -> str:
        """The UID under which segment and measurements speak of the same region."""
        return make_uid("region", *key, self.name)


def build_segmentation(
    regions: Sequence[Region],
    affine: np.ndarray,
    *,
    sidecar: dict[str, Any],
    sources: Sources,
    identity: Identity,
    description: Description,
) -> Segmentation:
    """A DICOM object of the regions of one map; regions may overlap, and each holds a voxel at least.

    affine : (4, 4) voxel to RAS+ mm; sidecar : the map's
    """
    masks = np.stack([region.mask for region in regions], axis=-1).astype(np.uint8)
    planes = find_planes(masks.shape[:3], affine, sources.orientation)
    made = Segmentation(
        sources.first,
        planes.stack(masks),
        "BINARY",
        [_describe(number, region, description.key) for number, region in enumerate(regions, start=1)],
        **description.shared(identity),
        **place_planes(planes, find_thickness(sidecar)),
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number=description.code or __version__,
        content_label=description.label,
        content_description=plain_text(description.title),
        further_source_images=sources.others,
    )
    description.finish(made, identity)
    return made


def _describe(number: int, region: Region, key: tuple[str, ...]) -> SegmentDescription:
    algorithm = None
    if not region.is_drawn:  # a template's labels, brought by a deformable registration, or thresholds of the images
        algorithm = AlgorithmIdentificationSequence("Isocenter", codes.DEFORMABLE_MODELS, __version__)
    return SegmentDescription(
        number,
        plain_text(region.name),
        codes.STRUCTURE,
        codes.find_region(region.name) or codes.TISSUE,
        "MANUAL" if region.is_drawn else "AUTOMATIC",
        algorithm,
        tracking_uid=region.tracking_uid(*key),
        tracking_id=plain_text(region.name),
    )
