"""Damaged images and sidecars of a dataset end as a reason, whatever bytes are wrong."""

import json
import string

import numpy as np
import pytest
from dataset.sent import recovery, write_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocenter.dataset.names import parse_name
from isocenter.dataset.sidecars import read_received_sidecar
from isocenter.errors import ConfigError, SidecarError
from isocenter.io.received import LARGEST, read_received


def test_flipped_bytes_of_a_header_are_read_or_refused(tmp_path):
    path = write_image(tmp_path / "x.nii", recovery()[..., :3], None)
    good = path.read_bytes()
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(400):
        content = bytearray(good)
        for at in rng.integers(0, 352, rng.integers(1, 6)):
            content[at] = rng.integers(0, 256)
        path.write_bytes(bytes(content[: rng.integers(100, len(good))] if rng.random() < 0.2 else content))
        try:
            voxels, affine = read_received(path)
        except ConfigError:
            refused += 1
            continue
        assert not np.isinf(voxels).any()
        assert voxels.nbytes <= LARGEST
        assert voxels.dtype in (np.int16, np.int32, np.float32)
        assert np.isfinite(affine).all()
    assert 50 < refused < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["EchoTime", "InversionTime", "Manufacturer", "PatientName", "Units", "ReceiveCoilName", "Other"]
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_only_values_of_the_right_kind_are_taken_from_any_sidecar(tmp_path, content):
    name = parse_name("sub-1/anat/sub-1_IRT1.nii.gz")
    path = tmp_path / "sub-1" / "anat" / "sub-1_IRT1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    values = read_received_sidecar(tmp_path, name).values
    assert set(values) <= set(content) - {"PatientName", "Other"}
    for key in ("EchoTime", "InversionTime"):
        if key in values:
            assert np.isfinite(np.asarray(values[key], dtype=float)).all()
    for key in ("Manufacturer", "ReceiveCoilName"):
        assert isinstance(values.get(key, ""), str)
        assert values.get(key, "").isprintable()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.binary(max_size=200))
def test_any_bytes_for_a_sidecar_are_a_reason(tmp_path, content):
    name = parse_name("sub-1/anat/sub-1_IRT1.nii.gz")
    path = tmp_path / "sub-1" / "anat" / "sub-1_IRT1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        json.loads(content.decode("utf-8-sig"))
    except ValueError:
        with pytest.raises(SidecarError, match="A sidecar cannot be read"):
            read_received_sidecar(tmp_path, name)


@pytest.mark.parametrize(
    "path",
    ["sub-1/anat/sub-2_IRT1.nii.gz", "sub-1/ses-1/anat/sub-1_IRT1.nii.gz", "anat/sub-1_IRT1.nii.gz",
     "sub-1_IRT1.nii.gz",
     "sub-1/anat/sub-1_sub-2_IRT1.nii.gz", "../sub-1/anat/sub-1_IRT1.nii.gz", "sub-1/anat/sub-1_IRT1.nii.gz.exe",
     "sub-1/anat/sub-1_inv-1_inv-2_IRT1.nii.gz", "sub-1/anat/sub-1_IRT1.dcm", "sub-1/anat/sub-1_.nii", ""],
)  # fmt: skip
def test_names_that_contradict_their_folder_or_themselves_are_none(path):
    assert parse_name(path) is None


@given(st.text(alphabet=string.printable, max_size=40))
def test_any_text_is_a_name_or_none(text):
    name = parse_name(f"sub-1/anat/{text}.nii.gz")
    assert name is None or name.get("sub") == "1"
