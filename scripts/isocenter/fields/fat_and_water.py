"""The field map that tells fat from water: of the few fields that explain a voxel's echoes, the one that is smooth.

Each voxel's residual as a function of B0 (variable projection: water and fat in closed form, a few R2*) has a deep
minimum at the true field and another where water would be fat (Yu et al. 2005, doi 10.1002/mrm.20654). Which of them is
decided over the neighborhood (Hernando et al. 2010, doi 10.1002/mrm.22177, with the same energy and another solver).
"""

import numpy as np

from isocenter.fields.labeling import choose_labels
from isocenter.fields.noise import estimate_noise, find_signal
from isocenter.fields.unwrapping import unwrap_field
from isocenter.models import Bound
from isocenter.models.fat_spectrum import read_spectrum
from isocenter.models.pdff_complex import echo_period, field_nodes

#: Nodes over B0 in a period of the phase over the whole train.
_DENSITY = 16.0
_RATES = (0.0, 30.0, 80.0, 200.0, 500.0)
#: Beyond 45 degrees the readouts' phase is the same as another one with the field half a period away.
_READOUT_PHASES = (-0.7, -0.35, 0.0, 0.35, 0.7)
#: Minima kept of each voxel.
_KEPT = 4
_CHUNK = 16384
#: What no spectrum explains of a real signal: residuals below this share of the signal do not count as misfit.
_MODEL_ERROR = 0.01
#: Neighbors differ by a small part of the distance from fat to water, whatever the field strength.
_SMOOTH_SHARE = 0.05
#: Half squared scales: an edge of tissue or air may break the field once it costs this.
_MOST_DIFFERENCE = 40.0


def choose_field(bound: Bound, signal: np.ndarray, *, mask: np.ndarray | None = None) -> np.ndarray:
    """The field offset of each voxel, chosen over the neighborhood.

    Parameters
    ----------
    bound : Bound
        `pdff_complex`, bound to n echoes.
    signal : (x, y, z, n) complex array [a.u.]
        The echoes.
    mask : (x, y, z) booleans, optional
        Voxels to look at; all that have signal by default.

    Returns
    -------
    (x, y, z) array [Hz]
        NaN outside. With equally spaced echoes it is unwrapped over space, up to whole periods of a connected region.
    """
    inside = find_signal(signal, mask)
    field = np.full(inside.shape, np.nan)
    if not inside.any():
        return field
    period = echo_period(bound.acquisition["EchoTime"])
    strength = np.zeros(inside.shape)
    field[inside], strength[inside] = _choose(bound, signal, inside, period)
    return unwrap_field(field, period, strength, inside) if np.isfinite(period) else field


