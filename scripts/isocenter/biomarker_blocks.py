"""The blocks of ``config/biomarkers.yaml`` that a trial selects, held against one another and its other files."""

from typing import Any

from isocenter import layout
from isocenter.complaint_list import Complaints, check_unique
from isocenter.dicom.suffixes import ECHO_PLANAR, SUFFIXES
from isocenter.entities import name_fields

#: The signal model whose maps are of B0.
FIELD_MODEL = "b0_dual_echo"
#: What a gradient of B0 shortens, or quickens.
DECAYS = ("T2star", "R2star")


def select_biomarkers(
    config: dict[str, Any],
    known: dict[str, dict[str, Any]] | None,
    protocol: dict[str, Any] | None,
    complaints: Complaints,
) -> dict[str, dict[str, Any]]:
    """The blocks that the trial selects, in the order of its config, with complaints about what does not fit."""
    if known is None:
        return {}
    for name in config["biomarkers"]:
        if name not in known:
            complaints.add(
                "An unknown biomarker is selected",
                where=f"{layout.CONFIG}, key biomarkers",
                expected=f"one of {', '.join(known)}",
                found=name,
                remedy=f"add a block {name} to {config['files']['biomarkers']}, or mend the name",
            )
    chosen = {name: known[name] for name in config["biomarkers"] if name in known}
    where = config["files"]["biomarkers"]
    check_unique([{"map": block["map"]} for block in chosen.values()], "map", where, complaints)
    _check_used_maps(chosen, known, where, complaints)
    _check_uses_of_b0(chosen, known, where, complaints)
    for name, block in chosen.items():
        low, high = block["plausible_range"]
        if not low < high:
            complaints.add(
                "A plausible range is upside down",
                where=f"{where}, key {name}.plausible_range",
                expected="the lower bound first",
                found=block["plausible_range"],
                remedy="swap the two numbers",
            )
        if block["signal"] == "complex" and block["align"] != "none":
            complaints.add(
                f"Complex images of {name} cannot be aligned",
                where=f"{where}, key {name}.align",
                expected="none",
                found=block["align"],
                remedy="set align to none, or fit magnitudes",
            )
        if block["pulses"] == "phantom" and not _describes_pulses(block["model"]):
            complaints.add(
                f"A phantom cannot choose the pulses of {name}",
                where=f"{where}, key {name}.pulses",
                expected="none, or a model whose options describe pulses (t2_extended_phase_graph)",
                found=f"model {block['model']}",
                remedy="set pulses to none, or fit another model",
            )
        if block["regions"] == "thigh" and not _gives_water_and_fat(block["model"]):
            complaints.add(
                f"A thigh cannot be found in the fit of {name}",
                where=f"{where}, key {name}.regions",
                expected="template, site or heart; or a model of water and fat (pdff_complex, pdff_magnitude)",
                found=f"thigh with model {block['model']}",
                remedy="name another source of regions",
            )
        if block["suffix"] not in SUFFIXES:
            complaints.add(
                f"The intake cannot convert the series of {name}",
                where=f"{where}, key {name}.suffix",
                expected=f"one of {', '.join(SUFFIXES)}",
                found=block["suffix"],
                remedy="mend the suffix, or add an entry to scripts/isocenter/dicom/suffixes.py",
            )
        if protocol is not None and block["suffix"] not in protocol["series"]:
            complaints.add(
                f"The protocol does not name the series of {name}",
                where=f"{config['files']['protocol']}, key series",
                expected=block["suffix"],
                found=", ".join(protocol["series"]),
                remedy=f"add a block {block['suffix']}, or mend the suffix in {where}",
            )
    return chosen


def _describes_pulses(model: str) -> bool:
    """Whether a model's options tell the shape of its pulses."""
    from isocenter import models  # compiled code, which a trial without this key need not load to be planned

    return model in models.names() and "profile" in getattr(models.get(model), "options", {})


def _gives_water_and_fat(model: str) -> bool:
    """Whether a model's fit holds the amplitudes of water and of fat."""
    from isocenter import models

    return model in models.names() and {"W", "F"} <= {p.name for p in models.get(model).parameters}


