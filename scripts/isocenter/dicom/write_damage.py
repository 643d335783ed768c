"""What goes wrong between a scanner and a trial's archive, done to a simulated trial on purpose."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from isocenter.dicom.write_trial import WrittenSeries
from isocenter.simulation.design import BadThing

#: A truncated file keeps this share of its bytes: the header and some pixels, as when an upload breaks off.
KEPT = 0.6
NOTES = "Coil element 7 was replaced before the first session. Volunteers were asked to lie still.\n"


def damage_trial(
    things: Iterable[BadThing], written: list[WrittenSeries], folders: Mapping[str, Path]
) -> list[tuple[BadThing, str]]:
    """Do what `things` say to the DICOM; what the simulation already did is only looked up.

    Returns each thing with its path relative to the site's DICOM folder ("" for what is not there).
    """
    files = {
        (s.plan.site.name, s.plan.participant, s.plan.session, s.plan.run, s.plan.suffix): s.files for s in written
    }
    return [
        (b, _damage(b, folders[b.site], files.get((b.site, b.participant, b.session, b.run, b.suffix), [])))
        for b in things
    ]


def _damage(thing: BadThing, folder: Path, files: list[Path]) -> str:
    if thing.what == "non_dicom_file":
        path = folder / "operator_notes.txt"
        path.write_text(NOTES, encoding="utf-8")
    elif thing.what == "truncated_dicom":
        path = files[len(files) // 2]
        whole = path.read_bytes()
        path.write_bytes(whole[: int(KEPT * len(whole))])
    elif thing.what == "duplicate_upload":
        path = folder / "upload_2" / files[0].parent.relative_to(folder)
        path.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            shutil.copyfile(file, path / f"{number:08X}{file.suffix}")
    elif files:
        path = files[0].parent
    else:
        return ""
    return path.relative_to(folder).as_posix()
