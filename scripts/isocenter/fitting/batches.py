"""The voxels of a fit in batches: gathered, fitted, put back. What does not fit in the cache is never held at once."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.direct import Direct
from isocenter.fitting.mixture import build_mixture
from isocenter.fitting.mixtures import Mixtures
from isocenter.fitting.phasor import build_phasor
from isocenter.fitting.phasors import Phasors
from isocenter.fitting.planar import Planar, lay_nodes
from isocenter.fitting.plane import build_plane
from isocenter.fitting.table import build_table
from isocenter.fitting.tabulated import Tabulated
from isocenter.models.base import Bound
from isocenter.models.compiled import lean_kernel, lean_vector_kernel

#: Voxels per batch: so many that handing them out is no share of the work. Results do not depend on it.
_BATCH = 8192
_OK = int(Flag.OK)


#: Tables of the last acquisitions: a volume that is fitted slab by slab needs its own only once.
_TABLES: OrderedDict[tuple, Any] = OrderedDict()
_MOST_TABLES = 8


def choose_engine(bound: Bound) -> Direct:
    """The quickest engine that can fit a model."""
    separable, reported = bound.separable, len(bound.parameters)
    arrays = (separable.design, separable.constants, separable.lower, separable.upper, separable.grid)
    key = (separable.evaluate, separable.amplitudes, bool(separable.varying), *(a.tobytes() for a in arrays))
    if key not in _TABLES:
        mixture = build_mixture(separable)
        if mixture is not None:
            _TABLES[key] = mixture, None, None, None, None
        else:
            plane = build_plane(separable)
            laid = lay_nodes(separable) if plane.coefficients.size and separable.sides >= 0 else None
            _TABLES[key] = None, build_table(separable), plane, build_phasor(separable), laid
        while len(_TABLES) > _MOST_TABLES:
            _TABLES.popitem(last=False)
    mixture, table, plane, phasor, laid = _TABLES[key]
    if mixture is not None:
        return Mixtures(separable, reported, mixture)
    if phasor is not None:
        return Phasors(separable, reported, phasor)
    if table is not None:
        return Tabulated(separable, reported, table)
    if laid is not None:
        return Planar(separable, reported, plane, laid)
    return Direct(separable, reported, plane)


def holds_sides(bound: Bound) -> bool:
    """Whether standard errors of voxels with all their samples hold what is likely on both sides (see `both_sides`)."""
    engine = choose_engine(bound)
    return isinstance(engine, Planar) and engine.sides.step > 0.0


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
        self.is_ordered = bound.separable is None or np.array_equal(bound.separable.order, np.arange(bound.n))
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
            if y.dtype.kind in "biu":
                # Squares of stored integers do not fit their own type.
                y = y.astype(float)
            has_signal = np.any(np.isfinite(y) & (y != 0), axis=1)
            values, errors, flag = self.bound.closed_form(y, _take(self.sigma, batch))
            flag = np.where(has_signal, flag, Flag.NO_SIGNAL).astype(np.uint8)
            self._keep(batch, values, errors, flag)

        self._for_each(work)
        return self.found

    def search(self, kind: int, is_rician: bool) -> SimpleNamespace:
        """Models with nonlinear parameters, by variable projection."""
        engine = choose_engine(self.bound)
        kept: dict[int, Any] = {}
        is_twice = kind > 0 or (is_rician and self.sigma is None)

        def begin(batch: np.ndarray) -> None:
            work = self._gather(batch)
            engine.start(work, kind > 0)
            if kind:
                kept[int(batch[0])] = (work.theta, work.negative, work.scale, getattr(work, "starts", None))
                return
            self._refine(engine, work, kind)
            if is_twice:
                spread = np.where(work.flag == Flag.OK, work.rms * np.sqrt(work.count / work.freedom), np.nan)
                kept[int(batch[0])] = (work.theta, work.negative, spread, None)
                return
            if is_rician:
                engine.maximize(work)
            self._put(batch, work)

        self._for_each(begin)
        if not is_twice:
            return self.found
        # What only all voxels together tell: the usual scale of the residuals.
        scales = np.concatenate([scale for _, _, scale, _ in kept.values()]) if kept else np.array([])
        measured = scales[np.isfinite(scales)]
        usual = float(np.median(measured)) if measured.size else np.nan

        def end(batch: np.ndarray) -> None:
            work = self._gather(batch)
            work.theta, work.negative, scale, work.starts = kept.pop(int(batch[0]))
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
        engine._complete(work)
        work.usable[again], work.count[again] = inner.usable, inner.count

    def _put(self, batch: np.ndarray, work: SimpleNamespace) -> None:
        if len(work.y) < batch.size:
            self.found.flag[batch] = work.status
        rest = (self.found.flag, self.found.rms, self.found.outliers, self.found.freedom)
        keep_rows(
            work.voxels, _OK, work.values, work.errors, work.flag, work.rms, work.outliers, work.freedom,
            self.found.values, self.found.errors, rest,
        )  # fmt: skip

    def _gather(self, batch: np.ndarray) -> SimpleNamespace:
        """The samples of a batch in the model's order, and which voxels and samples can be used."""
        separable = self.bound.separable
        is_run = batch[-1] - batch[0] + 1 == batch.size
        y = self.signal[batch[0] : batch[-1] + 1] if is_run else self.signal[batch]
        if not self.is_ordered:
            y = y[:, separable.order]
        limit = np.full(y.shape[1], np.inf)
        if self.saturation is not None:
            limit[:] = np.broadcast_to(np.asarray(self.saturation, dtype=float), (self.bound.n,))[separable.order]
        clipped = None
        if separable.is_complex:
            clipped = np.tile(np.abs(y) >= limit, 2)
            broken = ~np.isfinite(y)
            if broken.any():
                # One part that is not finite takes the other with it: NaN assigned to a complex array leaves i times 0.
                y = np.where(broken, complex(np.nan, np.nan), y)
            y = np.concatenate([y.real, y.imag], axis=1)
            limit = np.full(y.shape[1], np.inf)
        y = np.ascontiguousarray(y, dtype=np.float64)
        voxels, usable, status = batch, None, None
        count = np.full(batch.size, y.shape[1])
        if clipped is not None or not are_plain(y, limit.min()):
            count, status = self._count(y, limit, clipped)
            fitted = status == Flag.OK
            if not fitted.all():
                y, count, voxels = y[fitted], count[fitted], batch[fitted]
                clipped = None if clipped is None else clipped[fitted]
        if (count < y.shape[1]).any():
            is_usable = np.isfinite(y) & (y < limit if clipped is None else ~clipped)
            y = np.where(is_usable, y, 0.0)
            usable = is_usable.astype(np.float64)
        known = np.full(voxels.size, np.nan)
        if self.sigma is not None:
            known[:] = _take(self.sigma, voxels)
        varying = np.empty((voxels.size, len(self.varying)))
        for column, value in enumerate(self.varying):
            varying[:, column] = _take(value, voxels)
        start = {index: np.broadcast_to(_take(value, voxels), voxels.shape) for index, value in self.start.items()}
        return SimpleNamespace(
            y=y, usable=usable, count=count, voxels=voxels, known=known, varying=varying, start=start,
            status=status,
        )  # fmt: skip

    def _count(self, y: np.ndarray, limit: np.ndarray, clipped: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """How many samples of each voxel can be used, and its flag where that is too few."""
        count, signals, clips = (np.empty(len(y), np.int64) for _ in range(3))
        count_usable(y, limit, count, signals, clips)
        if clipped is not None and clipped.any():
            clips = clipped.sum(axis=1)
            count = (np.isfinite(y) & ~clipped).sum(axis=1)
        separable = self.bound.separable
        enough = count > separable.lower.size + separable.amplitudes
        status = np.where(enough, Flag.OK, np.where(clips > 0, Flag.CLIPPED, Flag.SINGULAR)).astype(np.uint8)
        status[signals == 0] = Flag.NO_SIGNAL
        return count, status

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


@lean_vector_kernel
def are_plain(y, limit):
    """Whether all samples y (v, n) are finite, none is 0 and all lie below the limit: nothing is left to count."""
    special = 0
    flat = y.reshape(-1)
    for i in range(flat.size):
        x = flat[i]
        special += not ((abs(x) < np.inf) & (x != 0.0) & (x < limit))
    return special == 0


@lean_vector_kernel
def count_usable(y, limit, count, signals, clips):
    """Write for each voxel of y (v, n) how many samples can be used, are finite and not 0, and are clipped (v,)."""
    for v in range(y.shape[0]):
        usable, seen, clipped = 0, 0, 0
        for i in range(y.shape[1]):
            is_finite = abs(y[v, i]) < np.inf
            usable += is_finite & (y[v, i] < limit[i])
            seen += is_finite & (y[v, i] != 0.0)
            clipped += is_finite & (y[v, i] >= limit[i])
        count[v], signals[v], clips[v] = usable, seen, clipped


@lean_kernel
def keep_rows(voxels, ok, values, errors, flag, rms, outliers, freedom, all_values, all_errors, all_rest):
    """Write what was found in fitted voxels into the arrays over all; NaN for values that are not `ok`."""
    all_flag, all_rms, all_outliers, all_freedom = all_rest
    for v in range(voxels.size):
        to = voxels[v]
        all_flag[to] = flag[v]
        all_rms[to] = rms[v]
        all_outliers[to] = outliers[v]
        all_freedom[to] = freedom[v]
        for i in range(values.shape[1]):
            all_values[i, to] = values[v, i] if flag[v] == ok else np.nan
            all_errors[i, to] = errors[v, i] if flag[v] == ok else np.nan
