"""Options that name a block of config: the spectrum of fat, the population's arterial input.

The models read no files and take the block itself; whoever reads a request puts it in place of the name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isocenter import layout
from isocenter.documents import read_document
from isocenter.errors import ConfigError, explain

#: The option, and the file and schema that it names a block of.
BLOCKS = {"spectrum": (layout.SPECTRA, "spectra"), "arterial_input": (layout.ARTERIAL_INPUTS, "arteries")}
#: What comes with the project stands in for a file that a trial does not have.
_OWN = Path(__file__).resolve().parents[2]


def resolve_names(options: Mapping[str, Any], root: Path = Path()) -> dict[str, Any]:
    """Model options with the blocks that they name, from the files of a trial's folder `root`.

    Raises ConfigError for a name that the file does not hold.
    """
    resolved = dict(options)
    for option, (file, schema) in BLOCKS.items():
        name = resolved.get(option)
        if not isinstance(name, str):
            continue
        path = root / file if (root / file).is_file() else _OWN / file
        blocks = read_document(path, schema, name=file)
        if name not in blocks:
            raise ConfigError(
                explain(
                    f"An unknown {option.replace('_', ' ')} is named",
                    where=f"option {option}",
                    expected=f"one of {', '.join(blocks)}",
                    found=name,
                    remedy=f"add a block to {file}, or mend the name",
                )
            )
        resolved[option] = blocks[name]
    return resolved
