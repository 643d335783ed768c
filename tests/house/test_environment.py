"""One environment, written three times: pyproject.toml (ranges), environment.yml (conda), requirements.lock (exact)."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from house.source import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))
LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")

#: Not libraries of ours: the interpreter and the installer that the conda file must name.
CONDA_ONLY = {"python", "pip"}


def specifiers(lines) -> dict[str, str]:
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def conda_requirements() -> dict[str, str]:
    plain = [entry for entry in CONDA["dependencies"] if isinstance(entry, str)]
    pip = [line for entry in CONDA["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    assert not set(specifiers(plain)) & set(specifiers(pip)), "a package stands under conda and under pip"
    return {**specifiers(plain), **specifiers(pip)}


def locked() -> dict[str, str]:
    return {canonicalize_name(n): v for n, v in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)}


def test_conda_has_the_projects_packages_and_ranges():
    conda = {name: range_ for name, range_ in conda_requirements().items() if name not in CONDA_ONLY}
    wanted = specifiers([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
    assert conda == wanted


def test_conda_has_the_projects_python():
    assert PROJECT["requires-python"] in conda_requirements()["python"].split(",")


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
def test_lock_satisfies_the_range(line):
    requirement = Requirement(line)
    version = locked().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not locked: make lock"
    assert requirement.specifier.contains(version, prereleases=True), f"{version} is outside {requirement.specifier}"


def test_every_locked_package_has_hashes():
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)
    for block in filter(str.strip, blocks):
        if not block.startswith("#"):
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_lock_names_no_index():
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", LOCK)


def test_versions_agree():
    import isocenter

    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert isocenter.__version__ == PROJECT["version"] == citation["version"]
    assert f"## [{PROJECT['version']}]" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["license"] == PROJECT["license"]


def test_license_is_whole():
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3, 29 June 2007" in text
    assert "END OF TERMS AND CONDITIONS" in text