def _choose(bound: Bound, signal: np.ndarray, inside: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    """The chosen field (v,) [Hz] of the voxels inside, and how strong their signal is (v,) [a.u.]."""
    candidates, misfit, energy = list_candidates(bound, signal, inside)
    # Both read structure as noise: the smaller one is nearer to the truth.
    freedom = 2 * bound.n - len(bound.parameters)
    sigma = np.fmin(estimate_noise(signal, inside), np.sqrt(np.median(misfit[:, 0]) / freedom))
    # Two squared standard deviations of one channel; the model's own error is not noise, but limits what a misfit says.
    noise = 2 * (np.nan_to_num(sigma) ** 2 + _MODEL_ERROR**2 * energy / bound.n)
    with np.errstate(invalid="ignore", divide="ignore"):
        cost = (misfit - misfit.min(axis=1, keepdims=True)) / noise[:, np.newaxis].astype(np.float32)
    strength = np.sqrt(energy)
    choice = choose_labels(
        list_neighbors(inside),
        candidates,
        np.nan_to_num(cost, nan=np.inf, posinf=np.inf),
        np.minimum(1, strength / np.median(strength)),
        period,
        _SMOOTH_SHARE * _fat_shift(bound),
        _MOST_DIFFERENCE,
    )
    return candidates[np.arange(choice.size), choice], strength


def list_candidates(bound: Bound, signal: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fields that explain the echoes of each voxel best.

    Parameters
    ----------
    bound : Bound
        `pdff_complex`, bound to n echoes.
    signal : (..., n) complex array [a.u.]
        The echoes.
    inside : (...,) booleans
        The v voxels to look at.

    Returns
    -------
    candidates : (v, k) array [Hz]
        Local minima of the misfit, best first.
    misfit : (v, k) array [a.u. squared]
        The sum of squares that is left; infinite where a voxel has fewer minima.
    energy : (v,) array [a.u. squared]
        The sum of squares of the signal.
    """
    te = bound.acquisition["EchoTime"]
    nodes = field_nodes(te, _DENSITY)
    basis, levels = _span(bound, nodes)
    is_circular = np.isfinite(echo_period(te))
    flat = signal.reshape(-1, te.size)
    voxels = np.flatnonzero(inside)
    found, left = np.empty((voxels.size, _KEPT), np.float32), np.empty((voxels.size, _KEPT), np.float32)
    energy = np.empty(voxels.size)
    for begin in range(0, voxels.size, _CHUNK):
        y = np.nan_to_num(flat[voxels[begin : begin + _CHUNK]]).astype(np.complex64)
        part = slice(begin, begin + len(y))
        energy[part] = np.sum(np.abs(y) ** 2, axis=1)
        explained = np.zeros((len(y), nodes.size), np.float32)
        for level in range(levels):
            projected = y @ basis[level]
            power = projected.real**2 + projected.imag**2
            np.maximum(explained, power[:, : nodes.size] + power[:, nodes.size :], out=explained)
        found[part], left[part] = _pick_minima(energy[part, np.newaxis] - explained, nodes, is_circular)
    return found, left, energy


def _span(bound: Bound, nodes: np.ndarray) -> tuple[np.ndarray, int]:
    """Orthonormal bases (levels, n, 2 g), conjugated, of what water and fat can be at each node and decay rate."""
    te = bound.acquisition["EchoTime"]
    n = te.size
    real, imaginary, polarity = (bound.separable.design[row, :n] for row in (1, 2, 3))
    known = bound.options["R2star"]
    readouts = _READOUT_PHASES if bound.options["bipolar"] else (0.0,)
    turn = np.exp(2j * np.pi * np.outer(te, nodes))
    bases = []
    for rate in _RATES if known is None else (known,):
        pair = np.stack([np.ones(n), real + 1j * imaginary], axis=1) * np.exp(-rate * te)[:, np.newaxis]
        plane = np.linalg.qr(pair)[0]
        for phase in readouts:
            flipped = plane * np.exp(1j * phase * polarity)[:, np.newaxis]
            bases.append(np.concatenate([flipped[:, :1] * turn, flipped[:, 1:] * turn], axis=1))
    return np.conj(np.stack(bases)).astype(np.complex64), len(bases)


def _pick_minima(misfit: np.ndarray, nodes: np.ndarray, is_circular: bool) -> tuple[np.ndarray, np.ndarray]:
    """The deepest minima (v, k) of misfits (v, g) over the nodes, refined by a parabola, and their depths."""
    before, after = np.roll(misfit, 1, axis=1), np.roll(misfit, -1, axis=1)
    if not is_circular:
        before[:, 0], after[:, -1] = np.inf, np.inf
    is_low = (misfit <= before) & (misfit < after)
    ranked = np.argsort(np.where(is_low, misfit, np.inf), axis=1, kind="stable")[:, :_KEPT]
    rows = np.arange(len(misfit))[:, np.newaxis]
    low, a, b = misfit[rows, ranked], before[rows, ranked], after[rows, ranked]
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = a - 2 * low + b
        shift = np.where(np.isfinite(bend) & (bend > 0), 0.5 * (a - b) / bend, 0.0)
        depth = low - np.where(shift == 0, 0.0, 0.25 * (a - b) * shift)
    is_there = is_low[rows, ranked]
    # A flat misfit (no signal) has no minimum: any field will do.
    is_there[:, 0] = True
    return nodes[ranked] + shift * (nodes[1] - nodes[0]), np.where(is_there, np.maximum(depth, 0), np.inf)


def list_neighbors(inside: np.ndarray) -> np.ndarray:
    """(v, 6) integers: numbers of the voxels that touch each voxel of a mask (x, y, z) by a face, -1 for none."""
    number = np.full(tuple(size + 2 for size in inside.shape), -1, np.int32)
    core = tuple(slice(1, -1) for _ in inside.shape)
    number[core][inside] = np.arange(inside.sum())
    sides = np.empty((inside.sum(), 2 * inside.ndim), np.int32)
    for axis in range(inside.ndim):
        for side, step in enumerate((1, -1)):
            sides[:, 2 * axis + side] = np.roll(number, step, axis=axis)[core][inside]
    return sides


def _fat_shift(bound: Bound) -> float:
    """The distance of fat's strongest peak from water [Hz]."""
    spectrum = read_spectrum(bound.model, bound.acquisition, bound.options)
    return float(abs(spectrum.frequency[np.argmax(spectrum.amplitude)]))