#: The units in which a map of each name can be lent.
_LENT_UNITS = {
    "B1": ("1", "percent"), "T1": ("s",), "T2": ("s",), "T2star": ("s",), "R2": ("1/s",), "R2star": ("1/s",),
}  # fmt: skip


def _check_used_maps(
    chosen: dict[str, dict[str, Any]], known: dict[str, dict[str, Any]], where: str, complaints: Complaints
) -> None:
    """Maps that blocks use must be made by other selected blocks, in a unit that fits, and in no circle."""
    for name, block in chosen.items():
        for key, lender in block["uses_maps"].items():
            if lender not in chosen:
                complaints.add(
                    f"{name} uses the map of a biomarker that is not {'selected' if lender in known else 'known'}",
                    where=f"{where}, key {name}.uses_maps.{key}",
                    expected=f"one of {', '.join(other for other in chosen if other != name)}",
                    found=lender,
                    remedy=f"add it to the key biomarkers of {layout.CONFIG}" if lender in known else "mend the name",
                )
            elif chosen[lender]["unit"] not in _LENT_UNITS[key]:
                complaints.add(
                    f"{name} cannot use the map of {lender} as its {key}",
                    where=f"{where}, key {name}.uses_maps.{key}",
                    expected=f"a map in {' or '.join(_LENT_UNITS[key])}",
                    found=chosen[lender]["unit"],
                    remedy="name another biomarker",
                )
        circle = _find_circle(name, chosen)
        if circle:
            complaints.add(
                "Biomarkers use one another's maps in a circle",
                where=f"{where}, key {name}.uses_maps",
                expected="maps that can be made one after the other",
                found=" -> ".join(circle),
                remedy="take one of them out",
            )


def _check_uses_of_b0(
    chosen: dict[str, dict[str, Any]], known: dict[str, dict[str, Any]], where: str, complaints: Complaints
) -> None:
    """Only echo-planar magnitudes are corrected and decays marked, by a selected block whose maps are of B0."""
    for name, block in chosen.items():
        if name_fields(block, "field_gradient"):
            _check_field(name, "field_gradient", chosen, known, where, complaints)
            if block["parameter"] not in DECAYS:
                complaints.add(
                    f"A field gradient does not shorten {name}",
                    where=f"{where}, key {name}.field_gradient",
                    expected=f"a biomarker whose parameter is one of {', '.join(DECAYS)}",
                    found=block["parameter"],
                    remedy="set field_gradient to none",
                )
        if not name_fields(block, "distortion"):
            continue
        _check_field(name, "distortion", chosen, known, where, complaints)
        if block["suffix"] != ECHO_PLANAR or block["signal"] == "complex" or block["align"] == "deformable":
            complaints.add(
                f"The distortion of {name} cannot be corrected",
                where=f"{where}, key {name}.distortion",
                expected=f"magnitudes of echo-planar series (suffix {ECHO_PLANAR}), aligned in any way but deformable",
                found=f"suffix {block['suffix']}, signal {block['signal']}, align {block['align']}",
                remedy="set distortion to none",
            )


def _check_field(
    name: str,
    key: str,
    chosen: dict[str, dict[str, Any]],
    known: dict[str, dict[str, Any]],
    where: str,
    complaints: Complaints,
) -> None:
    """A key must name selected blocks whose maps are of B0."""
    fields = [other for other, candidate in chosen.items() if candidate["model"] == FIELD_MODEL]
    for lender in name_fields(chosen[name], key):
        if lender in fields:
            continue
        complaints.add(
            f"{name} names what is no selected map of B0",
            where=f"{where}, key {name}.{key}",
            expected=f"none, or one of {', '.join(fields) or f'the biomarkers with the model {FIELD_MODEL}'}",
            found=lender,
            remedy=f"add it to the key biomarkers of {layout.CONFIG}" if lender in known else "mend the name",
        )


def _find_circle(name: str, blocks: dict[str, dict[str, Any]]) -> list[str]:
    """The way from a biomarker over the maps that it uses back to itself; empty where there is none."""
    ways = [[name]]
    for way in ways:
        for lender in blocks[way[-1]]["uses_maps"].values():
            if lender == name:
                return [*way, name]
            if lender in blocks and lender not in way:
                ways.append([*way, lender])
    return []
