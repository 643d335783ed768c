"""A site with diffusion images and field maps as DICOM: a block in air, in a field that displaces its signal.

Two tissues meet at a border across the phase-encoding axis; the outlined region reaches up to it, so that signal from
the wrong place shows in its diffusion coefficient.
"""

from pathlib import Path

import numpy as np
import yaml
from dicom.small import header
from end_to_end.relaxometry_site import NOISE, centers, write_stored
from fields.epi import FINE

from isocenter.io.nifti import write_image

SHAPE, VOXEL = (28, 40, 6), (4.0, 4.0, 6.0)
MAP_SHAPE, MAP_VOXEL = (30, 44, 8), (4.4, 4.4, 5.0)
B_VALUES = (0, 400, 800)
ADC = (1.0e-3, 2.0e-3)  # mm2/s, in front of the border and behind it
READOUT = 0.04  # s
ECHOES = (0.0045, 0.0070)  # s
GRADIENT_ECHOES, T2STAR = tuple(0.004 * k for k in range(1, 9)), 0.030  # s
TURN = 1 / (ECHOES[1] - ECHOES[0])
#: Half of the length of the block along y [mm], and how far from the border the region ends [mm].
HALF, MARGIN = 60.0, 4.0


def inside_at(place):
    return (np.abs(place[..., 0]) < 42) & (np.abs(place[..., 1]) < HALF)


def field_at(place, strength=1.0):
    """B0 [Hz] at places [mm, DICOM coordinates]: 60 Hz at the border, a slope and a bow."""
    return strength * (60 + 0.3 * place[..., 1] + 0.15 * place[..., 0] - 0.006 * place[..., 1] ** 2)


def tissue_at(place):
    return np.where(place[..., 1] < 0, ADC[0], ADC[1])


def image_diffusion(sign, strength):
    """(x, y, z, n) array: the volumes, signal moved along DICOM's y by `sign` times the field."""
    x, z = (centers(SHAPE, VOXEL)[..., k] for k in (0, 2))
    n = SHAPE[1]
    fine = (np.arange(n * FINE) + 0.5) / FINE - 0.5
    place = np.stack(np.broadcast_arrays(x[:, :1], ((fine - (n - 1) / 2) * VOXEL[1])[None, :, None], z[:, :1]), axis=-1)
    moved = fine[None, :, None] + sign * READOUT * field_at(place, strength)
    out = np.zeros((*SHAPE, len(B_VALUES)))
    low = np.floor(moved).astype(int)
    columns, planes = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[2]), indexing="ij")
    for k, b in enumerate(B_VALUES):
        density = 1200.0 * np.exp(-b * tissue_at(place)) * inside_at(place) / FINE
        for index, share in ((low, 1 - moved + low), (low + 1, moved - low)):
            keep = (index >= 0) & (index < n)
            at = (np.broadcast_to(columns[:, None], index.shape)[keep], index[keep],
                  np.broadcast_to(planes[:, None], index.shape)[keep])  # fmt: skip
            np.add.at(out[..., k], at, (density * share)[keep])
    return out


def write_diffusion(folder, who, hour, sign, strength, rng, *, tells_direction=True):
    """Echo-planar images with Siemens' elements; lines encoded from front to back (1) or from back to front (-1)."""
    base = header(
        "dwi", **who, time=f"{hour:02d}2000", ScanningSequence=["EP", "SE"], RepetitionTime="4000", EchoTime="80",
        InPlanePhaseEncodingDirection="COL",
    )  # fmt: skip

    def private(b):
        def add(dataset):
            block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0C, "IS", str(b))
            # One line a pixel bandwidth: the readout lasts (lines - 1) / (bandwidth lines).
            block.add_new(0x28, "FD", (SHAPE[1] - 1) / SHAPE[1] / READOUT)
            if tells_direction:
                other = dataset.private_block(0x0021, "SIEMENS MR SDI 02", create=True)
                other.add_new(0x1C, "IS", "1" if sign > 0 else "0")

        return {"private": add}

    data = image_diffusion(sign, strength)
    noise = rng.normal(0, NOISE * data.max(), (2, *data.shape))
    write_stored(
        folder / "dwi", base, np.rint(np.hypot(data + noise[0], noise[1])).astype("<u2"), VOXEL,
        [private(b) for b in B_VALUES],
    )  # fmt: skip


