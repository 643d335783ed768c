"""Which of a site's choices of pulses holds for a scan: that of its scanner and protocol; and pulses in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

#: Echo times [s] and angles [deg] that differ by less are one protocol's: headers round to 0.01 ms.
SAME_ECHO, SAME_ANGLE = 2e-5, 0.5


def is_same_protocol(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two echo trains have the same echo times and nominal refocusing angle, so that pulses serve for both."""
    a, b = (np.sort(np.atleast_1d(np.asarray(p.get("EchoTime", []), dtype=float))) for p in (one, other))
    angles = [float(np.median(p.get("RefocusingFlipAngle", 180.0))) for p in (one, other)]
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= SAME_ECHO)) and abs(np.diff(angles)[0]) <= SAME_ANGLE


def find_options(
    choices: list[dict[str, Any]], scanner: str, acquisition: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    """The options chosen for a scan's scanner and protocol, and the reason of the choice or of its absence."""
    own = [c for c in choices if c["scanner"] == scanner]
    if not own:
        return None, f"no usable echo train of a phantom from scanner {scanner}"
    if not any(choice["options"] for choice in own):
        return None, own[0]["reason"]
    for choice in own:
        if is_same_protocol(choice["protocol"], acquisition):
            return choice["options"], choice["reason"]
    return None, f"the phantom was scanned with another echo train than this scan on scanner {scanner}"


def describe_pulses(options: Mapping[str, Any]) -> str:
    """Pulses in words: ``slr, time-bandwidth 5, refocused slab 1.1 times the slice``."""
    if options.get("profile", "none") == "none":
        return "ideal pulses, the same angle everywhere in the slice"
    product = np.broadcast_to(np.asarray(options["time_bandwidth"], dtype=float), (2,))[0]
    ratio = options["thickness_ratio"]
    return f"{options['profile']}, time-bandwidth {product:g}, refocused slab {ratio:g} times the slice"
