"""Warm workers: hundreds of short jobs without hundreds of starts of Python.

A trial is hundreds of jobs of a second or less, and each would spend longer on importing numpy, nibabel or ANTs than
on its work. :mod:`isocenter.warm.server` imports once and forks itself for every job; ``python`` in this folder
stands in for the interpreter that Snakemake starts, hands the job to the server, and is the plain interpreter
wherever there is none. A job sees the same files, arguments, environment and exit code both ways.
"""
