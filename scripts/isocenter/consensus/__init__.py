"""Rigid motion within a series from the consensus of its volumes, with or without a signal model; no ANTs here.

In a series whose contrast changes, what one volume looks like is a function of what the others look like in the same
place. Motion is what breaks that function, so it is found by mending it. A signal model knows one such function.
"""

from isocenter.consensus.followers import find_followers
from isocenter.consensus.motions import FEWEST_VOLUMES, Predict, refine_motions
from isocenter.consensus.regression import compile_regression
from isocenter.consensus.volumes import FEWEST_SLICES

__all__ = ["FEWEST_SLICES", "FEWEST_VOLUMES", "Predict", "compile_regression", "find_followers", "refine_motions"]
