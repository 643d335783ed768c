"""A multicenter trial with known truth: heads, phantoms and scanners as arrays; no files."""
