"""Isocenter: quantitative-MRI maps from many hospitals, made into numbers that a trial can trust."""

__version__ = "0.1.0"
