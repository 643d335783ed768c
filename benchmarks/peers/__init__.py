"""Other packages, one a file. Each names the task it answers and holds ``fit(acquisition, signal)``.

A file here is read where the package may be absent: TASKS, PACKAGE, VOXELS and NOTE come first, and the package is
imported inside `prepare`. It must not import this project: it runs in an environment of its own.
"""
