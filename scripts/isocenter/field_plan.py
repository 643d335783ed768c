"""The part of a trial's plan that is about its maps of B0: which there are, and what they are for."""

from typing import Any

from isocenter import layout
from isocenter.biomarker_blocks import FIELD_MODEL
from isocenter.entities import RunKey, name_fields
from isocenter.phantom_plan import entities_of, key_of


class FieldPlan:
    """What :class:`isocenter.plan.Plan` knows of maps of B0."""

    def field_biomarkers(self) -> list[str]:
        """The biomarkers whose maps are of B0."""
        return [name for name, block in self.biomarkers.items() if block["model"] == FIELD_MODEL]

    # Shim -----------------------------------------------------------------------------------------
    def shim_files(self, site: str) -> list[str]:
        """The shim figures of a site: one file a run, of people and phantoms alike, and map of B0."""
        names = self.field_biomarkers()
        pattern = layout.SHIM
        return [
            path
            for is_phantom in (False, True)
            for path in self._per_biomarker(lambda name: pattern if name in names else None, is_phantom, site)
        ]

    def all_shims(self) -> list[str]:
        """The shim figures of every site."""
        return [path for site in self.sites for path in self.shim_files(site)]

    # Distortion -----------------------------------------------------------------------------------
    def is_corrected(self, site: str, participant: str, block: dict[str, Any]) -> bool:
        """Whether a biomarker is fitted to series whose distortion was corrected, or could not be; phantoms' is not."""
        return bool(name_fields(block, "distortion")) and not self.is_phantom(site, participant)

    def distorted_block(self, suffix: str) -> dict[str, Any]:
        """The config block that wants series of this suffix corrected: the first one."""
        blocks = (block for block in self.biomarkers.values() if block["suffix"] == suffix)
        return next(block for block in blocks if name_fields(block, "distortion"))

    def series_before_correction(self, wildcards: Any) -> list[str]:
        """The aligned series that a correction starts from, as a list of none or one."""
        if self.distorted_block(wildcards.suffix)["align"] == "none":
            return []
        return [str(layout.fill(layout.ALIGNED, **entities_of(wildcards), suffix=wildcards.suffix))]

    def nearest_field(self, wildcards: Any, block: dict[str, Any], key: str) -> tuple[RunKey | None, str]:
        """Of the maps of B0 that a block's key names, the run of the same session that was scanned nearest in time.

        And the biomarker that it is of; None, and the first that is named, where the session has none of them.
        """
        this, names = key_of(wildcards), name_fields(block, key)
        known = self.acquisitions(this.site)
        own = known.get((this, block["suffix"]))
        at = own[0]["time"] if own else "00:00:00"
        found = [
            (seconds_between(rows[0]["time"], at), number, run)
            for (run, held), rows in known.items()
            if (run.participant, run.session) == (this.participant, this.session)
            for number, name in enumerate(names)
            if self.biomarkers[name]["suffix"] == held
        ]
        _, number, run = min(found, default=(0.0, 0, None))
        return run, names[number]

    def _field_files(self, found: tuple[RunKey | None, str], pattern: str) -> list[str]:
        run, lender = found
        if run is None:
            return []
        return [str(layout.fill(pattern, **entities_of(run), map=self.biomarkers[lender]["map"]))]

    def _field_of_series(self, wildcards: Any) -> tuple[RunKey | None, str]:
        return self.nearest_field(wildcards, self.distorted_block(wildcards.suffix), "distortion")

    def correcting_field(self, wildcards: Any, pattern: str) -> list[str]:
        """The map of B0 (or a companion of it, by the pattern) that a series is corrected by: none or one."""
        return self._field_files(self._field_of_series(wildcards), pattern)

    def correcting_map(self, wildcards: Any) -> str:
        """What that map is called."""
        return self.biomarkers[self._field_of_series(wildcards)[1]]["map"]

    def correcting_magnitudes(self, wildcards: Any) -> list[str]:
        """The magnitude images of the scan of that map."""
        run, lender = self._field_of_series(wildcards)
        return [] if run is None else self.raw_files(**entities_of(run), suffix=self.biomarkers[lender]["suffix"])

    def why_uncorrected(self, wildcards: Any) -> str:
        """Why no map of B0 corrects a series; "" where one does."""
        return "" if self._field_of_series(wildcards)[0] else "no field map in this session"

    # Gradients ------------------------------------------------------------------------------------
    def _field_of_map(self, wildcards: Any) -> tuple[RunKey | None, str]:
        return self.nearest_field(wildcards, self.block_of_map(wildcards.map), "field_gradient")

    def marking_field(self, wildcards: Any, pattern: str) -> list[str]:
        """The map of B0 (or a companion of it, by the pattern) whose gradient marks a map: none or one."""
        return self._field_files(self._field_of_map(wildcards), pattern)

    def marking_map(self, wildcards: Any) -> str:
        """What that map is called."""
        return self.biomarkers[self._field_of_map(wildcards)[1]]["map"]

    def run_gradients(self, wildcards: Any) -> list[str]:
        """The marks of a run's maps, for those whose block wants them."""
        blocks = (self.biomarkers[name] for name in self.run_biomarkers(wildcards))
        maps = [block["map"] for block in blocks if name_fields(block, "field_gradient")]
        return [str(layout.fill(layout.GRADIENT, **entities_of(wildcards), map=one)) for one in maps]

    def per_corrected(self, pattern: str, *, site: str | None = None) -> list[str]:
        """One path a series of people that a biomarker wants corrected, from a pattern with ``{suffix}``."""
        paths = self._per_biomarker(
            lambda name: pattern if name_fields(self.biomarkers[name], "distortion") else None, False, site
        )
        return list(dict.fromkeys(paths))


def seconds_between(first: str, second: str) -> float:
    """From one time of day to another, whichever came first; a session may run past midnight."""
    apart = abs(seconds_of(first) - seconds_of(second))
    return min(apart, 86_400.0 - apart)


def seconds_of(clock: str) -> float:
    """``HH:MM:SS`` of an intake row in seconds after midnight."""
    hours, minutes, seconds = clock.split(":")
    return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
