"""The design of a trial: who was measured where and how often, and which variances that tells apart.

The model is y = mean + subject + site + subject:site + session(subject:site) + residual. A component whose levels
coincide with those of a finer one cannot be told from it and is merged into it; the design says which.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

#: Components in the order of the tables.
COMPONENTS = ("subject", "site", "subject:site", "session", "residual")

#: With fewer sites there is no site component: sites are fixed differences.
MINIMUM_SITES = 3


@dataclass(frozen=True)
class Design:
    """Measurements sorted by subject, site and session, with the structure that REML needs.

    Attributes
    ----------
    values : (n,) array
        Measurements in sorted order.
    session : (n,) array of int
        Session of each value; sessions are nested in cells (subject × site).
    session_cell : (v,) array of int
        Cell of each session.
    cell_subject, cell_site : (c,) arrays of int
    n_subjects, n_sites : int
    active : tuple of str
        Components that the design estimates, residual left out.
    merged : dict
        Component that cannot be told apart → the component that carries it ("" when it is absent altogether).
    is_site_fixed : bool
        Sites are fixed differences (two sites), not a component.
    additive_rank : int
        Rank of subjects plus sites without interaction.
    shared : dict
        What follows from the structure alone, computed once for all designs that have it (the metrics of a trial).
    """

    values: np.ndarray
    session: np.ndarray
    session_cell: np.ndarray
    cell_subject: np.ndarray
    cell_site: np.ndarray
    n_subjects: int
    n_sites: int
    active: tuple[str, ...]
    merged: dict[str, str] = field(default_factory=dict)
    is_site_fixed: bool = False
    additive_rank: int = 0
    shared: dict = field(default_factory=dict, repr=False, compare=False)

    def remember(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, computed once for the structure: it must not look at the values."""
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    @property
    def n(self) -> int:
        """Number of measurements."""
        return len(self.values)

    @property
    def n_sessions(self) -> int:
        """Number of sessions over all cells."""
        return len(self.session_cell)

    @property
    def n_cells(self) -> int:
        """Number of subject × site pairs that were measured."""
        return len(self.cell_subject)

    @property
    def is_traveling(self) -> bool:
        """Whether at least one subject was measured at two sites."""
        return self.n_cells > self.n_subjects

    def levels(self, component: str) -> np.ndarray:
        """(n,) level of each measurement in a component."""
        cell = self.session_cell[self.session]
        return {
            "subject": self.cell_subject[cell],
            "site": self.cell_site[cell],
            "subject:site": cell,
            "session": self.session,
            "residual": np.arange(self.n),
        }[component]

    def n_levels(self, component: str) -> int:
        """How many levels a component has."""
        return {
            "subject": self.n_subjects,
            "site": self.n_sites,
            "subject:site": self.n_cells,
            "session": self.n_sessions,
            "residual": self.n,
        }[component]

    def replace_values(self, values: np.ndarray) -> "Design":
        """The same design with other values in its sorted order."""
        return replace(self, values=np.asarray(values, float))

    @property
    def values_per_session(self) -> np.ndarray:
        """(v,) measurements in each session."""
        return self.remember("values_per_session", lambda: np.bincount(self.session))

    @property
    def sessions_per_cell(self) -> np.ndarray:
        """(c,) sessions in each cell."""
        return self.remember("sessions_per_cell", lambda: np.bincount(self.session_cell))

    @property
    def values_per_cell(self) -> np.ndarray:
        """(c,) measurements in each cell."""
        return self.remember(
            "values_per_cell", lambda: np.bincount(self.session_cell, self.values_per_session).astype(int)
        )

    @cached_property
    def session_mean(self) -> np.ndarray:
        """(v,) mean of each session."""
        return np.bincount(self.session, self.values) / self.values_per_session

    @cached_property
    def session_squares(self) -> np.ndarray:
        """(v,) sum of squares around the mean of each session."""
        return np.bincount(self.session, (self.values - self.session_mean[self.session]) ** 2)

    @property
    def session_sizes(self) -> "SessionSizes":
        """How many values the sessions of each cell have."""
        return self.remember("session_sizes", lambda: SessionSizes.of(self))

    @cached_property
    def cell_sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a cell's session means by their size: (k, c) sums around a reference (c,), and (k, c) squares.

        Around a reference inside each cell nothing cancels: subjects differ by far more than sessions do.
        """
        reference = np.bincount(self.session_cell, self.session_mean) / self.sessions_per_cell
        away = self.session_mean - reference[self.session_cell]
        place = self.session_sizes.size * self.n_cells + self.session_cell
        shape = (len(self.session_sizes.sizes), self.n_cells)
        sums, squares = (np.bincount(place, weights, shape[0] * shape[1]).reshape(shape) for weights in (away, away**2))
        return sums, reference, squares

    def leave_out_site(self, site: int) -> "Design":
        """The design without one site; what else only that site had is gone too."""
        kept, kept_session, less = self.remember(("without site", site), lambda: self._cut_site(site))
        design = replace(less, values=self.values[kept])
        # Sessions stay whole, so nothing is summed again.
        design.__dict__["session_mean"] = self.session_mean[kept_session]
        design.__dict__["session_squares"] = self.session_squares[kept_session]
        if "cell_sums" in self.__dict__:
            kept_cell = self.cell_site != site
            design.__dict__["cell_sums"] = tuple(of_cell[..., kept_cell] for of_cell in self.cell_sums)
            design.remember("session_sizes", lambda: self.session_sizes.keep(kept_cell, kept_session))
        return design

    def _cut_site(self, site: int) -> tuple[np.ndarray, np.ndarray, "Design"]:
        """Rows and sessions that are kept without a site, and the design of them."""
        kept_cell = self.cell_site != site
        kept_session = kept_cell[self.session_cell]
        kept = kept_session[self.session]
        design = _assemble(
            np.zeros(int(kept.sum())),
            _renumber(kept_session)[self.session[kept]],
            _renumber(kept_cell)[self.session_cell[kept_session]],
            _count_up(self.cell_subject[kept_cell]),
            _count_up(self.cell_site[kept_cell]),
        )
        return np.flatnonzero(kept), np.flatnonzero(kept_session), design


@dataclass(frozen=True)
class SessionSizes:
    """Sizes of sessions, and which of them each cell has.

    sizes : (k,) array, values in a session, each number that occurs
    size : (v,) array of int, which one each session has
    number : (k, d) array, sessions of each size in a cell, each combination that occurs
    kind : (c,) array of int, the combination that each cell has
    """

    sizes: np.ndarray
    size: np.ndarray
    number: np.ndarray
    kind: np.ndarray

    @classmethod
    def of(cls, design: Design) -> "SessionSizes":
        """The sizes in a design."""
        sizes, size = np.unique(design.values_per_session, return_inverse=True)
        place = size * design.n_cells + design.session_cell
        number = np.bincount(place, minlength=len(sizes) * design.n_cells).reshape(len(sizes), -1)
        kind = np.zeros(design.n_cells, np.int64)
        for of_size in number:
            kind = np.unique(kind * (int(of_size.max()) + 1) + of_size, return_inverse=True)[1]
        first = np.unique(kind, return_index=True)[1]
        return cls(sizes.astype(float), size, np.ascontiguousarray(number[:, first], float), kind.astype(np.int64))

    def keep(self, cells: np.ndarray, sessions: np.ndarray) -> "SessionSizes":
        """Those of some cells; sizes and combinations that are gone stay, with no cell that has them."""
        return replace(self, size=self.size[sessions], kind=self.kind[cells])


#: The latest sorted codes with their designs, newest first: the metrics of a trial have one structure.
_latest: list[tuple[tuple, Design]] = []

#: The design of a metric, and those of its sensitivity analyses that leave out rows.
_MOST_KEPT = 4


def build_design(values, subject, site=None, session=None, *, components=None, is_sorted: bool = False) -> Design:
    """The design of a long table, values that are not finite left out.

    Parameters
    ----------
    values : (n,) array
        Measurements.
    subject : (n,) array of labels
        Who was measured.
    site, session : (n,) array of labels, optional
        Sessions are nested in subject × site: the same label at two sites is two sessions. Absent: one site, one
        session.
    components : tuple of str, optional
        Only these may be active; all that the design can tell apart by default.
    is_sorted : bool
        Rows stand by subject, site and session already, in an order that does not depend on how they were given.
    """
    values = np.asarray(values, float)
    keep = np.isfinite(values)
    blank = np.zeros(len(values), int)
    codes = [
        encode_labels(np.asarray(labels)[keep])
        for labels in (subject, blank if site is None else site, blank if session is None else session)
    ]
    counts = [int(code.max()) + 1 if len(code) else 0 for code in codes]
    # Sorting by value too makes sums, and so results, the same to the bit for any order of rows.
    y, (s, t, v) = values[keep], codes
    if not is_sorted:
        order = np.lexsort((y, (s * counts[1] + t) * counts[2] + v))
        y, s, t, v = y[order], s[order], t[order], v[order]
    for entry in _latest:
        (known, of_components), design = entry
        if of_components == components and all(map(np.array_equal, known, (s, t, v))):
            _latest[:] = [entry, *(other for other in _latest if other is not entry)]
            return design.replace_values(y)
    cell, cell_rows = _number(np.stack([s, t]))
    visit, visit_rows = _number(np.stack([cell, v]))
    design = _assemble(y, visit, cell[visit_rows], s[cell_rows], t[cell_rows], components)
    _latest[:] = [(((s, t, v), components), design), *_latest[: _MOST_KEPT - 1]]
    return design


def _assemble(values, session, session_cell, cell_subject, cell_site, components=None) -> Design:
    """A design from its codes; what can be told apart follows from them."""
    n_subjects, n_sites = (int(code.max()) + 1 if len(code) else 0 for code in (cell_subject, cell_site))
    rank = count_rank(cell_subject, cell_site, n_subjects, n_sites)
    active, merged = _tell_apart(len(values), len(session_cell), len(cell_subject), n_subjects, n_sites, rank)
    if components is not None:
        active = tuple(c for c in active if c in components)
    return Design(
        values,
        session,
        session_cell,
        cell_subject,
        cell_site,
        n_subjects,
        n_sites,
        active,
        merged,
        is_site_fixed=1 < n_sites < MINIMUM_SITES,
        additive_rank=rank,
    )


def encode_labels(labels: np.ndarray) -> np.ndarray:
    """(n,) codes of labels in their sorted order; small whole numbers are counted instead of sorted."""
    if labels.dtype.kind in "iu" and len(labels) and labels.min() >= 0 and labels.max() <= 8 * len(labels) + 1024:
        return _count_up(labels)
    return np.unique(labels, return_inverse=True)[1]


def _count_up(codes: np.ndarray) -> np.ndarray:
    """Codes without gaps, in their order."""
    return _renumber(np.bincount(codes) > 0)[codes]


def _renumber(is_present: np.ndarray) -> np.ndarray:
    """The new number of each old one that is present."""
    return np.cumsum(is_present) - 1


def count_rank(cell_subject: np.ndarray, cell_site: np.ndarray, n_subjects: int, n_sites: int) -> int:
    """Rank of subjects plus sites: their number, less one for every part of the design that nothing links."""
    if len(cell_subject) in (0, n_subjects * n_sites):
        return max(n_subjects + n_sites - 1, 0)
    if len(cell_subject) == n_subjects:
        return n_subjects  # each at one site
    ones = np.ones(len(cell_subject))
    size = n_subjects + n_sites
    links = sparse.coo_matrix((ones, (cell_subject, n_subjects + cell_site)), (size, size))
    return size - int(csgraph.connected_components(links, directed=False, return_labels=False))


def _number(sorted_codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the runs of equal columns of a sorted (k, n) array; also the first row of each."""
    n = sorted_codes.shape[1]
    if n == 0:
        return np.zeros(0, int), np.zeros(0, int)
    new = np.ones(n, bool)
    new[1:] = (sorted_codes[:, 1:] != sorted_codes[:, :-1]).any(0)
    return np.cumsum(new) - 1, np.flatnonzero(new)


def _tell_apart(n: int, n_sessions: int, n_cells: int, n_subjects: int, n_sites: int, rank: int):
    """Which components the counts allow, and where the others go."""
    merged: dict[str, str] = {}
    active = []
    if n_cells < n_sessions < n:
        active.append("session")
    else:
        merged["session"] = "residual" if n_sessions == n else "subject:site"
    cell_df = n_cells - rank
    if n_sites == 1 or n_subjects == 1:
        # With one site the cells are the subjects, with one subject they are the sites.
        merged["subject:site"] = "subject" if n_sites == 1 else "site"
    elif n_cells == n:
        merged["subject:site"] = "residual"
    elif cell_df <= 0:
        merged["subject:site"] = "subject"
    else:
        active.append("subject:site")
    if merged.get("session") == "subject:site" and "subject:site" in merged:
        merged["session"] = merged["subject:site"]
    if n_sites >= MINIMUM_SITES:
        active.append("site")
    else:
        merged["site"] = ""
    if 1 < n_subjects < n:
        active.append("subject")
    else:
        merged["subject"] = "residual" if n_subjects > 1 else ""
    return tuple(c for c in COMPONENTS if c in active), merged
