"""The part of a trial's plan that is about its maps of B0: which there are, and what they are for."""

from typing import Any

from isocenter import layout
from isocenter.biomarker_blocks import FIELD_MODEL
from isocenter.entities import RunKey
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
        return block["distortion"] != "none" and not self.is_phantom(site, participant)

    def distorted_block(self, suffix: str) -> dict[str, Any]:
        """The config block that wants series of this suffix corrected: the first one."""
        blocks = (block for block in self.biomarkers.values() if block["suffix"] == suffix)
        return next(block for block in blocks if block["distortion"] != "none")

    def series_before_correction(self, wildcards: Any) -> list[str]:
        """The aligned series that a correction starts from, as a list of none or one."""
        if self.distorted_block(wildcards.suffix)["align"] == "none":
            return []
        return [str(layout.fill(layout.ALIGNED, **entities_of(wildcards), suffix=wildcards.suffix))]

    def field_run(self, wildcards: Any, lender: str) -> RunKey | None:
        """The run of the same session whose series for the map of B0 was scanned nearest in time; None without any."""
        key, suffix = key_of(wildcards), self.biomarkers[lender]["suffix"]
        of_session = [
            (run, rows[0]["time"])
            for (run, held), rows in self.acquisitions(key.site).items()
            if held == suffix and (run.participant, run.session) == (key.participant, key.session)
        ]
        own = [rows[0]["time"] for (run, held), rows in self.acquisitions(key.site).items() if run == key]
        at = seconds_of(min(own)) if own else 0.0
        return min(of_session, key=lambda one: (abs(seconds_of(one[1]) - at), one[0]), default=(None, ""))[0]

    def correcting_field(self, wildcards: Any, pattern: str) -> list[str]:
        """The map of B0 (or a companion of it, by the pattern) that a series is corrected by: none or one."""
        lender = self.distorted_block(wildcards.suffix)["distortion"]
        run = self.field_run(wildcards, lender)
        return (
            [] if run is None else [str(layout.fill(pattern, **entities_of(run), map=self.biomarkers[lender]["map"]))]
        )

    def correcting_magnitudes(self, wildcards: Any) -> list[str]:
        """The magnitude images of the scan of that map."""
        lender = self.distorted_block(wildcards.suffix)["distortion"]
        run = self.field_run(wildcards, lender)
        return [] if run is None else self.raw_files(**entities_of(run), suffix=self.biomarkers[lender]["suffix"])

    def why_uncorrected(self, wildcards: Any) -> str:
        """Why no map of B0 corrects a series; "" where one does."""
        lender = self.distorted_block(wildcards.suffix)["distortion"]
        return "" if self.field_run(wildcards, lender) else "no field map in this session"

    # Gradients ------------------------------------------------------------------------------------
    def marking_field(self, wildcards: Any, pattern: str) -> list[str]:
        """The map of B0 (or a companion of it, by the pattern) whose gradient marks a map: none or one."""
        lender = self.block_of_map(wildcards.map)["field_gradient"]
        run = self.field_run(wildcards, lender)
        return (
            [] if run is None else [str(layout.fill(pattern, **entities_of(run), map=self.biomarkers[lender]["map"]))]
        )

    def run_gradients(self, wildcards: Any) -> list[str]:
        """The marks of a run's maps, for those whose block wants them."""
        blocks = (self.biomarkers[name] for name in self.run_biomarkers(wildcards))
        maps = [block["map"] for block in blocks if block["field_gradient"] != "none"]
        return [str(layout.fill(layout.GRADIENT, **entities_of(wildcards), map=one)) for one in maps]

    def per_corrected(self, pattern: str, *, site: str | None = None) -> list[str]:
        """One path a series of people that a biomarker wants corrected, from a pattern with ``{suffix}``."""
        paths = self._per_biomarker(
            lambda name: pattern if self.biomarkers[name]["distortion"] != "none" else None, False, site
        )
        return list(dict.fromkeys(paths))


def seconds_of(clock: str) -> float:
    """``HH:MM:SS`` of an intake row in seconds after midnight."""
    hours, minutes, seconds = clock.split(":")
    return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
