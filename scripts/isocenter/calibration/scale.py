"""How errors of a quantity count: relative to its size, or, of a share of a whole, as a difference in points.

Relaxation times and diffusion coefficients span decades, and a scanner scales them: their errors are relative. A fat
fraction has a fixed whole and may be 0, where nothing is relative: its errors are differences, in percent of the whole.
What is called a bias or a residual "in percent" is 100 times :meth:`Scale.error` of either kind.
"""

from dataclasses import dataclass

import numpy as np

#: Units of shares, with the whole in that unit.
WHOLES = {"percent": 100.0}


@dataclass(frozen=True)
class Scale:
    """whole : of which the quantity is a share [unit]; None where errors are relative."""

    whole: float | None = None

    @property
    def is_relative(self) -> bool:
        """Whether errors are relative to the value."""
        return self.whole is None

    def is_reference(self, value):
        """Whether errors can be told from this reference: any share, but no time of 0."""
        return value > 0 if self.whole is None else (value >= 0) & (value <= self.whole)

    def error(self, value, reference):
        """How far a value lies from its reference [1]."""
        return value / reference - 1 if self.whole is None else (value - reference) / self.whole

    def share(self, stderr, value):
        """A standard error as a share of the value, or of the whole [1]."""
        return stderr / value if self.whole is None else stderr / self.whole

    def size(self, value):
        """(...,) array [unit]: what a relative error of these values is multiplied by."""
        return value if self.whole is None else np.full(np.shape(value), self.whole)

    def shift(self, measured, reference):
        """How far values lie from their references, in a measure that adds up over sessions [1]."""
        return np.log(measured / reference) if self.whole is None else (measured - reference) / self.whole

    def move(self, reference, shift):
        """The value that lies `shift` from a reference [unit]."""
        return reference * np.exp(shift) if self.whole is None else reference + self.whole * shift

    def as_error(self, shift):
        """:meth:`error` of a value that lies `shift` from its reference [1]."""
        return np.expm1(shift) if self.whole is None else shift


#: How errors of most quantities count.
RELATIVE = Scale()


def scale_of(unit: str) -> Scale:
    """The scale of a quantity in `unit`."""
    return Scale(WHOLES.get(unit))
