"""The engine for complex models whose basis is fixed but for one complex exponential: see `phasor`."""

from types import SimpleNamespace

import numpy as np

from isocenter.fitting.direct import Direct
from isocenter.fitting.phasor import Phasor
from isocenter.fitting.phasor_finish import finish_phasor
from isocenter.fitting.phasor_robust import finish_phasor_robust
from isocenter.fitting.phasor_scan import start_phasor
from isocenter.fitting.phasor_start import start_side_by_side
from isocenter.fitting.robust import SPARE
from isocenter.fitting.tabulated import _put_back, _select
from isocenter.models.base import Separable

_STARTED = ("theta", "negative", "scale")
_FINISHED = ("values", "errors", "flag", "rms", "outliers", "freedom", "theta")


class Phasors(Direct):
    """Voxels with all their samples go by the phasor; those that lack some, or do not settle, go the direct way."""

    def __init__(self, separable: Separable, reported: int, phasor: Phasor):
        super().__init__(separable, reported)
        self.phasor = phasor
        # The first coordinate always turns only.
        self.is_field_and_decay = len(phasor.exponents) == 2 and not np.any(phasor.exponents[1].imag)

    def start(self, work: SimpleNamespace, is_robust: bool) -> None:
        """First pass over a batch: adds theta (v, p), negative (v,) and scale (v,)."""
        v, p = len(work.y), self.separable.lower.size
        work.theta, work.negative = np.empty((v, p)), np.zeros(v, np.int64)
        work.scale = np.full(v, np.nan)
        settled = work.count == work.y.shape[1]
        rows = np.flatnonzero(settled)
        part = self._pick(work, rows, _STARTED)
        done = np.zeros(rows.size, np.bool_)
        is_trimmed = is_robust and work.y.shape[1] >= p + self.separable.amplitudes + SPARE
        if self.is_field_and_decay and not is_trimmed:
            start_side_by_side(self.phasor, part.y, self._nodes(part), part.theta, done)
        else:
            start_phasor(self.phasor, part.y, self._nodes(part), is_trimmed, part.theta, part.scale, done)
        _put_back(work, rows, part, _STARTED)
        settled[rows] = done
        rows = np.flatnonzero(~settled)
        if rows.size:
            part = _select(work, rows, _STARTED)
            super().start(part, is_robust)
            _put_back(work, rows, part, _STARTED)

    def finish(self, work: SimpleNamespace, kind: int) -> None:
        """Second pass: adds values, errors (v, r), flag, rms, outliers and freedom (v,)."""
        self._prepare(work)
        settled = work.count == work.y.shape[1]
        if kind:
            settled &= work.scale > 0
        rows = np.flatnonzero(settled)
        part = self._pick(work, rows, (*_STARTED, *_FINISHED))
        done = np.ones(rows.size, np.bool_)
        if kind:
            finish_phasor_robust(
                self.report, self.problem, self.phasor, part.y, part.theta, part.scale, kind, part.values, part.errors,
                part.flag, part.rms, part.outliers, part.freedom, done,
            )  # fmt: skip
        else:
            finish_phasor(
                self.report, self.problem, self.phasor, part.y, part.theta, part.known, part.values, part.errors,
                part.flag, part.rms, part.freedom, done,
            )  # fmt: skip
        _put_back(work, rows, part, _FINISHED)
        settled[rows] = done
        rows = np.flatnonzero(~settled)
        if rows.size:
            part = _select(work, rows, (*_STARTED, *_FINISHED))
            super().finish(part, kind)
            _put_back(work, rows, part, _FINISHED)

    @staticmethod
    def _pick(work: SimpleNamespace, rows: np.ndarray, names: tuple[str, ...]) -> SimpleNamespace:
        return _select(work, slice(None) if rows.size == len(work.y) else rows, names)
