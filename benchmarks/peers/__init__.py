"""Other packages, one a file. Each names the task it answers and holds ``fit(acquisition, signal)``.

A file here is read without importing the package: TASKS, PACKAGE, VOXELS and NOTE are its first statements, and the package
is imported inside `prepare`. It must not import this project: it runs in an environment of its own.
"""
