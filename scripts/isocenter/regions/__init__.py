"""Regions: what a label is, how it is drawn, split, eroded and checked. Arrays in, arrays out."""
