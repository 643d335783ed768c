"""Random streams by name: the same numbers whatever else is simulated, in whatever order, by however many workers."""

import zlib

import numpy as np


def stream(seed: int, *key: str | int) -> np.random.Generator:
    """A random generator of its own for each key (what, site, participant, session, ...)."""
    spawn_key = tuple(part if isinstance(part, int) else zlib.crc32(part.encode()) for part in key)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=spawn_key)))
