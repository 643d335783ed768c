"""What a label of an atlas is. Imports nothing heavy: a trial is planned with it."""

from dataclasses import dataclass

#: The part of the nuclei: deep gray matter.
DEEP = "deep_gray"


@dataclass(frozen=True)
class AtlasRegion:
    """One label of an atlas.

    tissue : which tissue's voxels within the label are the region; "" takes all of the label
    part : ``deep_gray`` for the nuclei that are no cortex; "" for others, such as lobes
    """

    index: int
    name: str
    tissue: str = ""
    part: str = ""
