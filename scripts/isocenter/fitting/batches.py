"""The voxels of a fit in batches: gathered, fitted, put back. What does not fit in the cache is never held at once."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.direct import Direct
from isocenter.models.base import Bound

#: Voxels per batch. Fixed, though results do not depend on it.
_BATCH = 4096


class Batches:
    """The voxels of one call of `fit`, and what was found in them (flat arrays over all voxels)."""

    def __init__(
        self,
        bound: Bound,
        signal: np.ndarray,
        *,
        mask: np.ndarray | None,
        sigma: Any,
        saturation: Any,
        start: Mapping[str, Any] | None,
        threads: int,
    ):
        self.bound = bound
        self.shape = signal.shape[:-1]
        self.signal = signal.reshape(-1, bound.n)
        self.threads = threads
        self.sigma = self._per_voxel(sigma)
        self.saturation = saturation
        separable = bound.separable
        self.start = {separable.starts[name]: self._per_voxel(value) for name, value in (start or {}).items()}
        self.varying = [self._per_voxel(value) for _, value in separable.varying] if separable else []
        total, r = len(self.signal), len(bound.parameters)
        self.found = SimpleNamespace(
            values=np.full((r, total), np.nan),
            errors=np.full((r, total), np.nan),
            flag=np.full(total, Flag.MASKED, np.uint8),
            rms=np.full(total, np.nan),
            outliers=np.full(total, np.nan),
            freedom=np.zeros(total, np.int16),
        )
        wanted = np.arange(total) if mask is None else np.flatnonzero(np.asarray(mask, dtype=bool).reshape(-1))
        self.batches = [wanted[i : i + _BATCH] for i in range(0, wanted.size, _BATCH)]

    def _per_voxel(self, value: Any) -> Any:
        """A number as it is, an array flat over the voxels."""
        if value is None or np.ndim(value) == 0:
            return value
        return np.broadcast_to(np.asarray(value, dtype=float), self.shape).reshape(-1)

    def solve(self) -> SimpleNamespace:
        """Models that are solved in closed form."""

        def work(batch: np.ndarray) -> None:
            y = self.signal[batch]
            has_signal = np.any(np.isfinite(y) & (y != 0), axis=1)
            values, errors, flag = self.bound.closed_form(y, _take(self.sigma, batch))
            flag = np.where(has_signal, flag, Flag.NO_SIGNAL).astype(np.uint8)
            self._keep(batch, values, errors, flag)

        self._for_each(work)
        return self.found

    def search(self, kind: int, is_rician: bool) -> SimpleNamespace:
        """Models with nonlinear parameters, by variable projection."""
        engine = Direct(self.bound.separable, len(self.bound.parameters))
        kept: dict[int, Any] = {}
        is_twice = kind > 0 or (is_rician and self.sigma is None)

        def begin(batch: np.ndarray) -> None:
            work = self._gather(batch)
            engine.start(work, kind > 0)
            if kind:
                kept[int(batch[0])] = (work.theta, work.negative, work.scale)
                return
            self._refine(engine, work, kind)
            if is_twice:
                spread = np.where(work.flag == Flag.OK, work.rms * np.sqrt(work.count / work.freedom), np.nan)
                kept[int(batch[0])] = (work.theta, work.negative, spread)
                return
            if is_rician:
                engine.maximize(work)
            self._put(batch, work)

        self._for_each(begin)
        if not is_twice:
            return self.found
        # What only all voxels together tell: the usual scale of the residuals.
        scales = np.concatenate([scale for _, _, scale in kept.values()]) if kept else np.array([])
        measured = scales[np.isfinite(scales)]
        usual = float(np.median(measured)) if measured.size else np.nan

        def end(batch: np.ndarray) -> None:
            work = self._gather(batch)
            work.theta, work.negative, scale = kept.pop(int(batch[0]))
            if is_rician:
                work.known[:] = usual
                engine.maximize(work)
            else:
                # Noise-free data: rounding errors are no scale to weigh by.
                least = 1e-7 * np.abs(work.y).max(axis=1, initial=0.0)
                floored = np.maximum(np.where(work.known > 0, work.known, np.maximum(scale, usual)), least)
                work.scale = np.where(np.isfinite(scale), floored, np.nan)
                self._refine(engine, work, kind)
            self._put(batch, work)

        self._for_each(end)
        return self.found

    def _refine(self, engine: Direct, work: SimpleNamespace, kind: int) -> None:
        """The final fit of a batch, and a second one where samples lie beyond the model's window."""
        engine.finish(work, kind)
        narrow = engine.narrow(work)
        if narrow is None:
            return
        again, inner = narrow
        engine.start(inner, kind > 0)
        inner.scale = work.scale[again] if kind else inner.scale
        engine.finish(inner, kind)
        for name in ("values", "errors", "flag", "rms", "outliers", "freedom", "theta", "negative"):
            getattr(work, name)[again] = getattr(inner, name)
        work.usable[again] = inner.usable

    def _put(self, batch: np.ndarray, work: SimpleNamespace) -> None:
        flag = work.status
        chosen = np.flatnonzero(flag == Flag.OK)
        flag[chosen] = work.flag
        self._keep(batch, *(_spread(a, chosen, flag.size) for a in (work.values, work.errors)), flag)
        where = batch[chosen]
        self.found.rms[where] = work.rms
        self.found.outliers[where] = work.outliers
        self.found.freedom[where] = work.freedom

    def _gather(self, batch: np.ndarray) -> SimpleNamespace:
        """The samples of a batch in the model's order, and which voxels and samples can be used."""
        separable = self.bound.separable
        y = self.signal[batch][:, separable.order]
        clipped = np.zeros(y.shape, dtype=bool)
        if self.saturation is not None:
            limit = np.broadcast_to(np.asarray(self.saturation, dtype=float), (self.bound.n,))[separable.order]
            clipped = np.isfinite(y) & (np.abs(y) >= limit if separable.is_complex else y >= limit)
        if separable.is_complex:
            y = np.concatenate([y.real, y.imag], axis=1)
            clipped = np.concatenate([clipped, clipped], axis=1)
        y = np.ascontiguousarray(y, dtype=np.float64)
        usable = np.isfinite(y)
        has_signal = np.any(usable & (y != 0), axis=1)
        usable &= ~clipped
        enough = usable.sum(axis=1) > separable.lower.size + separable.amplitudes
        status = np.where(enough, Flag.OK, np.where(clipped.any(axis=1), Flag.CLIPPED, Flag.SINGULAR)).astype(np.uint8)
        status[~has_signal] = Flag.NO_SIGNAL
        fitted = status == Flag.OK
        y, usable, voxels = y[fitted], usable[fitted], batch[fitted]
        y[~usable] = 0.0
        known = np.full(voxels.size, np.nan)
        if self.sigma is not None:
            known[:] = _take(self.sigma, voxels)
        varying = np.empty((voxels.size, len(self.varying)))
        for column, value in enumerate(self.varying):
            varying[:, column] = _take(value, voxels)
        start = {index: np.broadcast_to(_take(value, voxels), voxels.shape) for index, value in self.start.items()}
        return SimpleNamespace(
            y=y, usable=usable.astype(np.float64), count=usable.sum(axis=1), known=known, varying=varying, start=start,
            status=status,
        )  # fmt: skip

    def _keep(self, batch: np.ndarray, values: np.ndarray, errors: np.ndarray, flag: np.ndarray) -> None:
        ok = flag == Flag.OK
        self.found.flag[batch] = flag
        for i in range(values.shape[1]):
            self.found.values[i, batch] = np.where(ok, values[:, i], np.nan)
            self.found.errors[i, batch] = np.where(ok, errors[:, i], np.nan)

    def _for_each(self, work: Callable[[np.ndarray], None]) -> None:
        if self.threads <= 1 or len(self.batches) < 2:
            for batch in self.batches:
                work(batch)
            return
        # The first batch runs alone: it compiles, which threads must not do side by side.
        work(self.batches[0])
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, self.batches[1:]))


def _take(value: Any, voxels: np.ndarray) -> Any:
    """What belongs to some voxels: of an array its entries, a number (or NaN for None) for all."""
    if value is None:
        return np.nan
    return value[voxels] if np.ndim(value) else value


def _spread(rows: np.ndarray, where: np.ndarray, size: int) -> np.ndarray:
    full = np.full((size, rows.shape[1]), np.nan)
    full[where] = rows
    return full
