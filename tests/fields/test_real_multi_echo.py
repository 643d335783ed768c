"""Three real gradient echoes of a brain: its shim, and where a steep field shortens T2*."""

from pathlib import Path

import numpy as np
import pytest

from isocenter import models
from isocenter.fields import fit_volume
from isocenter.fields.gradient import measure_gradient, predict_shortening
from isocenter.fields.shim import measure_shim
from isocenter.fitting import fit

DATA = Path(__file__).parents[2] / "../shared/data/multi_echo_gre"
ECHOES = np.array([0.004, 0.008, 0.012])


@pytest.fixture(scope="module")
def scan():
    if not (DATA / "Mag.nii.gz").exists():
        pytest.skip(f"the real data are not here: {DATA}")
    nibabel = pytest.importorskip("nibabel")
    image, phase = (nibabel.load(DATA / f"{name}.nii.gz") for name in ("Mag", "Phase"))
    magnitude, turns = (np.asarray(one.dataobj, dtype=float) for one in (image, phase))
    # The file's numbers are in arbitrary units over one whole turn.
    signal = magnitude * np.exp(1j * np.pi * turns / np.abs(turns).max())
    field = fit_volume(models.get("b0_dual_echo").bind({"EchoTime": ECHOES}), signal).value["B0"]
    return signal, field, np.linalg.norm(image.affine[:3, :3], axis=0)


def test_no_step_of_a_period_is_left_between_strong_neighbors(scan):
    signal, field, _ = scan
    strength = np.abs(signal[..., 0])
    head = strength > 0.3 * np.percentile(strength, 98)
    n_pairs = n_jumps = 0
    for axis in range(3):
        near, far = range(head.shape[axis] - 1), range(1, head.shape[axis])
        both = np.take(head, near, axis) & np.take(head, far, axis)
        step = np.abs(np.take(field, far, axis) - np.take(field, near, axis))[both]
        n_pairs, n_jumps = n_pairs + both.sum(), n_jumps + np.sum(step > 125)
    print("MEASURED", n_pairs, n_jumps)
    assert n_pairs > 10_000
    assert n_jumps <= 2


def test_its_shim_and_the_share_of_a_steep_field(scan):
    signal, field, size = scan
    strength = np.abs(signal[..., 0])
    head = strength > 0.3 * np.percentile(strength, 98)
    shim = measure_shim(field, head)
    found = fit(models.get("t2star_multi_echo").bind({"EchoTime": ECHOES}), np.abs(signal)[head])
    steep = measure_gradient(np.where(head, field, np.nan), size)
    share = predict_shortening(steep[head], size, ECHOES, found.value["T2star"])
    steepness = np.linalg.norm(steep[head], axis=-1)
    print("MEASURED", size, shim, np.nanpercentile(steepness, [50, 95]), np.nanmean(share > 0.1))
    assert 5 < shim.sd < 100
    assert shim.fwhm < shim.range
    # Most of a brain is far from air; where it is not, the steepest voxels decay the fastest.
    assert np.nanmean(share > 0.1) < 0.2
    known = found.ok & np.isfinite(steepness)
    calm = known & (steepness < np.nanpercentile(steepness, 50))
    wild = known & (steepness > np.nanpercentile(steepness, 98))
    assert np.median(found.value["T2star"][wild]) < np.median(found.value["T2star"][calm])
