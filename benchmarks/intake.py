"""How long the intake takes to index many DICOM files, and how much memory: ``python -m benchmarks.intake``.

Writes a site of classic images as a scanner sends them (a file a slice, several series a session), then reads every
header, groups the files to series and recognizes them, as a run does before it converts anything; a second time with
the index of the first. Sets no cache of the disk aside: files are read right after they were written.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from isocenter.dicom.group import group_series
from isocenter.dicom.index import digest_rule, read_images
from isocenter.dicom.privacy import UidRule
from isocenter.dicom.recognize import recognize_all
from isocenter.dicom.suffixes import SUFFIXES

#: Files of one series: 8 inversion times of 25 slices.
N_VALUES, N_SLICES = 8, 25
N_SERIES_A_SESSION = 5


def write_files(folder: Path, count: int, size: int) -> None:
    """`count` files of size × size pixels."""
    rng = np.random.default_rng(0)
    for number in range(count):
        series, image = divmod(number, N_VALUES * N_SLICES)
        session, _ = divmod(series, N_SERIES_A_SESSION)
        value, plane = divmod(image, N_SLICES)
        dataset = describe(series, session)
        dataset.InversionTime = str(50 * 2**value)
        dataset.InstanceNumber = str(image + 1)
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=["image", str(number)])
        dataset.ImagePositionPatient = [-100.0, -100.0, -60.0 + 5 * plane]
        dataset.PixelData = rng.integers(0, 3000, (size, size), dtype=np.uint16).tobytes()
        dataset.Rows = dataset.Columns = size
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"session{session:04d}" / f"series{series:05d}" / f"image{image:04d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)


def describe(series: int, session: int) -> Dataset:
    """What the files of a series share, private elements of a vendor included."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "Model"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "777", "E11"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.PatientID, dataset.PatientName = f"P{session:04d}", "Anonymous"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20250310"
    dataset.AcquisitionTime = f"10{series % 60:02d}00"
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(session)])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(series)])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", str(session)])
    dataset.SeriesNumber, dataset.MagneticFieldStrength = str(series), "3"
    dataset.ScanningSequence, dataset.MRAcquisitionType = ["SE", "IR"], "2D"
    dataset.RepetitionTime, dataset.EchoTime, dataset.FlipAngle = "4500", "7", "90"
    dataset.SliceThickness = dataset.SpacingBetweenSlices = "5"
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [1.5, 1.5]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", bytes(10_000))  # as long as those of real headers
    block.add_new(0x20, "OB", bytes(60_000))
    return dataset


def measure(source: Path, index: dict) -> tuple[dict[str, float], dict]:
    """Seconds and peak memory of one pass, and the index for the next."""
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as unpacked:
        images, entries = read_images(source, index, Path(unpacked, "archives"), UidRule())
    series, duplicates, strays = group_series(images)
    recognized = recognize_all(series, tuple(SUFFIXES))
    found = {
        "files": len(images),
        "series": len(series),
        "recognized": sum(one.suffix == "IRT1" for one in recognized.values()),
        "left out": len(duplicates) + len(strays),
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu seconds": round(time.process_time() - cpu, 1),
        "peak memory [MB]": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "index [MB]": round(len(json.dumps(entries)) / 1e6, 1),
    }
    return found, entries


def main() -> None:
    """Write, index, index again, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=128, help="pixels along each side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as folder:
        source = Path(folder)
        write_files(source, options.files, options.size)
        empty = {"files": {}, "volumes": {}}
        before = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        first, entries = measure(source, empty)
        again, _ = measure(source, empty | {"files": entries, "rule": digest_rule(UidRule())})
    print(f"memory before: {before} MB")
    for name, found in (("first time", first), ("again, from the index", again)):
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
