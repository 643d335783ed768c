"""The engine for models with one nonlinear coordinate and an acquisition that all voxels share: see `line`."""

from types import SimpleNamespace

import numpy as np

from isocenter.fitting.direct import Direct
from isocenter.fitting.line_finish import finish_plain
from isocenter.fitting.line_start import start_plain
from isocenter.fitting.robust_finish import finish_robust
from isocenter.fitting.robust_start import start_robust
from isocenter.fitting.table import Table
from isocenter.models.base import Separable

#: What a batch holds for each of its voxels, by the pass that adds it.
_STARTED = ("theta", "negative", "scale", "converged", "height", "level", "starts")
_FINISHED = ("values", "errors", "flag", "rms", "outliers", "freedom", "theta")


class Tabulated(Direct):
    """Voxels with all their samples go by the table; those that lack some go the direct way."""

    def __init__(self, separable: Separable, reported: int, table: Table):
        super().__init__(separable, reported)
        self.cells = (table.coefficients, table.lower, table.width)
        self.table, self.report_rows = table, separable.report.rows
        self.has_constant = separable.amplitudes == 2
        self.bounds = np.array([separable.lower[0], separable.upper[0]])

    def start(self, work: SimpleNamespace, is_robust: bool) -> None:
        """First pass over a batch: adds theta (v, 1), negative, scale and converged (v,).

        starts : (v,), of robust fits: the sample that is left out
        """
        v = len(work.y)
        work.theta, work.negative = np.empty((v, 1)), np.zeros(v, np.int64)
        work.scale, work.converged = np.full(v, np.nan), np.ones(v, dtype=bool)
        work.height, work.level, work.starts = np.zeros(v), np.zeros(v), np.zeros(v, np.int32)
        table, is_magnitude = self.table, self.separable.is_magnitude
        for rows, is_complete in self._parts(work):
            part = _select(work, rows, _STARTED)
            if not is_complete:
                super().start(part, is_robust)
            elif is_robust:
                start_robust(
                    (table.coefficients, table.direction, table.lower, table.width), table.nodes, table.unit,
                    table.leverage, table.constant, is_magnitude, part.y, part.theta, part.negative, part.scale,
                    part.starts,
                )  # fmt: skip
            else:
                start_plain(
                    table.direction, table.lower, table.width, table.few, table.few_unit, is_magnitude, part.y,
                    part.theta, part.negative, part.converged, part.height, part.level,
                )  # fmt: skip
            _put_back(work, rows, part, _STARTED)

    def finish(self, work: SimpleNamespace, kind: int) -> None:
        """Second pass: adds values, errors (v, r), flag, rms, outliers and freedom (v,)."""
        self._prepare(work)
        separable, table = self.separable, self.table
        limits = (self.bounds, separable.visible[0], separable.is_hard[0])
        for rows, is_complete in self._parts(work):
            part = _select(work, rows, (*_STARTED, *_FINISHED))
            if not is_complete:
                super().finish(part, kind)
            elif kind:
                finish_robust(
                    self.report_rows, self.cells, table.moving, table.constant, self.has_constant,
                    separable.is_magnitude, *limits, separable.constants, part.y, part.theta, part.negative, part.scale,
                    part.starts, kind, part.values, part.errors, part.flag, part.rms, part.outliers, part.freedom,
                )  # fmt: skip
            else:
                finish_plain(
                    self.report_rows, table.coefficients, table.direction, table.scalars, table.lower, table.width,
                    table.moving, table.constant, self.has_constant, separable.is_magnitude, *limits,
                    separable.constants, part.y, part.theta, part.negative, part.converged, part.height, part.level,
                    part.known, part.values, part.errors, part.flag, part.rms, part.freedom,
                )  # fmt: skip
            _put_back(work, rows, part, _FINISHED)

    def _parts(self, work: SimpleNamespace) -> list[tuple[slice | np.ndarray, bool]]:
        complete = work.count == work.y.shape[1]
        if complete.all():
            return [(slice(None), True)]
        parts = [(np.flatnonzero(complete), True), (np.flatnonzero(~complete), False)]
        return [part for part in parts if part[0].size]


def _select(work: SimpleNamespace, rows: slice | np.ndarray, names: tuple[str, ...]) -> SimpleNamespace:
    """The part of a batch: the batch itself where it is whole."""
    if isinstance(rows, slice):
        return work
    names = ("y", "usable", "count", "known", "varying", *names)
    part = {name: getattr(work, name)[rows] for name in names if getattr(work, name, None) is not None}
    part.setdefault("usable", None)
    return SimpleNamespace(**part, start={index: value[rows] for index, value in work.start.items()})


def _put_back(work: SimpleNamespace, rows: slice | np.ndarray, part: SimpleNamespace, names: tuple[str, ...]) -> None:
    if part is work:
        return
    for name in names:
        getattr(work, name)[rows] = getattr(part, name)
