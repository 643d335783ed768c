"""What a series is for, from its tags: one of the kinds of `suffixes`, or nothing this trial needs.

Names of files are never asked, and names of series only by a rule that the site itself wrote: a protocol may be called
anything.
"""

from collections.abc import Collection, Sequence
from typing import Any

from isocenter.dicom.gradient_echoes import recognize_families
from isocenter.dicom.group import Member, Series, plane_keys
from isocenter.dicom.plausible import ASK_ABOUT_VALUES, find_absurdity, tell_loss
from isocenter.dicom.privacy import WARNINGS
from isocenter.dicom.recognition import NOT_NEEDED, Recognition, count, ignore, quarantine
from isocenter.dicom.site_rules import apply_rules
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.dicom.vendors.generic import MAP_WORDS
from isocenter.entities import Disposition

#: A gradient echo that only its neighbors may explain.
UNEXPLAINED = ignore("", "Gradient echo with one flip angle and one echo time")
SEND_CLEAN = "Send the series again without annotations, as the scanner made it: text in pixels is no signal"
TELL_THE_SITE = "Ask the site which patient the series shows, and to send it again under one Patient ID"


def recognize_all(
    series: list[Series], needed: Collection[str], rules: Sequence[dict[str, Any]] = ()
) -> dict[str, Recognition]:
    """Recognize each series, and those that only their neighbors explain: flip angles spread over several series.

    needed : the suffixes that the trial's biomarkers are fitted to; rules : of ``site.yaml``, for what tags cannot tell
    """
    recognized = {one.uid: recognize(one, needed, rules) for one in series}
    candidates = [one for one in series if recognized[one.uid] == UNEXPLAINED]
    by_uid = {one.uid: one for one in candidates}
    for uid, found in recognize_families(candidates).items():
        if found.suffix not in needed:
            recognized[uid] = ignore(found.suffix, found.reason)
        else:
            recognized[uid] = _check_files(by_uid[uid], found.suffix) or found
    return recognized


def recognize(series: Series, needed: Collection[str], rules: Sequence[dict[str, Any]] = ()) -> Recognition:
    """Recognize one series; whether a set of series is complete is judged later, in `sets`."""
    about = series.description
    if about.modality != "MR" or not any(image.frames for image in [*series.images, *series.damaged]):
        return ignore("", f"Not an MR image (modality {about.modality or 'unknown'})", "Nothing")
    if len(series.patients) > 1:
        return quarantine(
            "", f"Images of {len(series.patients)} Patient IDs (0010,0020) stand in one series", TELL_THE_SITE
        )
    lossy = next((image for image in series.images if image.is_lossy), None)
    if lossy is not None and about.derivation and not set(about.image_type) & MAP_WORDS:
        # Lossy compression makes an original DERIVED by the standard: nothing else says that it was computed.
        return quarantine("", tell_loss(lossy), ASK_ABOUT_VALUES)
    if about.derivation and not (about.is_trace and "dwi" in needed):  # a trace image is what ADC is fitted to
        return ignore(
            "",
            f"Computed by the scanner from other images (Image Type (0008,0008) says {about.derivation})",
            "Nothing: maps are computed here, from the originals",
        )
    if "LOCALIZER" in about.image_type:
        return ignore("", "A localizer (Image Type (0008,0008))", NOT_NEEDED)
    part = find_phase_part(series, needed)
    if part:
        return Recognition(part, reason=f"The phase of: {SUFFIXES[part].title}")
    if series.images and not series.members():
        return ignore("", "Phase, real or imaginary images without magnitude", NOT_NEEDED)
    recognition = apply_rules(series, rules) or _recognize_technique(series)
    if recognition.suffix in SUFFIXES and recognition.suffix not in needed:
        return ignore(recognition.suffix, recognition.reason or SUFFIXES[recognition.suffix].title, NOT_NEEDED)
    if recognition.disposition is Disposition.IGNORED:
        return recognition
    return _check_files(series, recognition.suffix) or recognition


def find_phase_part(series: Series, needed: Collection[str]) -> str:
    """The suffix of a series that holds nothing but the phase of echoes whose magnitude stands in another; else ""."""
    about, phases = series.description, series.members("P")
    if not phases or series.members() or series.damaged or about.is_echo_planar or not about.is_gradient_echo:
        return ""
    echoes = {m.frame.echo_time for m in phases}
    if None in echoes or any(None in (m.frame.position, m.frame.orientation, m.frame.spacing) for m in phases):
        return ""
    is_difference = len(echoes) == 1 and about.is_field_map
    suffix = "B0GRE" if is_difference or len(echoes) == 2 else "MEGRE" if len(echoes) > 2 else ""
    return suffix if suffix in needed else ""


