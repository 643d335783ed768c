"""Where a run's jobs go: the profiles of Snakemake that ``isocenter run --profile`` knows."""

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
