"""A site whose scans are none of the demonstration's: flip angles, a B1 map, echoes, and a dynamic series, as DICOM.

The object is a block in air. Its truth is a function of place, the same for every person but for a factor, so that a
statistic over persons has something to find.
"""

from pathlib import Path

import numpy as np
import yaml
from dicom.small import header, save, uid

from isocenter import models
from isocenter.io.nifti import write_image
from isocenter.models.arterial_input import predict_population
from isocenter.models.concentration import signal_from_concentration

SHAPE = (20, 24, 3)  # columns, rows, slices
VOXEL = (4.0, 4.0, 8.0)  # mm
#: The map of B1 is twice as coarse: it is resampled to be lent.
COARSE = (10, 12, 2)
COARSE_VOXEL = (8.0, 8.0, 12.0)
ANGLES = (3.0, 6.0, 10.0, 15.0, 22.0)  # deg
VFA_TR = 0.012  # s
ECHOES = tuple(0.004 * k for k in range(1, 9))  # s
SPIN_ECHOES = tuple(0.012 * k for k in range(1, 9))  # s
FRAMES = tuple(6.0 * k for k in range(40))  # s
DCE = {"repetition_time": 0.005, "flip_angle": 15.0}
RELAXIVITY, ARRIVAL, HEMATOCRIT = 4.5, 30.0, 0.42
TRUTH = {"T1": 1.1, "T2star": 0.030, "T2": 0.060, "Ktrans": 0.25, "kep": 0.6}
NOISE = 0.004  # of the largest signal
SUFFIXES = ("VFA", "TB1DAM", "MEGRE", "MESE", "DCE")


def centers(shape, voxel):
    """(x, y, z, 3) array [mm]: DICOM coordinates of the voxels of a grid around the isocenter."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return (index - (np.array(shape) - 1) / 2) * voxel


def b1_at(place):
    """Actual over nominal flip angle: falls off from the middle and is lopsided."""
    return 0.94 - 8e-5 * (place[..., 0] ** 2 + place[..., 1] ** 2) + 1.5e-3 * place[..., 0]


def inside_at(place):
    return (np.abs(place[..., 0]) < 28) & (np.abs(place[..., 1]) < 34)


def make_signals(factor, constants):
    """Series of one scan, noiseless: suffix to (x, y, z, n) array; `factor` scales the truth of a person."""
    place = centers(SHAPE, VOXEL)
    b1, inside = b1_at(place), inside_at(place)
    truth = {name: value * factor for name, value in TRUTH.items()}
    vfa = models.get("t1_variable_flip_angle").bind({"FlipAngle": ANGLES, "RepetitionTimeExcitation": VFA_TR})
    coarse = centers(COARSE, COARSE_VOXEL)
    angles = np.deg2rad([60.0, 120.0]) * b1_at(coarse)[..., np.newaxis]
    times = np.arange(0.0, FRAMES[-1] + 0.5, 0.5)
    plasma = predict_population(times, constants, hematocrit=HEMATOCRIT, arrival=ARRIVAL)
    tofts = models.get("tofts").bind(
        {"FrameTimesStart": FRAMES, "ArterialInputTimes": times, "ArterialInputFunction": plasma}
    )
    tissue = tofts.predict({"Ktrans": truth["Ktrans"], "kep": TRUTH["kep"]})
    signals = {
        "VFA": vfa.predict({"T1": truth["T1"], "M0": 8000.0, "B1": b1}),
        "MEGRE": np.exp(-np.array(ECHOES) / truth["T2star"]) * 1500.0 * np.ones((*SHAPE, 1)),
        "MESE": np.exp(-np.array(SPIN_ECHOES) / truth["T2"]) * 1500.0 * np.ones((*SHAPE, 1)),
        "DCE": signal_from_concentration(
            np.broadcast_to(tissue, (*SHAPE, len(FRAMES))), t1=truth["T1"], relaxivity=RELAXIVITY, m0=9000.0, b1=b1,
            **DCE,
        ),
    }  # fmt: skip
    signals = {suffix: signal * inside[..., np.newaxis] for suffix, signal in signals.items()}
    signals["TB1DAM"] = 1200.0 * np.sin(angles) * inside_at(coarse)[..., np.newaxis]
    return signals


def write_series(folder, base, data, voxel, elements, rng):
    """One file a slice and value; `elements` are the header's own of each value."""
    sigma = NOISE * np.abs(data).max()
    noise = rng.normal(0, sigma, data.shape) + 1j * rng.normal(0, sigma, data.shape)
    write_stored(folder, base, np.rint(np.abs(data + noise)).astype("<u2"), voxel, elements)


