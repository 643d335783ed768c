"""A map as a DICOM Parametric Map (PS3.3 A.75): the very floats, with quantity, unit and sources.

A voxel without a value is NaN, as in the NIfTI: IEEE 754 has it for this, and any number in its place would be a
number that nobody measured.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence, VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset

from isocenter import __version__
from isocenter.errors import DicomError, explain
from isocenter.export import codes
from isocenter.export.geometry import Planes, find_planes
from isocenter.export.identity import Identity, make_uid, plain_text
from isocenter.export.sources import Sources, find_thickness

MANUFACTURER = "Isocenter"


@dataclass(frozen=True)
class Description:
    """What an object says of itself beside its pixels.

    key : texts that tell this object from any other, from which its UIDs are made
    number : of its series within the study; label : short name; title : of the series; time : when it was made
    code : digest of the code that made what it holds
    """

    key: tuple[str, ...]
    number: int
    label: str
    title: str
    time: datetime
    code: str = ""

    def series_uid(self, identity: Identity) -> str:
        """UID of the object's series."""
        return make_uid("series", str(identity.is_real), *self.key)

    def uid(self, identity: Identity) -> str:
        """UID of the object."""
        return make_uid("instance", str(identity.is_real), *self.key)

    def shared(self, identity: Identity) -> dict[str, Any]:
        """Arguments that highdicom's classes share."""
        return {
            "series_instance_uid": self.series_uid(identity),
            "series_number": self.number,
            "sop_instance_uid": self.uid(identity),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "series_description": plain_text(self.title),
            "content_date": self.time.strftime("%Y%m%d"),
            "content_time": self.time.strftime("%H%M%S"),
        }

    def finish(self, dataset: Dataset, identity: Identity) -> None:
        """What highdicom leaves out, takes from the clock, or takes from the sources as they were given."""
        identity.put(dataset)
        dataset.InstanceCreationDate = self.time.strftime("%Y%m%d")
        dataset.InstanceCreationTime = self.time.strftime("%H%M%S")
        for equipment in dataset.get("ContributingEquipmentSequence", []):
            if "ContributionDateTime" in equipment:
                equipment.ContributionDateTime = self.time.strftime("%Y%m%d%H%M%S")
        codes.introduce_scheme(dataset)
        if "DimensionOrganizationSequence" in dataset:
            organization = make_uid("dimensions", str(identity.is_real), *self.key)
            for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
                item.DimensionOrganizationUID = organization


def place_planes(planes: Planes, thickness: float | None) -> dict[str, Any]:
    """Planes as highdicom takes them; thickness of a slice [mm], the step between planes where it is not known."""
    return {
        "pixel_measures": PixelMeasuresSequence(planes.spacing, thickness or planes.step, planes.step),
        "plane_orientation": PlaneOrientationSequence("PATIENT", planes.orientation.tolist()),
        "plane_positions": [PlanePositionSequence("PATIENT", place.tolist()) for place in planes.positions],
    }


def build_parametric_map(
    voxels: np.ndarray,
    affine: np.ndarray,
    *,
    parameter: str,
    unit: str,
    sidecar: dict[str, Any],
    sources: Sources,
    identity: Identity,
    description: Description,
    is_stderr: bool = False,
) -> ParametricMap:
    """A DICOM object of one map.

    voxels : (x, y, z) float32 array [unit], NaN where there is no value; affine : (4, 4) voxel to RAS+ mm
    parameter : of the model, which says the quantity; sidecar : the map's; is_stderr : whether it is a standard error

    Raises DicomError where no voxel holds a value.
    """
    finite = voxels[np.isfinite(voxels)]
    if finite.size == 0:
        raise DicomError(explain("No voxel of a map holds a value", found=f"{voxels.size} voxels of NaN"))
    planes = find_planes(voxels.shape, affine, sources.orientation)
    low, high = (float(v) for v in np.percentile(finite, (2, 98)))
    # LINEAR takes no width below 1, in whatever unit.
    window = VOILUTTransformation((low + high) / 2, max(high - low, abs(high) * 1e-3, 1e-9), None, "LINEAR_EXACT")
    made = ParametricMap(
        sources.first,
        planes.stack(voxels.astype(np.float32)),
        **description.shared(identity),
        **place_planes(planes, find_thickness(sidecar)),
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number=description.code or __version__,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=_map_values(parameter, unit, finite, is_stderr),
        voi_lut_transformations=[window],
        content_label=description.label,
        content_description=plain_text(description.title),
        further_source_images=sources.others,
    )
    made.Laterality = ""  # which part of the body it is, and whether it is one of a pair, nobody told
    made.DerivationDescription = _describe_derivation(sidecar)
    description.finish(made, identity)
    return made


def _map_values(parameter: str, unit: str, finite: np.ndarray, is_stderr: bool) -> list[RealWorldValueMapping]:
    """Quantity and units of the stored floats: as they are, and in what else the unit may be shown in."""
    quantity = codes.find_quantity(parameter)
    bounds = (float(finite.min()), float(finite.max()))
    mappings = []
    for units, factor in codes.find_units(unit):
        what = f"Standard error of {quantity.meaning}" if is_stderr else quantity.meaning
        mapping = RealWorldValueMapping(
            lut_label=units.value[:16],
            lut_explanation=plain_text(f"{what} in {units.meaning}"),
            unit=units,
            value_range=bounds,
            slope=factor,
            intercept=0.0,
            quantity_definition=quantity,
        )
        if is_stderr:
            mapping.QuantityDefinitionSequence.append(_as_derivation(codes.STANDARD_ERROR))
        mappings.append(mapping)
    return mappings


def _as_derivation(concept: Dataset) -> Dataset:
    """A content item that says by what statistic a quantity comes (DCM 121401, Derivation)."""
    item = Dataset()
    item.ValueType = "CODE"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121401", "DCM", "Derivation"
    item.ConceptNameCodeSequence, item.ConceptCodeSequence = [name], [concept]
    return item


def _describe_derivation(sidecar: dict[str, Any]) -> str:
    """Model, algorithm and reference, as far as the sidecar tells; at most what the element holds."""
    words = [f"model {sidecar['Model']}"] if "Model" in sidecar else []
    words += [str(sidecar[key]) for key in ("EstimationAlgorithm", "EstimationReference") if sidecar.get(key)]
    calibration = sidecar.get("Calibration")
    if calibration:
        words.append("not calibrated" if calibration.get("refused") else f"calibrated ({calibration.get('form')})")
    return plain_text("; ".join(words), 1024)
