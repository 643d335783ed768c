"""A body of fat and water in a field that varies by more than a period, made from known truth."""

from types import SimpleNamespace

import numpy as np

from isocenter import models


def make_body(size, snr, *, tesla=3.0, times=None, seed=0, span=1.5, **options):
    """Complex echoes of a ball: skin of fat, muscle, a rod of pure fat, iron in one half; air around it.

    span : the range of the field over the volume, in periods of the echo spacing
    Returns bound, signal (x, y, z, n), inside, pdff [percent], field [Hz], sigma, period [Hz].
    """
    times = np.asarray(0.0012 + 0.0033 / tesla * np.arange(6) if times is None else times)
    period = 1 / np.diff(times).mean()
    x, y, z = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.sqrt(x**2 + y**2 + z**2)
    inside, skin = radius < 0.95, (radius > 0.82) & (radius < 0.95)
    pdff = np.where(x > 0.2, 35.0, 5.0)
    pdff[(x < -0.3) & (y > 0)] = 0.0
    pdff[(x + 0.4) ** 2 + (y + 0.4) ** 2 < 0.04] = 70.0
    pdff[(np.abs(x) < 0.25) & (np.abs(y) < 0.25) & (np.abs(z) < 0.6)] = 100.0
    pdff[skin] = 95.0
    rate = np.where(skin, 30.0, np.where(z > 0.2, 150.0, 45.0))
    field = span * period / 2 * (0.8 * x + 0.2 * np.sin(3 * y) * np.cos(2 * z) + 0.15 * z**2)
    strength = np.where(inside, 1000 * (1 + 0.3 * y), 0)
    bound = models.get("pdff_complex").bind({"EchoTime": times, "MagneticFieldStrength": tesla}, **options)
    clean = bound.predict(
        {
            "W": strength * (1 - pdff / 100),
            "F": strength * pdff / 100,
            "R2star": rate,
            "B0": field,
            "phase": 40 + 30 * x,
        }
    )
    sigma = 1000 / snr
    noise = np.random.default_rng(seed).standard_normal((*clean.shape, 2)) @ [1, 1j]
    signal = (clean + sigma * noise).astype(np.complex64)
    return SimpleNamespace(
        bound=bound, signal=signal, inside=inside, pdff=pdff, field=field, sigma=sigma, period=period, tesla=tesla
    )


def share_of_swaps(body, field):
    """The share of voxels whose field is off by more than a third of the distance from water to fat."""
    error = field - body.field
    error -= body.period * np.round(error / body.period)
    return np.mean(~(np.abs(error[body.inside]) < 3.4 * 42.577 * body.tesla / 3))
