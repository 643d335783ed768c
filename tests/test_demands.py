"""Every rule says what memory and time it needs; local runs add it up, clusters hold jobs to it."""

import ast
import gzip
import os

import nibabel as nib
import numpy as np
import pytest
import yaml
from house.source import arguments, rules

from isocenter.demands import DEMANDS, find_demand, memory, runtime, size_of
from isocenter.errors import ConfigError
from isocenter.io.nifti import write_image
from isocenter.machine import SHARE, usable_memory
from isocenter.profiles import PROFILES, Profile, find_profile

WORKING = {name: rule for name, rule in rules().items() if "script" in rule}


@pytest.mark.parametrize("name", WORKING)
def test_every_rule_declares_its_own_demand(name):
    asked = arguments(WORKING[name]["resources"], {})
    assert {key: ast.unparse(value) for key, value in asked.items()} == {
        "mem_mb": f"memory('{name}')",
        "runtime": f"runtime('{name}')",
    }
    assert name in DEMANDS


def test_no_demand_is_left_of_a_rule_that_is_gone():
    assert set(DEMANDS) == set(WORKING)


def test_memory_grows_with_what_is_read_and_with_each_try(tmp_path):
    image = tmp_path / "image.nii.gz"
    image.write_bytes(bytes(3_000_000))
    demand = find_demand("fit_map")
    assert memory("fit_map")(None, [], 1) == demand.memory
    assert memory("fit_map")(None, [str(image)], 1) == demand.memory + 3 * demand.per_input
    assert memory("fit_map")(None, [str(image)], 2) == 2 * (demand.memory + 3 * demand.per_input)
    assert runtime("fit_map")(None, 3) == 3 * demand.minutes


def test_files_of_a_folder_count_and_files_to_come_do_not(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1_000_000))
    (tmp_path / "b").write_bytes(bytes(500_000))
    assert size_of([str(tmp_path), str(tmp_path / "a"), str(tmp_path / "to come")]) == 2.5


def test_an_image_counts_by_its_voxels_not_by_what_it_compresses_to(tmp_path):
    air, noise = tmp_path / "air.nii.gz", tmp_path / "noise.nii.gz"
    write_image(air, np.zeros((50, 40, 25, 2), np.int16), np.eye(4))
    write_image(noise, np.random.default_rng(1).normal(size=(50, 40, 25, 2)).astype(np.float32), np.eye(4))
    assert air.stat().st_size < 0.01 * noise.stat().st_size
    assert size_of([str(air)]) == size_of([str(noise)]) == 50 * 40 * 25 * 2 * 4 / 1e6
    big_endian = nib.Nifti1Image(np.zeros((50, 40, 25), ">i2"), np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(big_endian, tmp_path / "big.nii.gz")
    assert size_of([str(tmp_path / "big.nii.gz")]) == 50 * 40 * 25 * 4 / 1e6


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"short"), gzip.compress(bytes(400))],
    ids=["empty", "no gzip", "too short", "zeros"],
)
def test_an_image_without_a_header_counts_as_it_lies_on_disk(tmp_path, content):
    (tmp_path / "x.nii.gz").write_bytes(content)
    assert size_of([str(tmp_path / "x.nii.gz")]) == len(content) / 1e6


def test_the_report_asks_for_what_its_largest_image_takes_however_many_there_are(tmp_path):
    paths = []
    for number, depth in enumerate((10, 60, 10)):
        write_image(tmp_path / f"{number}.nii.gz", np.zeros((50, 50, depth), np.int16), np.eye(4))
        paths.append(str(tmp_path / f"{number}.nii.gz"))
    ask = memory("make_report")
    assert ask(None, paths * 100, 1) == ask(None, paths[1:2], 1) > find_demand("make_report").memory
    assert memory("record_site")(None, paths * 100, 1) == find_demand("record_site").memory  # it reads none of them


def test_a_rule_that_nobody_measured_is_told_by_name():
    with pytest.raises(ConfigError, match="found: fit_soul; what to do: add it to DEMANDS"):
        memory("fit_soul")


def test_jobs_share_less_than_the_machine_has():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    assert 0 < usable_memory() <= SHARE * total


def test_a_container_with_less_memory_holds_jobs_to_it(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("2000000000\n")
    monkeypatch.setattr("isocenter.machine._CGROUP", tmp_path)
    assert usable_memory() == 1800
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory() > 0


# Profiles ------------------------------------------------------------------------------------------------------------


def test_the_trials_own_profile_goes_before_ours(tmp_path):
    assert find_profile("slurm", tmp_path) == Profile(PROFILES / "slurm", "slurm")
    own = tmp_path / "profiles" / "slurm"
    own.mkdir(parents=True)
    (own / "config.yaml").write_text("executor: kubernetes\n")
    assert find_profile("slurm", tmp_path) == Profile(own, "kubernetes")
    assert find_profile(f"{own}/", tmp_path).is_remote
    assert not find_profile("default", tmp_path).is_remote


def test_a_profile_that_is_not_there_is_told_with_those_that_are(tmp_path):
    with pytest.raises(ConfigError, match="expected: default, slurm; found: slurn"):
        find_profile("slurn", tmp_path)


def test_the_profile_for_slurm_groups_rules_that_there_are():
    profile = yaml.safe_load((PROFILES / "slurm" / "config.yaml").read_text())
    assert set(profile["groups"]) <= set(WORKING)
    assert set(profile["group-components"]) <= set(profile["groups"].values())
    # Intake decides which jobs there are, the template and the pulses stand before whole groups: they go alone.
    assert set(WORKING) - set(profile["groups"]) == {"index_site", "make_template", "choose_pulses"}
    assert profile["retries"] > 0
