"""Regions that overlap, in one label image: a number stands for a set of names.

A lobe holds gray matter that is also cortical gray matter, a segment of the heart is a part of the myocardium. Each set
of names that occurs has a number of its own, and ``labels.tsv`` has one row a number and name; a region is the union of
its numbers. Where nothing overlaps that is one number a name.
"""

from collections.abc import Iterable, Mapping

import numpy as np


class LabelTable:
    """The numbers of a run's regions, the same in the label images of all its maps."""

    def __init__(self, names: Iterable[str] = ()):
        self._sets: dict[tuple[str, ...], int] = {(): 0}
        for name in names:
            self._number((name,))

    @property
    def names(self) -> list[str]:
        """Every name, in the order in which it came."""
        return list(dict.fromkeys(name for names in self._sets for name in names))

    @property
    def rows(self) -> list[tuple[int, str]]:
        """Number and name, as ``labels.tsv`` holds them."""
        return [(number, name) for names, number in self._sets.items() for name in names]

    def draw(self, regions: Mapping[str, np.ndarray]) -> np.ndarray:
        """The label image of regions (name to (x, y, z) booleans): integers, 0 where no region is.

        A name that holds no voxel gets its number all the same: the table says that it was looked for.
        """
        for name in regions:
            self._number((name,))
        shape = next(iter(regions.values())).shape
        code, sets = np.zeros(shape, np.int64), [()]
        for name, region in regions.items():
            moved = np.arange(len(sets))
            for old in np.unique(code[region]):
                moved[old] = len(sets)
                sets.append((*sets[old], name))
            code[region] = moved[code[region]]
        occurring = set(np.unique(code).tolist())
        numbers = np.array([self._number(names) if i in occurring else 0 for i, names in enumerate(sets)])
        return numbers[code].astype(np.uint8 if numbers.max() < 256 else np.int16)

    def _number(self, names: tuple[str, ...]) -> int:
        return self._sets.setdefault(names, len(self._sets))
