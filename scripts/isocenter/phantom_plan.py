"""The part of a trial's plan that is about its phantoms: their series, references, regions, pulses and vials."""

from collections.abc import Iterable
from typing import Any

from isocenter import layout, models
from isocenter.dicom.suffixes import GEOMETRY
from isocenter.entities import Disposition, Kind, RunKey
from isocenter.errors import ConfigError, explain
from isocenter.phantom.library import load_phantom


def entities_of(wildcards: Any) -> dict[str, str]:
    """The entities of a run by name, from wildcards or a key."""
    return {name: str(getattr(wildcards, name)) for name in ("site", "participant", "session", "run")}


def key_of(wildcards: Any) -> RunKey:
    """The key of a run, from wildcards or as it is."""
    return wildcards if isinstance(wildcards, RunKey) else RunKey(**entities_of(wildcards))


class PhantomPlan:
    """What :class:`isocenter.plan.Plan` knows of phantoms."""

    # Pulses ---------------------------------------------------------------------------------------
    def phantom_trains(self, site: str, biomarker: str) -> list[RunKey]:
        """The phantom runs of a site that hold an echo train of a biomarker."""
        suffix = self.biomarkers[biomarker]["suffix"]
        return [key for key in self.runs(site, phantom=True) if (key, suffix) in self.acquisitions(site)]

    def describe_trains(self, site: str, biomarker: str) -> dict[str, dict[str, Any]]:
        """Of each of these runs, by its prefix, what `choose_pulses` must know."""
        found = {}
        for key in self.phantom_trains(site, biomarker):
            entry = self.phantom(site, key.participant)
            found[key.prefix] = {
                "scanner": self.scanner(key),
                "phantom": entry["type"],
                "serial": entry["serial"],
                "temperature": self.temperature(key),
                "temperature_stderr": entry["temperature_stderr"],
                "field_strength": self.field_strength(key),
            }
        return found

    def train_files(self, site: str, biomarker: str) -> list[str]:
        """The raw files of these runs."""
        suffix = self.biomarkers[biomarker]["suffix"]
        keys = self.phantom_trains(site, biomarker)
        return [path for key in keys for path in self.raw_files(**entities_of(key), suffix=suffix)]

    def train_definitions(self, site: str, biomarker: str) -> list[str]:
        """The reference tables of the phantoms of these runs."""
        keys = self.phantom_trains(site, biomarker)
        return list(dict.fromkeys(self.phantom_definition(site, key.participant) for key in keys))

    def train_geometry(self, site: str, biomarker: str) -> list[str]:
        """The geometry scans of these runs' sessions."""
        keys = self.phantom_trains(site, biomarker)
        return list(dict.fromkeys(path for key in keys for path in self.geometry_scans(key)))

    def train_regions(self, site: str, biomarker: str) -> list[str]:
        """The regions drawn by hand in these runs."""
        suffix = self.biomarkers[biomarker]["suffix"]
        return [path for key in self.phantom_trains(site, biomarker) for path in self.hand_regions(key, suffix)]

    def site_pulses(self, site: str) -> list[str]:
        """Everything that the choices of a site are known by."""
        names = [name for name in self.biomarkers if self.has_pulses(name)]
        return [str(layout.fill(layout.TRAINS, site=site, biomarker=name)) for name in names]

    def all_pulses(self) -> list[str]:
        """The same of every site."""
        return [path for site in self.sites for path in self.site_pulses(site)]

    # Phantoms -------------------------------------------------------------------------------------
    def is_phantom(self, site: str, participant: str) -> bool:
        """Whether a participant of a site is a phantom."""
        return any(p["participant_id"] == participant for p in self.settings.site(site).get("phantoms", []))

    def phantom(self, site: str, participant: str) -> dict[str, Any]:
        """What ``site.yaml`` says of a phantom, its serial number as the maker writes it."""
        for entry in self.settings.site(site).get("phantoms", []):
            if entry["participant_id"] == participant:
                kind = load_phantom(self.settings.phantoms[entry["type"]])
                return entry | {"serial": kind.write_serial(entry["serial"])}
        raise ConfigError(explain("This phantom is not described", where=f"sites/{site}/site.yaml", found=participant))

    def phantom_definition(self, site: str, participant: str) -> str:
        """The reference table of a phantom."""
        folder = self.settings.config["files"]["phantoms"]
        return f"{folder}/{self.phantom(site, participant)['type']}.yaml"

    def geometry_scans(self, wildcards: Any) -> list[str]:
        """The 3D scans of a phantom session that show where its vials lie, first scanned first."""
        key = key_of(wildcards)
        rows = [
            row
            for row in self.scans(key.site)
            if (row["participant_id"], row["session"]) == (key.participant, key.session)
            and row["kind"] == Kind.PHANTOM
            and row["suffix"] == GEOMETRY
            and row["disposition"] == Disposition.USED
        ]
        folder = layout.fill(layout.BIDS, site=key.site)
        return [str(folder / row["files"]) for row in sorted(rows, key=lambda row: row["time"])]

    def hand_regions(self, wildcards: Any, suffix: str) -> list[str]:
        """The file of regions that a person drew in a phantom's series, as a list of none or one."""
        path = layout.fill(layout.HAND_REGIONS, **entities_of(wildcards), suffix=suffix)
        return [str(path)] if path.is_file() else []

    def vial_trains(self, wildcards: Any) -> list[str]:
        """What the vials of a phantom's echo train were fitted with when its pulses were chosen: none or one."""
        name = self.biomarker_of_map(wildcards.map)
        return [str(layout.fill(layout.TRAINS, site=wildcards.site, biomarker=name))] if self.has_pulses(name) else []

    def temperature(self, wildcards: Any) -> float | None:
        """The phantom's temperature [degC] on the day of a session, from the site's log."""
        key = key_of(wildcards)
        entry = self.phantom(key.site, key.participant)
        return entry.get("temperatures", {}).get(self.date(wildcards), entry.get("temperature"))

    def thermometer_stderr(self, site: str, participant: str) -> float:
        """What of the phantom's temperature_stderr [degC] is the same on every day: all, unless the site says less."""
        entry = self.phantom(site, participant)
        return float(entry.get("thermometer_stderr", entry["temperature_stderr"]))

    def site_scanners(self, site: str) -> list[str]:
        """The ids of a site's scanners, each of which is calibrated by itself where there are several."""
        return [str(scanner["id"]) for scanner in self.settings.site(site)["scanners"]]

    def fit_options(self, wildcards: Any) -> dict[str, Any]:
        """The options of a fit: those of the biomarker, and what it must know of a phantom, its temperature."""
        key, block = key_of(wildcards), self.block_of_map(wildcards.map)
        options = dict(block["options"])
        known = models.get(block["model"]).options if block["model"] in models.names() else {}
        if "temperature" not in known or not self.is_phantom(key.site, key.participant):
            return options
        entry, warmth = self.phantom(key.site, key.participant), self.temperature(key)
        phantom = load_phantom(self.settings.phantoms[entry["type"]])
        if warmth is None or not phantom.calibrates(block["parameter"]):
            return options
        return {**options, **phantom.fit_options(block["parameter"], warmth)}

    def vial_tables(self, site: str, biomarkers: Iterable[str] | None = None) -> list[str]:
        """The vial tables of a site, one a phantom run and calibrated biomarker."""
        chosen = list(self.biomarkers) if biomarkers is None else list(biomarkers)
        return self._per_biomarker(
            lambda name: layout.PHANTOM_VIALS if name in chosen and self.is_calibrated(name) else None, True, site
        )

    def session_files(self, wildcards: Any, pattern: str) -> list[str]:
        """One path a biomarker that a phantom's run shows, from a pattern with ``{map}``."""
        maps = [self.biomarkers[name]["map"] for name in self.shown_biomarkers(wildcards)]
        return [str(layout.fill(pattern, **entities_of(wildcards), map=one)) for one in maps]

    def session_scans(self, wildcards: Any) -> list[dict[str, str]]:
        """What became of each series of a phantom's session."""
        columns = ("time", "suffix", "disposition", "reason", "n_files", "series_uid")
        rows = self.scans(wildcards.site)
        own = [r for r in rows if (r["participant_id"], r["session"]) == (wildcards.participant, wildcards.session)]
        return [{column: row[column] for column in columns} for row in own]

    def session_forms(self, wildcards: Any) -> dict[str, list[str]]:
        """By calibrated biomarker of a phantom's run, the forms of calibration that may be chosen."""
        return {n: self.calibration_forms(n) for n in self.run_biomarkers(wildcards) if self.is_calibrated(n)}

    def shown_biomarkers(self, wildcards: Any) -> list[str]:
        """The biomarkers of a phantom's run that its page shows, in the order of the config.

        Those that are calibrated, and those that its vials have no reference for, such as T2*.
        """
        names = self.run_biomarkers(wildcards)
        return [name for name in names if self.is_calibrated(name) or self._is_without_reference(wildcards, name)]

    def _is_without_reference(self, wildcards: Any, biomarker: str) -> bool:
        key = key_of(wildcards)
        if not self.is_phantom(key.site, key.participant):
            return False
        phantom = load_phantom(self.settings.phantoms[self.phantom(key.site, key.participant)["type"]])
        quantity = self.biomarkers[biomarker]["parameter"]
        return phantom.shows(quantity) and not phantom.calibrates(quantity)

    def phantom_pages(self, site: str | None = None) -> list[str]:
        """The pages of the phantom sessions of one site, or of every one, one a run that shows anything."""
        keys = (key for key in self._phantom_runs(site) if self.shown_biomarkers(key))
        return [str(layout.fill(layout.PHANTOM_PAGE, **entities_of(key))) for key in keys]

    def phantom_pictures(self, site: str | None = None) -> list[str]:
        """The pictures of located vials of one site, or of every one."""
        keys = self._phantom_runs(site)
        return [path for key in keys for path in self.session_files(key, layout.PHANTOM_PICTURE)]

    def _phantom_runs(self, site: str | None) -> list[RunKey]:
        return [key for s in ([site] if site else self.sites) for key in self.runs(s, phantom=True)]

    def pulses(self, wildcards: Any) -> list[str]:
        """The choice of pulses that a fit takes, as a list of none or one."""
        name = self.biomarker_of_map(wildcards.map)
        return [str(layout.fill(layout.PULSES, site=wildcards.site, biomarker=name))] if self.has_pulses(name) else []

    def has_pulses(self, biomarker: str) -> bool:
        """Whether the site's phantom chooses the pulses of a biomarker's echo trains."""
        return self.biomarkers[biomarker].get("pulses", "none") == "phantom"
