"""The 3D scan of a whole phantom, which no map is fitted to: it tells where the vials lie."""

from isocenter.dicom.group import Series
from isocenter.dicom.recognition import Recognition
from isocenter.dicom.sets import AcquisitionSet, slice_position
from isocenter.entities import Disposition

#: A scan of the geometry shows the whole phantom: at least this extent across its slices [mm].
EXTENT = 120.0
#: What the table of series says of it.
REASON = "3D scan of the whole phantom: where vials lie"
#: It is converted as one flip angle of a gradient echo would be: one volume, in the slice order of the headers.
_AS_SUFFIX, _ONLY = "VFA", 0.0


def is_geometry_scan(one: Series, known: Recognition) -> bool:
    """Whether a series of a phantom that nothing else needs shows all of it."""
    about = one.description
    return (
        known.disposition is Disposition.IGNORED
        and not known.suffix
        and bool(one.members())
        and about.modality == "MR"
        and not about.derivation
        and about.is_3d
        and _measure_extent(one) >= EXTENT
    )


def as_one_volume(one: Series, suffix: str = _AS_SUFFIX) -> AcquisitionSet:
    """A series of one value as it is, to be converted by the same way as any other."""
    members = sorted(one.members(), key=slice_position)
    return AcquisitionSet(suffix, [one], {one.uid: Recognition(suffix)}, {_ONLY: members})


def _measure_extent(one: Series) -> float:
    """How far the slices of a series reach, across [mm]; 0 where the header does not tell."""
    members = one.members()
    if any(None in (m.frame.position, m.frame.orientation) for m in members):
        return 0.0
    places = [slice_position(m) for m in members]
    return max(places) - min(places)
