"""The series that can be converted, one entry a BIDS suffix: what varies over their volumes, how files are named.

A trial converts those that its biomarkers are fitted to; a new kind of series is one entry here and, where its tags
need an eye of their own, a few lines in `recognize`.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Convertible:
    """One kind of series.

    title : in a reader's words
    axis : the field of :class:`isocenter.dicom.headers.Frame` that varies over its volumes
    noun, tag, unit : the name of that value, the DICOM element that holds it, its unit
    key : the sidecar key that holds it
    entity : the BIDS entity that numbers one file per value; "" where all volumes stand in one 4D file; with a word
        behind a hyphen (acq-tr) it is a label that the number completes
    folder : the BIDS folder
    fewest : how many different values a fit needs at least
    may_spread : whether scanners may send one series per value
    may_be_zero : whether zero is a value rather than an empty element
    is_time : whether the value is the start of a frame, which every slice has for itself: the n-th image of each
        slice makes the n-th volume, whose time counts from the first
    is_gated : whether the heart sets its values, so that each scan has its own
    has_phase : whether phase images are kept beside the magnitude
    is_field_map : whether it is of no use without phase, which may come as the difference of two echoes, and its files
        have BIDS' names of field maps (magnitude1, magnitude2, and phase1, phase2 or phasediff)
    is_bids : whether the suffix is in the BIDS standard; others are listed in ``.bidsignore``
    is_spoiled : whether it is a spoiled gradient echo, whose repetition time is that between excitations
    on_repeats : what a site does about several images of one value at one place
    """

    title: str
    axis: str
    noun: str
    tag: str
    unit: str
    key: str
    entity: str
    folder: str = "anat"
    fewest: int = 3
    may_spread: bool = False
    may_be_zero: bool = False
    is_time: bool = False
    is_gated: bool = False
    has_phase: bool = False
    is_field_map: bool = False
    is_bids: bool = True
    is_spoiled: bool = False
    on_repeats: str = "Ask the site which repeats belong together, and send each as its own series"

    def is_valid(self, value: float | None) -> bool:
        """Whether a header's value is one."""
        return value is not None and (value > 0 or (self.may_be_zero and value == 0))


#: In the table of series: a 3D scan of a whole phantom, which tells where its vials lie. No map is fitted to it.
GEOMETRY = "geometry"
#: Series that B0 distorts along their phase-encoding axis.
ECHO_PLANAR = "dwi"
#: The word of a site's rule for a series that is not to be used.
NONE = "none"

_INVERSION = {
    "axis": "inversion_time", "noun": "inversion time", "tag": "Inversion Time (0018,0082)", "unit": "s",
    "key": "InversionTime", "entity": "inv",
}  # fmt: skip
_ECHO = {
    "axis": "echo_time", "noun": "echo time", "tag": "Echo Time (0018,0081)", "unit": "s", "key": "EchoTime",
    "entity": "echo",
}  # fmt: skip
_FLIP = {
    "axis": "flip_angle", "noun": "flip angle", "tag": "Flip Angle (0018,1314)", "unit": "deg", "key": "FlipAngle",
    "entity": "flip", "is_spoiled": True,
}  # fmt: skip

#: How BIDS names say that an image is a phase.
_PHASE_NAME = re.compile(r"_part-phase_|_phase[12]\.|_phasediff\.")


def is_phase(name: str) -> bool:
    """Whether a BIDS file name is that of a phase image."""
    return bool(_PHASE_NAME.search(name))


#: A relaxation time has at least three unknowns (amplitude, time, offset or efficiency); diffusion has two.
SUFFIXES: dict[str, Convertible] = {
    "IRT1": Convertible("Inversion recovery", **_INVERSION, may_spread=True),
    "MESE": Convertible("Multi-echo spin echo", **_ECHO),
    "MEGRE": Convertible("Multi-echo gradient echo", **_ECHO, has_phase=True),
    # The slope of the phase: two echoes determine it.
    "B0GRE": Convertible(
        "Field map by two gradient echoes",
        **{**_ECHO, "entity": "magnitude"},
        folder="fmap",
        fewest=2,
        has_phase=True,
        is_field_map=True,
    ),
    # The amplitude and T1: two angles determine them, and nothing is left to judge the fit by.
    "VFA": Convertible("Spoiled gradient echo with several flip angles", **_FLIP, fewest=2, may_spread=True),
    "MOLLI": Convertible("Look-Locker inversion recovery of the heart", **_INVERSION, is_gated=True, is_bids=False),
    # Two unknowns from two images: the field of the transmitter.
    "TB1DAM": Convertible("B1 by two flip angles", **_FLIP, folder="fmap", fewest=2, may_spread=True),
    "TB1AFI": Convertible(
        "B1 by two repetition times",
        axis="repetition_time",
        noun="repetition time",
        tag="Repetition Time (0018,0080)",
        unit="s",
        key="RepetitionTimeExcitation",
        entity="acq-tr",
        folder="fmap",
        fewest=2,
        may_spread=True,
        is_spoiled=True,
    ),
    "DCE": Convertible(
        "Dynamic gradient echo",
        axis="frame_time",
        noun="frame at",
        tag="Acquisition Time (0008,0032), or the vendor's own element",
        unit="s",
        key="FrameTimesStart",
        entity="",
        folder="perf",
        fewest=5,
        may_be_zero=True,
        is_time=True,
        is_bids=False,
        is_spoiled=True,
        on_repeats="Ask the site for the time of each image of the dynamic series",
    ),
    "dwi": Convertible(
        "Echo-planar images (diffusion or functional)",
        axis="b_value",
        noun="b-value",
        tag="Diffusion b-value (0018,9087), or the vendor's own element",
        unit="s/mm²",
        key="DiffusionBValue",
        entity="",
        folder="dwi",
        fewest=2,
        may_spread=True,
        may_be_zero=True,
        on_repeats="Ask the site for the trace images: single directions are not averaged here; repeats are sent as "
        "series of their own",
    ),
}