def write_stored(folder, base, stored, voxel, elements):
    """One file a slice and value of stored integers (x, y, z, n)."""
    folder.mkdir(parents=True, exist_ok=True)
    data = stored
    origin = -(np.array(data.shape[:3]) - 1) / 2 * voxel
    for k, values in enumerate(elements):
        for plane in range(data.shape[2]):
            dataset = type(base)()
            dataset.update(base)
            for key, value in values.items():
                value(dataset) if callable(value) else setattr(dataset, key, value)
            number = k * data.shape[2] + plane + 1
            dataset.InstanceNumber = str(number)
            dataset.SOPInstanceUID = uid(base.SeriesInstanceUID, number)
            dataset.ImagePositionPatient = [*origin[:2], origin[2] + plane * voxel[2]]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.PixelSpacing = [voxel[1], voxel[0]]
            dataset.SliceThickness = dataset.SpacingBetweenSlices = str(voxel[2])
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.Rows, dataset.Columns = data.shape[1], data.shape[0]
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
            dataset.PixelData = stored[:, :, plane, k].T.tobytes()
            save(dataset, folder / f"{number:04d}")


def write_scan(folder, patient, date, hour, factor, constants, seed, leave_out=()):
    """All series of one run of one person."""
    rng = np.random.default_rng(seed)
    signals = make_signals(factor, constants)
    who = {"patient": patient, "date": date}
    spoiled = {"ScanningSequence": "GR", "SequenceVariant": "SP", "MRAcquisitionType": "3D", "EchoTime": "1.5"}

    def base(name, minute, **elements):
        return header(name, **who, time=f"{hour:02d}{minute:02d}00", **elements)

    parts = {}
    for number, angle in enumerate(ANGLES):
        one = base(f"vfa{number}", number, **spoiled, RepetitionTime=f"{VFA_TR * 1e3:g}", FlipAngle=f"{angle:g}")
        parts[f"VFA{number}"] = ("VFA", one, signals["VFA"][..., number : number + 1], VOXEL, [{}])
    elements = [{"FlipAngle": "60"}, {"FlipAngle": "120"}]
    one = base("b1", 10, **{**spoiled, "MRAcquisitionType": "2D"}, RepetitionTime="8000")
    parts["TB1DAM"] = ("TB1DAM", one, signals["TB1DAM"], COARSE_VOXEL, elements)
    one = base("megre", 20, **spoiled, RepetitionTime="60", FlipAngle="20")
    parts["MEGRE"] = ("MEGRE", one, signals["MEGRE"], VOXEL, [{"EchoTime": f"{1e3 * te:g}"} for te in ECHOES])
    one = base("mese", 30, ScanningSequence="SE", RepetitionTime="4000", FlipAngle="180")
    parts["MESE"] = ("MESE", one, signals["MESE"], VOXEL, [{"EchoTime": f"{1e3 * te:g}"} for te in SPIN_ECHOES])
    stamps = [{"AcquisitionTime": f"{hour:02d}{40 + int(t) // 60:02d}{int(t) % 60:02d}.000000"} for t in FRAMES]
    one = base("dce", 40, **spoiled, RepetitionTime=f"{1e3 * DCE['repetition_time']:g}", FlipAngle="15")
    parts["DCE"] = ("DCE", one, signals["DCE"], VOXEL, stamps)
    for name, (suffix, one, data, voxel, elements) in parts.items():
        if suffix not in leave_out:
            write_series(folder / name, one, data, voxel, elements, rng)


def draw_region(path: Path) -> None:
    """The muscle of the block, well inside, as a site would outline it on a series."""
    place = centers(SHAPE, VOXEL)
    labels = ((np.abs(place[..., 0]) < 20) & (np.abs(place[..., 1]) < 26)).astype(np.uint8)
    affine = np.diag([-VOXEL[0], -VOXEL[1], VOXEL[2], 1.0])
    affine[:3, 3] = place[0, 0, 0] * (-1, -1, 1)
    write_image(path, labels, affine)
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text("index\tname\n1\tmuscle\n")


def write_site(root: Path, name: str, people: dict[str, float], constants, *, sessions=2, bias=1.0, leave_out=None):
    """A site's folder with DICOM, outlines, and what a person writes; `bias` scales what the site measures.

    leave_out : participant to series that were not acquired in the first session
    """
    folder = root / "sites" / name
    rows = ["participant_id\tkind\tsource_id"]
    for number, (person, factor) in enumerate(people.items()):
        rows.append(f"{person}\ttraveler\tPAT-{person}")
        for session in range(1, sessions + 1):
            missing = (leave_out or {}).get(person, ()) if session == 1 else ()
            write_scan(
                folder / "dicom" / f"{person}_{session}", f"PAT-{person}", f"2025{session:02d}1{number}", 9 + number,
                factor * bias, constants, [ord(name[-1]), number, session], missing,
            )  # fmt: skip
            for suffix in SUFFIXES:
                stem = f"sub-{person}_ses-{session:02d}_run-1_{suffix}_dseg.nii.gz"
                draw_region(folder / "rois" / stem)
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    description = {
        "site": name,
        "source": "dicom",
        "scanners": [{"id": f"scanner{name[-1]}", "serial": "777", "field_strength": 3.0}],
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
