"""Where a run's jobs go: the profiles of Snakemake that ``isocenter run --profile`` knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isocenter.documents import read_plain
from isocenter.errors import ConfigError, explain

#: The workflow's own profiles.
PROFILES = Path(__file__).resolve().parents[2] / "workflow" / "profiles"
_FILES = ("config.yaml", "profile.yaml", "config.v9+.yaml", "profile.v9+.yaml")


@dataclass(frozen=True)
class Profile:
    """A folder with the options of Snakemake for one kind of machine."""

    folder: Path
    executor: str

    @property
    def is_remote(self) -> bool:
        """Whether jobs run elsewhere, as programs of their own, and not on this machine."""
        return self.executor not in ("", "local")


def find_remote(options: Sequence[str]) -> Profile | None:
    """The profile among the options of Snakemake by which jobs run elsewhere; None where they run here."""
    if "--workflow-profile" not in options:
        return None
    name = options[list(options).index("--workflow-profile") + 1]
    profile = find_profile(str(Path(name).absolute()), Path.cwd())
    return profile if profile.is_remote else None


def find_profile(name: str, trial: Path) -> Profile:
    """The profile of this name or folder: in the trial's ``profiles/``, or among the workflow's own.

    Raises
    ------
    ConfigError
        When there is none, with the folders that were looked in.
    """
    candidates = [Path(name)] if "/" in name else [trial / "profiles" / name, PROFILES / name]
    for folder in candidates:
        for file in _FILES:
            if (folder / file).is_file():
                executor = read_plain(folder / file).get("executor") or ""
                return Profile(folder.resolve(), str(executor))
    known = sorted({path.parent.name for root in (trial / "profiles", PROFILES) for path in root.glob("*/*.yaml")})
    raise ConfigError(
        explain(
            "There is no profile of this name",
            where=" or ".join(map(str, candidates)),
            expected=", ".join(known) or "a folder with a config.yaml",
            found=name,
            remedy="name one of these, or the path of a folder with a config.yaml",
        )
    )


def machine_options(memory: float | None, profile: str | None, trial: Path) -> list[str]:
    """The options of Snakemake for what a person says of the machine: memory [GB] that jobs share, and a profile."""
    options = [] if memory is None else ["--resources", f"mem_mb={round(memory * 1000)}"]
    return options if profile is None else [*options, "--workflow-profile", str(find_profile(profile, trial).folder)]