def write_field_map(folder, who, hour, strength, rng):
    """Two magnitudes and Siemens' phase difference, a series each."""
    place = centers(MAP_SHAPE, MAP_VOXEL)
    inside = inside_at(place)
    sequence = {"ScanningSequence": "GR", "SequenceName": "*fm2d2r", "RepetitionTime": "400", "FlipAngle": "60"}
    magnitude = np.stack([900.0 * inside * np.where(place[..., 1] < 0, 1.0, 0.7) * d for d in (1.0, 0.9)], axis=-1)
    noise = rng.normal(0, 4.0, (2, *magnitude.shape))
    base = header("fm", **who, time=f"{hour:02d}1000", **sequence)
    stored = np.rint(np.hypot(magnitude + noise[0], noise[1])).astype("<u2")
    write_stored(folder / "fm", base, stored, MAP_VOXEL, [{"EchoTime": f"{1e3 * te:g}"} for te in ECHOES])
    turns = field_at(place, strength) / TURN + rng.normal(0, 1, MAP_SHAPE) * np.where(inside, 0.001, 1.0)
    wrapped = turns - np.round(turns)
    phase = np.clip(np.rint((wrapped + 0.5) * 4096), 0, 4095).astype("<u2")[..., np.newaxis]
    words = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"], "RescaleSlope": "2", "RescaleIntercept": "-4096"}
    base = header("fmp", **who, time=f"{hour:02d}1000", **sequence)
    write_stored(folder / "fmp", base, phase, MAP_VOXEL, [{"EchoTime": f"{1e3 * ECHOES[1]:g}", **words}])


def write_echoes(folder, who, hour, strength, rng):
    """A multi-echo gradient echo, magnitude alone: one T2*, and what the gradients of the field take from it."""
    place = centers(SHAPE, VOXEL)
    times = np.array(GRADIENT_ECHOES)
    size = np.array(VOXEL)
    slopes = [(field_at(place + 0.5 * d, strength) - field_at(place - 0.5 * d, strength)) for d in np.diag(size)]
    left = np.prod([np.sinc(slope[..., np.newaxis] * times) for slope in slopes], axis=0)
    data = 1200.0 * inside_at(place)[..., np.newaxis] * np.exp(-times / T2STAR) * left
    noise = rng.normal(0, NOISE * data.max(), (2, *data.shape))
    base = header("megre", **who, time=f"{hour:02d}3000", ScanningSequence="GR", RepetitionTime="60", FlipAngle="20")
    stored = np.rint(np.hypot(data + noise[0], noise[1])).astype("<u2")
    write_stored(folder / "megre", base, stored, VOXEL, [{"EchoTime": f"{1e3 * te:g}"} for te in times])


def draw_region(path: Path) -> None:
    """The first tissue up to near the border, well inside in all else, where it truly lies."""
    place = centers(SHAPE, VOXEL)
    labels = (np.abs(place[..., 0]) < 28) & (place[..., 1] > -20) & (place[..., 1] < -MARGIN)
    affine = np.diag([-VOXEL[0], -VOXEL[1], VOXEL[2], 1.0])
    affine[:3, 3] = place[0, 0, 0] * (-1, -1, 1)
    write_image(path, labels.astype(np.uint8), affine)
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text("index\tname\n1\ttissue\n")


def write_site(root: Path, name: str, scans: dict[tuple[str, int], dict]) -> None:
    """A site of people by participant and session: what each scan has, as arguments of the writers above."""
    folder = root / "sites" / name
    for number, ((person, session), scan) in enumerate(sorted(scans.items())):
        rng = np.random.default_rng([ord(name[-1]), number])
        who = {"patient": f"PAT-{person}", "date": f"2025{session:02d}15"}
        at = folder / "dicom" / f"{person}_{session}"
        strength = scan.get("strength", 1.0)
        write_diffusion(at, who, 9, scan.get("sign", 1), strength, rng, tells_direction=scan.get("tells", True))
        if scan.get("map", True):
            write_field_map(at, who, 9, strength, rng)
        write_echoes(at, who, 9, strength, rng)
        for suffix in ("dwi", "MEGRE"):
            draw_region(folder / "rois" / f"sub-{person}_ses-{session:02d}_run-1_{suffix}_dseg.nii.gz")
    people = sorted({person for person, _ in scans})
    rows = ["participant_id\tkind\tsource_id", *(f"{person}\ttraveler\tPAT-{person}" for person in people)]
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    scanner = {"id": f"scanner{name[-1]}", "serial": "777", "field_strength": 3.0}
    site = {"site": name, "source": "dicom", "scanners": [scanner]}
    (folder / "site.yaml").write_text(yaml.safe_dump(site, sort_keys=False))
