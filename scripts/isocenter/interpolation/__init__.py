"""Volumes read between their samples: compiled B-splines for rigid and affine motion."""

from isocenter.interpolation.bspline import PAD, compile_bspline, fit_bspline, sample_affine

__all__ = ["PAD", "compile_bspline", "fit_bspline", "sample_affine"]
