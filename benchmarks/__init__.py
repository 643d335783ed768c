"""Speed and accuracy of the fits beside scipy, other packages and bare arithmetic: ``python -m benchmarks``.

Tasks are files in `benchmarks.tasks`, other packages are files in `benchmarks.peers`. Nothing is imported here: a peer
runs in an environment of its own, in which this project is not installed.
"""
