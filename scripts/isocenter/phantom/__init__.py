"""Phantoms: what their vials should read, where the vials lie, what a scanner read in them."""
