"""In which run each image arrived first: what comes later under the same UID is a correction, and both are told."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from isocenter.dicom.headers import Image

#: Digits of a SHA-256 that tell the contents of one image apart.
DIGITS = 16


@dataclass
class Arrivals:
    """SOP Instance UID to contents (the first digits of their SHA-256) to the number of the run that first saw them."""

    known: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def from_index(cls, index: dict[str, Any]) -> "Arrivals":
        """What the index of the last run kept; nothing of one that is none."""
        kept = index.get("arrived")
        is_sound = isinstance(kept, dict) and all(
            isinstance(one, dict) and all(isinstance(run, int) for run in one.values()) for one in kept.values()
        )
        return cls({uid: dict(one) for uid, one in kept.items()}) if is_sound else cls()

    def note(self, images: Iterable[Image]) -> None:
        """Enter what is new as of one run, and forget images of which no content is left."""
        usable = [image for image in images if image.sop_uid and not image.problem]
        run = 1 + max((number for one in self.known.values() for number in one.values()), default=0)
        for image in usable:
            self.known.setdefault(image.sop_uid, {}).setdefault(image.sha256[:DIGITS], run)
        here = {image.sop_uid for image in usable}
        self.known = {uid: one for uid, one in self.known.items() if uid in here}

    def batch(self, image: Image) -> int:
        """The run that first saw an image's content; 0 when nobody counts."""
        return self.known.get(image.sop_uid, {}).get(image.sha256[:DIGITS], 0)

    def replaced(self, images: Iterable[Image]) -> list[str]:
        """The contents that came before those of `images`, under the same UIDs."""
        old = []
        for image in images:
            own = self.batch(image)
            old += [digits for digits, run in self.known.get(image.sop_uid, {}).items() if run < own]
        return sorted(old)


def digest_contents(contents: Iterable[str]) -> str:
    """One short digest over the contents of several images."""
    return hashlib.sha256("\n".join(sorted(contents)).encode()).hexdigest()[:DIGITS]
