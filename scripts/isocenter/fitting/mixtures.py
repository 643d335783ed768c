"""The engine for magnitude models that mix two species under one decay: see `mixture`."""

from types import SimpleNamespace

import numpy as np

from isocenter.fitting.direct import Direct
from isocenter.fitting.mixture import Mixture
from isocenter.fitting.mixture_finish import finish_mixture
from isocenter.fitting.mixture_robust import finish_robust_mixture, settle
from isocenter.fitting.mixture_scan import start_mixture
from isocenter.fitting.mixture_trim import start_trimmed
from isocenter.fitting.robust import KINDS, SPARE
from isocenter.fitting.tabulated import _put_back, _select
from isocenter.models.base import Separable

_PARAMETERS = 3
_STARTED = ("theta", "negative", "scale", "settled")
_FINISHED = ("values", "errors", "flag", "rms", "outliers", "freedom", "theta")


class Mixtures(Direct):
    """Voxels with all their samples go by the mixture; those that lack some, or do not settle, go the direct way."""

    def __init__(self, separable: Separable, reported: int, mixture: Mixture):
        super().__init__(separable, reported)
        self.mixture = mixture

    def start(self, work: SimpleNamespace, is_robust: bool) -> None:
        """First pass over a batch: adds theta (v, 2), negative, scale and settled (v,)."""
        v = len(work.y)
        work.theta, work.negative = np.empty((v, 2)), np.zeros(v, np.int64)
        work.scale, work.settled = np.full(v, np.nan), np.zeros(v, np.bool_)
        rows = self._rows(work.count == work.y.shape[1])
        part = _select(work, rows, _STARTED)
        if is_robust and part.y.shape[1] >= _PARAMETERS + SPARE:
            start_trimmed(self.mixture, part.y, part.theta, part.scale, part.settled)
        else:
            start_mixture(self.mixture, part.y, part.theta, part.settled)
        _put_back(work, rows, part, _STARTED)
        rest = np.flatnonzero(~work.settled)
        if rest.size:
            part = _select(work, rest, _STARTED)
            super().start(part, is_robust)
            _put_back(work, rest, part, ("theta", "negative", "scale"))

    def finish(self, work: SimpleNamespace, kind: int) -> None:
        """Second pass: adds values, errors (v, r), flag, rms, outliers and freedom (v,)."""
        self._prepare(work)
        if kind:
            is_done = self._finish_robust(work, KINDS["tukey"] == kind)
        else:
            is_done = work.settled
            rows = self._rows(is_done)
            part = _select(work, rows, (*_STARTED, *_FINISHED))
            finish_mixture(
                self.report, self.problem, self.mixture, part.y, part.theta, part.known, part.values, part.errors,
                part.flag, part.rms, part.freedom,
            )  # fmt: skip
            _put_back(work, rows, part, _FINISHED)
        rest = np.flatnonzero(~is_done)
        if rest.size:
            part = _select(work, rest, (*_STARTED, *_FINISHED))
            super().finish(part, kind)
            _put_back(work, rest, part, _FINISHED)

    def _finish_robust(self, work: SimpleNamespace, is_tukey: bool) -> np.ndarray:
        """Finish what settles; which voxels (v,) those are."""
        is_done = (work.count == work.y.shape[1]) & (work.scale > 0)
        amplitude = np.full(len(work.y), np.nan)
        settle(self.mixture, is_tukey, work.y, work.scale, work.theta, amplitude, is_done)
        rows = self._rows(is_done)
        part = _select(work, rows, (*_STARTED, *_FINISHED))
        finish_robust_mixture(
            self.report, self.problem, self.mixture, is_tukey, part.y, part.scale, part.theta, amplitude[rows],
            part.values, part.errors, part.flag, part.rms, part.outliers, part.freedom,
        )  # fmt: skip
        _put_back(work, rows, part, _FINISHED)
        return is_done

    @staticmethod
    def _rows(wanted: np.ndarray) -> slice | np.ndarray:
        return slice(None) if wanted.all() else np.flatnonzero(wanted)
