"""Values of a header that no scan can have: found before anything is computed from them."""

from collections.abc import Sequence

from isocenter.dicom.group import Series
from isocenter.dicom.headers import Frame, Image
from isocenter.dicom.pixels import name_syntax

ASK_ABOUT_VALUES = "Send the series again as the scanner made it; values are never mended here"
#: Field of a frame: its element, the least and the largest value that a scan of a body or phantom may have, its unit.
RANGES = {
    "echo_time": ("Echo Time (0018,0081)", 0.0, 10.0, "s"),
    "repetition_time": ("Repetition Time (0018,0080)", 1e-5, 120.0, "s"),
    "inversion_time": ("Inversion Time (0018,0082)", 0.0, 60.0, "s"),
    "flip_angle": ("Flip Angle (0018,1314)", 0.0, 360.0, "deg"),
    "b_value": ("Diffusion b-value (0018,9087)", 0.0, 1e5, "s/mm²"),
    "slope": ("Rescale Slope (0028,1053), or the vendor's own,", -1e9, 1e9, ""),
    "intercept": ("Rescale Intercept (0028,1052), or the vendor's own,", -1e12, 1e12, ""),
}
#: s. From the middle of a pulse that itself takes longer: a shorter one is seconds where milliseconds belong. Without
#: an inversion some vendors write 0.
SHORTEST_INVERSION = 2e-3
#: Pixels [mm] of a microscope and of a survey of the whole body, with room on both sides.
SPACING = (1e-3, 100.0)
#: T. Old headers of one vendor give gauss.
FIELD = (1e-3, 30.0)
#: How far directions may be from unit length and a right angle: headers round to three digits at worst.
COSINE_TOLERANCE = 0.01
#: Of so few images, each with a UID of its own, it cannot be told whether they were mixed or renamed.
FEWEST_RENAMED = 3


def find_absurdity(series: Series) -> str:
    """Why the values of a series cannot be believed, naming the element; "" when they can."""
    field = series.description.field_strength
    if field is not None and not FIELD[0] <= field <= FIELD[1]:
        return f"Magnetic Field Strength (0018,0087) is {field:g} T"
    extremes = {(f.minimum, f.maximum) for image in series.images for f in image.frames}
    if extremes and all(least is not None and least == largest for least, largest in extremes):
        return "Each image holds one value in all of its pixels: there is no signal"
    times = [f.inversion_time for image in series.images for f in image.frames if f.inversion_time is not None]
    shortest = min(times, default=0.0)
    if series.description.is_inversion and 0 < shortest < SHORTEST_INVERSION:
        return f"Inversion Time (0018,0082) is {shortest:g} s: shorter than the pulse"
    serials = {image.serial for image in series.images}
    if len(serials) > 1:
        return f"Images of {len(serials)} scanners (Device Serial Number (0018,1000)) stand in one series"
    for tag, uids in (
        ("Study Instance UID (0020,000D)", [image.study for image in series.images]),
        ("Frame of Reference UID (0020,0052)", [image.frame_of_reference for image in series.images]),
    ):
        number = len(set(uids) - {""})
        if number > 1 and not is_renamed(uids):  # a series is of one study, its places are of one frame of reference
            return f"{tag} has {number} values in images of one series"
    fields = sorted({image.field_strength for image in series.images if image.field_strength})
    if fields and fields[-1] > 1.1 * fields[0]:  # not the same number, rounded differently
        told = f"{fields[0]:g} T and {fields[-1]:g} T"
        return f"Magnetic Field Strength (0018,0087) is {told} in images of one series"
    for image in series.images:
        problem = _judge_image(image) or next(filter(None, map(_judge_frame, image.frames)), "")
        if problem:
            return problem
    return ""


def is_renamed(uids: Sequence[str]) -> bool:
    """Whether each of at least `FEWEST_RENAMED` images has a UID of its own where all share one.

    Images that were mixed are of two series or a few; a tool that makes up a new UID for every file leaves as many as
    there are files.
    """
    return len(uids) >= FEWEST_RENAMED and "" not in uids and len(set(uids)) == len(uids)


def tell_loss(image: Image) -> str:
    """That compression changed the values of an image, and what says so."""
    return (
        "Lossy compression changed the values of the pixels: Transfer Syntax (0002,0010) "
        f"{name_syntax(image.syntax)}, or Lossy Image Compression (0028,2110) is 01"
    )


def _judge_image(image: Image) -> str:
    if image.is_lossy:
        return tell_loss(image)
    if image.n_samples != 1:
        return f"Samples per Pixel (0028,0002) is {image.n_samples}: a color image has no signal"
    if image.n_frames != len(image.frames):
        return f"A file holds {image.n_frames} frames and does not say what each of them is"
    return ""


def _judge_frame(frame: Frame) -> str:
    for name, (element, least, largest, unit) in RANGES.items():
        value = getattr(frame, name)
        if value is not None and not least <= value <= largest:
            return f"{element} is {value:g} {unit}".strip()
    if frame.component == "M" and not frame.slope > 0:
        return f"Rescale Slope (0028,1053), or the vendor's own, is {frame.slope:g}: a magnitude has no sign"
    if frame.echo_time and frame.repetition_time and frame.echo_time >= frame.repetition_time:
        return (
            f"Echo Time (0018,0081) is {frame.echo_time:g} s, and Repetition Time (0018,0080) "
            f"{frame.repetition_time:g} s: no echo comes after the next excitation"
        )
    if frame.spacing and not all(SPACING[0] <= step <= SPACING[1] for step in frame.spacing):
        return f"Pixel Spacing (0028,0030) is {frame.spacing[0]:g} × {frame.spacing[1]:g} mm"
    if frame.orientation and not _is_frame_of_axes(frame.orientation):
        return "Image Orientation (0020,0037) is no pair of directions at a right angle"
    return ""


def _is_frame_of_axes(orientation: tuple[float, ...]) -> bool:
    row, column = orientation[:3], orientation[3:]
    lengths = [sum(cosine**2 for cosine in axis) ** 0.5 for axis in (row, column)]
    angle = sum(a * b for a, b in zip(row, column, strict=True))
    return abs(angle) <= COSINE_TOLERANCE and all(abs(length - 1) <= COSINE_TOLERANCE for length in lengths)