def _recognize_technique(series: Series) -> Recognition:
    about = series.description
    members = series.members(with_damaged=True)
    times = {m.frame.inversion_time for m in members if "(0018,0082)" in m.frame.inversion_source}
    if about.is_inversion or any(time is not None and time > 0 for time in times):
        return _recognize_inversion(series)
    if about.is_echo_planar or about.is_diffusion:
        return _recognize_diffusion(series, members)
    echoes = {round(m.frame.echo_time, 6) for m in members if m.frame.echo_time}
    if about.is_spin_echo and not about.is_gradient_echo:
        if any(not m.frame.echo_time or m.frame.echo_time < 0 for m in members):
            return quarantine(
                "MESE",
                "Echo Time (0018,0081) is missing or not positive in a spin-echo series",
                "Ask the site to send the series with its echo times; they are never guessed",
            )
        if len(echoes) >= SUFFIXES["MESE"].fewest:
            return Recognition("MESE")
        fewest = SUFFIXES["MESE"].fewest
        return ignore("", f"Spin echo with {count(len(echoes), 'echo time')}: T2 needs {fewest}", NOT_NEEDED)
    if len(echoes) == SUFFIXES["B0GRE"].fewest:
        return Recognition("B0GRE", reason=f"Gradient echo with {len(echoes)} echo times")
    if len(echoes) > 1:
        return Recognition("MEGRE", reason=f"Gradient echo with {len(echoes)} echo times")
    if about.is_gradient_echo:
        return UNEXPLAINED
    return ignore("", "Not recognized from its tags (Scanning Sequence (0018,0020))", NOT_NEEDED)


def _recognize_inversion(series: Series) -> Recognition:
    about = series.description
    # A gradient echo in step with the heart reads one recovery many times: its times need the Look-Locker correction.
    is_look_locker = about.is_gradient_echo and about.is_gated and not about.is_spin_echo and not about.is_3d
    suffix = "MOLLI" if is_look_locker else "IRT1"
    members = series.members(with_damaged=True)
    times = [m.frame.inversion_time for m in members]
    n_planes = len({m.frame.position for m in members})
    borrowed = sorted({m.frame.inversion_source for m in members if "TriggerTime" in m.frame.inversion_source})
    if any(time is None or time <= 0 for time in times):
        n_missing = sum(time is None or time <= 0 for time in times)
        what = "is missing" if n_missing == len(times) else f"is missing in {n_missing} of {len(times)} images"
        return quarantine(
            suffix,
            f"Inversion recovery, but Inversion Time (0018,0082) {what}",
            "Ask the site to send the series with its inversion times; they are never guessed",
        )
    if borrowed and is_look_locker:
        return quarantine(
            suffix,
            "Inversion recovery, but Inversion Time (0018,0082) is missing; in a series in step with the heart, "
            "Trigger Time (0018,1060) is the heart's",
            "Ask the site to send the series with its inversion times; they are never guessed",
        )
    if borrowed and len(set(times)) < 2 and len(times) >= n_planes:
        # One trigger time for a whole series may be a cardiac delay as well as an inversion delay.
        return quarantine(
            suffix,
            "Inversion recovery, but Inversion Time (0018,0082) is missing; the one Trigger Time (0018,1060) of the "
            "series need not be it",
            "Ask the site to send the series with its inversion times; they are never guessed",
        )
    return Recognition(suffix)


def _recognize_diffusion(series: Series, members: list[Member]) -> Recognition:
    about, kind = series.description, SUFFIXES["dwi"]
    n_missing = sum(not kind.is_valid(m.frame.b_value) for m in members)
    if not n_missing:
        return Recognition("dwi")
    places = plane_keys([m for m in members if m.frame.position])
    # Field maps and single images are spin-echo planar too; a diffusion series shows each slice several times.
    is_likely = about.is_spin_echo and len(places) >= kind.fewest * max(len(set(places)), 1)
    if n_missing == len(members) and not about.is_diffusion and not is_likely:
        return ignore("dwi", kind.title, NOT_NEEDED)
    what = "is missing" if n_missing == len(members) else f"is missing in {n_missing} of {len(members)} images"
    return quarantine(
        "dwi",
        f"Diffusion images, but the {kind.noun} {what}: neither (0018,9087) nor the vendor's own element "
        "((0019,100C) Siemens, (0043,1039) GE, (2001,1003) Philips) holds it",
        "Ask the site to send the series with its b-values, private elements included; they are never guessed",
    )


def _check_files(series: Series, suffix: str) -> Recognition | None:
    if series.conflicts:
        return quarantine(
            suffix,
            f"{count(len(series.conflicts), 'image')} arrived twice under one SOP Instance UID (0008,0018) "
            "with unlike content",
            "Ask the site which copy is right, and remove the other",
        )
    if series.damaged:
        n_bad, n_all = len(series.damaged), len(series.images) + len(series.damaged)
        which = "The only file" if n_all == 1 else f"{n_bad} of {n_all} files"
        return quarantine(
            suffix,
            f"{which} of the series cannot be used: {series.damaged[0].problem}",
            "Send the series again from the scanner or the picture archive",
        )
    if "burned_in" in series.warnings:
        return quarantine(suffix, WARNINGS["burned_in"], SEND_CLEAN)
    for member in series.members():
        if None in (member.frame.position, member.frame.orientation, member.frame.spacing):
            return quarantine(
                suffix,
                "Image Position (0020,0032), Image Orientation (0020,0037) or Pixel Spacing (0028,0030) is missing or "
                "no place",
                "Send the series again as the scanner made it",
            )
    absurdity = find_absurdity(series)
    return quarantine(suffix, absurdity, ASK_ABOUT_VALUES) if absurdity else None
