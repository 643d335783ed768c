"""The engine for any separable model: its basis, or a plane of it, is computed wherever the search goes."""

from types import SimpleNamespace

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.levels import make_orthonormal
from isocenter.fitting.passes import finish_voxels, start_voxels
from isocenter.fitting.plane import NONE, Plane
from isocenter.fitting.problem import Problem, tabulate_grid
from isocenter.fitting.rician import maximize_voxels, tabulate_information
from isocenter.models.base import Separable


class Direct:
    """A model prepared for fits; batches are passed as namespaces of arrays (see `batches`)."""

    def __init__(self, separable: Separable, reported: int, plane: Plane = NONE):
        self.separable, self.reported = separable, reported
        self.evaluate, self.report = separable.evaluate.address, separable.report.address
        q, n, g = separable.amplitudes, separable.design.shape[1], len(separable.grid)
        # Only searches over levels look at it; see `levels`.
        has_levels = q > 2 and not separable.varying
        self.problem = Problem(
            lower=separable.lower,
            upper=separable.upper,
            is_hard=separable.is_hard,
            visible=separable.visible,
            design=separable.design,
            constants=separable.constants,
            grid=separable.grid,
            grid_basis=np.empty((q, n, g)),
            grid_unit=np.empty((q, n, g) if has_levels else (0, 0, 0)),
            is_magnitude=separable.is_magnitude,
            varying_index=np.array([index for index, _ in separable.varying], np.int64),
            plane=plane.coefficients,
            plane_lower=plane.lower,
            plane_width=plane.width,
        )
        if separable.tabulate is None or plane.coefficients.size:
            tabulate_grid(self.evaluate, self.problem)
        else:
            separable.tabulate(separable.grid, separable.design, separable.constants, self.problem.grid_basis)
        if has_levels:
            self.problem.grid_unit[:] = make_orthonormal(self.problem.grid_basis)

    def start(self, work: SimpleNamespace, is_robust: bool) -> None:
        """First pass over a batch: adds theta (v, p), negative (v,) and scale (v,)."""
        v = len(work.y)
        self._complete(work)
        work.theta = np.empty((v, self.separable.lower.size))
        work.negative = np.zeros(v, np.int64)
        work.scale = np.full(v, np.nan)
        start_voxels(
            self.evaluate, self.problem, work.y, work.usable, work.varying, self._nodes(work), is_robust, work.theta,
            work.negative, work.scale,
        )  # fmt: skip

    def finish(self, work: SimpleNamespace, kind: int) -> None:
        """Second pass: adds values, errors (v, r), flag, rms, outliers and freedom (v,)."""
        self._prepare(work)
        self._complete(work)
        finish_voxels(
            self.evaluate, self.report, self.problem, work.y, work.usable, work.varying, work.theta, work.negative,
            work.scale, work.known, kind, work.values, work.errors, work.flag, work.rms, work.outliers, work.freedom,
        )  # fmt: skip

    def maximize(self, work: SimpleNamespace) -> None:
        """From a Gaussian optimum (theta, negative) to the maximum of the Rician likelihood, with noise `known`."""
        self._prepare(work)
        self._complete(work)
        maximize_voxels(
            self.evaluate, self.report, self.problem, work.y, work.usable, work.varying, work.theta, work.negative,
            work.known, tabulate_information(), work.values, work.errors, work.flag, work.rms, work.freedom,
        )  # fmt: skip

    @staticmethod
    def _complete(work: SimpleNamespace) -> None:
        """Write down that every sample can be used, where nothing was written."""
        if work.usable is None:
            work.usable = np.ones_like(work.y)

    def _prepare(self, work: SimpleNamespace) -> None:
        v = len(work.y)
        work.values, work.errors = np.full((v, self.reported), np.nan), np.full((v, self.reported), np.nan)
        work.flag = np.full(v, Flag.SINGULAR, np.uint8)
        work.rms, work.outliers, work.freedom = np.full(v, np.nan), np.zeros(v), np.zeros(v, np.int64)

    def narrow(self, work: SimpleNamespace) -> tuple[np.ndarray, SimpleNamespace] | None:
        """The voxels with samples beyond the model's window, and a batch of them without those; None where none has."""
        separable = self.separable
        if not np.isfinite(separable.window):
            return None
        reach = separable.window * np.exp(work.theta[:, 0])
        if reach.min(initial=np.inf) >= separable.design[0].max():
            return None
        near = separable.design[0] <= reach[:, np.newaxis]
        if work.usable is not None:
            near &= work.usable > 0
        again = (work.flag == Flag.OK) & (near.sum(axis=1) >= separable.window_least)
        again &= near.sum(axis=1) < work.count
        if not again.any():
            return None
        start = {index: value[again] for index, value in work.start.items()}
        inner = SimpleNamespace(
            y=work.y[again], usable=near[again].astype(np.float64), count=near[again].sum(axis=1),
            known=work.known[again], varying=work.varying[again], start=start,
        )  # fmt: skip
        return again, inner

    def _nodes(self, work: SimpleNamespace) -> np.ndarray:
        """(v, 2): the span of the grid's nodes to try; with a start those nearest to it."""
        nodes = np.empty((len(work.y), 2), np.int64)
        nodes[:] = 0, len(self.separable.grid)
        for index, value in work.start.items():
            # The grid's first coordinate changes slowest: the nodes nearest to a start lie side by side.
            levels, first = np.unique(self.separable.grid[:, index], return_index=True)
            edges = np.append(first, len(self.separable.grid))
            nearest = np.abs(levels - value[:, np.newaxis]).argmin(axis=1)
            nodes[:, 0], nodes[:, 1] = edges[nearest], edges[nearest + 1]
        return nodes
