"""The scanner's own ruler, measured in a phantom: how its values become the reference's, with their uncertainty.

:mod:`curve` is the calibration itself, :mod:`regression` fits one form with errors in both variables,
:mod:`outliers` finds the vial that does not belong, :mod:`choice` decides which form, or none.
"""

from isocenter.calibration.choice import fit_calibration_curve
from isocenter.calibration.curve import FORMS, Calibration
from isocenter.calibration.outliers import find_outliers

__all__ = ["FORMS", "Calibration", "find_outliers", "fit_calibration_curve"]
