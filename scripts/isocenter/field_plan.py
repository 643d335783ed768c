"""The part of a trial's plan that is about its maps of B0: which there are, and what they are for."""

from isocenter import layout

#: The signal model whose maps are of B0.
FIELD_MODEL = "b0_dual_echo"


class FieldPlan:
    """What :class:`isocenter.plan.Plan` knows of maps of B0."""

    def field_biomarkers(self) -> list[str]:
        """The biomarkers whose maps are of B0."""
        return [name for name, block in self.biomarkers.items() if block["model"] == FIELD_MODEL]

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
