"""Test-retest and multicenter statistics: tables in, tables out, no files.

:mod:`isocenter.statistics.analyze` makes all tables from a trial's measurements; the other modules hold one idea
each and can be used alone.
"""
