"""Acquisitions of BIDS datasets that arrived more than once: copies, corrections, or contradictions.

The same voxels and values are one acquisition, whatever it is called. Another content under the same names is a
correction where it came in a later run; of one run, nobody knows which is right.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isocenter.dataset.acquisitions import Received
from isocenter.dataset.contents import digest_image
from isocenter.dataset.names import Name
from isocenter.dicom.arrivals import Arrivals
from isocenter.dicom.deidentify import digest_path
from isocenter.dicom.headers import Image
from isocenter.dicom.recognition import ignore, quarantine
from isocenter.entities import Disposition

ASK_WHICH = "Ask the site which of the two is right, and remove the other"


@dataclass(frozen=True)
class Sent:
    """One acquisition as `judge_copies` compares it. uid : of its row; participant : "" where the table names nobody"""

    uid: str
    participant: str
    received: Received
    content: Image


def describe_content(uid: str, root: Path, received: Received) -> Image:
    """An acquisition as arrivals count it: its names stand for a UID, its voxels and values for the content."""
    names = sorted({name.relative for name in received.names})
    told = [digest_image(root / name) for name in names]
    values = {value: volume.sidecar for value, volume in received.volumes.items()}
    text = json.dumps([sorted(told), received.kind, sorted(values.items())], sort_keys=True, default=str)
    return Image(uid, hashlib.sha256(text.encode()).hexdigest(), sop_uid=_identify(received.names[0]))


def _identify(name: Name) -> str:
    """What stands for the names of an acquisition in the index, which names nobody."""
    return digest_path(repr(name.acquisition))


def judge_copies(sent: Sequence[Sent], arrivals: Arrivals) -> None:
    """Give usable acquisitions that arrived more than once their outcome.

    arrivals : in which run each content came first; of equal ones the first is kept, by run and then in the order given
    """
    ordered = sorted(sent, key=lambda one: arrivals.batch(one.content))
    alike: dict[str, list[Sent]] = {}
    for one in ordered:
        alike.setdefault(one.content.sha256, []).append(one)
    for members in alike.values():
        if len({one.participant for one in members}) > 1:
            for one in members:
                other = next(o for o in members if o.participant != one.participant)
                _refuse(one, f"The images of {other.uid} under another subject")
        else:
            for one in members[1:]:
                reason = f"A second copy of the images of {members[0].uid}"
                one.received.outcome = ignore(one.received.kind, reason, "Nothing: the first copy is used")
    named: dict[tuple[str, str], list[Sent]] = {}
    for one in ordered:
        if one.received.outcome.disposition is Disposition.USED:
            named.setdefault((one.participant, one.content.sop_uid), []).append(one)
    for members in named.values():
        last = members[-1]
        is_later = [arrivals.batch(one.content) < arrivals.batch(last.content) for one in members[:-1]]
        for one in members[:-1]:
            if all(is_later):
                reason = f"Superseded: its images arrived again, corrected, as {last.uid}"
                one.received.outcome = ignore(one.received.kind, reason, "Nothing: the later images are used")
            else:
                _refuse(one, f"{last.uid} has the same names and other images or values")
        if not all(is_later):
            _refuse(last, f"{members[0].uid} has the same names and other images or values")


def _refuse(one: Sent, reason: str) -> None:
    one.received.outcome = quarantine(one.received.kind, reason, ASK_WHICH)
    one.received.volumes, one.received.phases = {}, {}
