"""Small DICOM files, classic and enhanced, written with pydicom alone: an exam for the intake, not its simulator."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
N_ROWS, N_COLUMNS = 10, 8
SPACING, GAP = 2.0, 5.0  # mm
NAMES = {
    "PatientName": "Quillfeather^Zebulon",
    "PatientBirthDate": "19470923",
    "PatientAddress": "17 Marmalade Lane",
    "ReferringPhysicianName": "Oakapple^Doctor",
    "OperatorsName": "Thistlewood",
    "InstitutionName": "Vexford Infirmary",
    "InstitutionAddress": "Vexford Hill",
    "StationName": "VEXFORDMR1",
    "AccessionNumber": "ACC771203",
    "PatientComments": "knows the Vexford porter",
    "StudyDescription": "Quillfeather head",
    "SeriesDescription": "for Dr Oakapple",
    "ProtocolName": "oakapple_special",
}


def uid(*parts) -> str:
    """The same UID for the same words."""
    return generate_uid(entropy_srcs=[str(part) for part in parts])


def pixels(*seed, ceiling=3000) -> np.ndarray:
    """(rows, columns) stored integers that differ between any two planes."""
    rng = np.random.default_rng(abs(hash_of(*seed)))
    return rng.integers(1, ceiling, (N_ROWS, N_COLUMNS), dtype=np.uint16)


def hash_of(*seed) -> int:
    """A number that is the same in every process."""
    return int("".join(f"{ord(c):03d}" for c in "|".join(map(str, seed)))) % 2**63


def header(series="ir", *, manufacturer="SIEMENS", patient="PAT-0042", date="20250310", time="101500", **elements):
    """What all files of a series share."""
    dataset = Dataset()
    dataset.SOPClassUID = MR_IMAGE
    dataset.Modality = "MR"
    dataset.Manufacturer = manufacturer
    dataset.ManufacturerModelName = "Model"
    dataset.DeviceSerialNumber = "777"
    dataset.SoftwareVersions = "V1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.PatientID = patient
    dataset.StudyDate, dataset.SeriesDate, dataset.AcquisitionDate = date, date, date
    dataset.AcquisitionTime = time
    dataset.StudyInstanceUID = uid("study", patient, date)
    dataset.SeriesInstanceUID = uid("series", series, patient, date, time)
    dataset.FrameOfReferenceUID = uid("frame", patient, date)
    dataset.SeriesNumber = "1"
    dataset.MagneticFieldStrength = "3"
    dataset.ScanningSequence = ["SE", "IR"]
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = "4500"
    dataset.EchoTime = "7"
    dataset.FlipAngle = "90"
    dataset.SliceThickness = "5"
    dataset.SpacingBetweenSlices = str(GAP)
    for key, value in {**NAMES, **elements}.items():
        if value is None:
            if key in dataset:
                delattr(dataset, key)
        else:
            setattr(dataset, key, value)
    return dataset


def position(plane: int) -> list[float]:
    return [-8.0, -10.0, -3.0 + GAP * plane]


def write_classic(folder: Path, base: Dataset, values: list[dict], *, n_slices=2, scale=None, ceiling=3000):
    """A series, one file per value and slice. `scale` : value index → extra elements (Philips scaling)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, value in enumerate(values):
        for plane in range(n_slices):
            dataset = Dataset()
            dataset.update(base)
            for key, text in value.items():
                if text is None:
                    if key in dataset:
                        delattr(dataset, key)
                else:
                    setattr(dataset, key, text)
            number = index * n_slices + plane + 1
            dataset.InstanceNumber = str(number)
            dataset.SOPInstanceUID = uid(base.SeriesInstanceUID, number)
            dataset.ImagePositionPatient = position(plane)
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.PixelSpacing = [SPACING, SPACING]
            add_pixels(dataset, pixels(base.SeriesInstanceUID, number, ceiling=ceiling))
            if scale:
                scale(dataset, index)
            paths.append(save(dataset, folder / f"image{number:03d}"))
    return paths


def add_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = N_ROWS, N_COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = stored.astype("<u2").tobytes()


def save(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def philips_scale(dataset: Dataset, index: int) -> None:
    """Display slope and private scale slope that differ from volume to volume."""
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{1.25 + 0.1 * index:.2f}", "0"
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.01 * (1 + index % 3))


def item(**elements) -> Sequence:
    dataset = Dataset()
    for key, value in elements.items():
        setattr(dataset, key, value)
    return Sequence([dataset])


def write_enhanced(path: Path, base: Dataset, times: list[float], *, kind="IR", n_slices=2) -> Path:
    """One multi-frame file, slice by slice, all values of a slice together; times in ms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.update(base)
    for key in (
        "ScanningSequence",
        "EchoTime",
        "RepetitionTime",
        "FlipAngle",
        "SliceThickness",
        "SpacingBetweenSlices",
    ):
        delattr(dataset, key)
    dataset.SOPClassUID = ENHANCED_MR_IMAGE
    dataset.SOPInstanceUID = uid(base.SeriesInstanceUID, "enhanced")
    dataset.InstanceNumber = "1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    dataset.EchoPulseSequence = "SPIN"
    dataset.PulseSequenceName = kind
    dataset.NumberOfFrames = str(len(times) * n_slices)
    dimension = item(DimensionOrganizationUID=uid("dimensions"))
    dataset.DimensionOrganizationSequence = dimension
    dataset.DimensionIndexSequence = Sequence(
        [
            *item(DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111),
            *item(DimensionIndexPointer=0x00189079 if kind == "IR" else 0x00189082, FunctionalGroupPointer=0x00189115),
        ]
    )
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[SPACING, SPACING], SliceThickness=GAP, SpacingBetweenSlices=GAP)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.MRTimingAndRelatedParametersSequence = item(RepetitionTime=4500.0, FlipAngle=90.0, EchoTrainLength=1)
    if kind == "SE":
        shared.MRModifierSequence = item(InversionRecovery="NO")
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, planes = [], []
    for plane in range(n_slices):
        for index, time in enumerate(times):
            frame = Dataset()
            frame.FrameContentSequence = item(
                StackID="1", InStackPositionNumber=plane + 1, DimensionIndexValues=[plane + 1, index + 1]
            )
            frame.PlanePositionSequence = item(ImagePositionPatient=position(plane))
            echo = 7.0 if kind == "IR" else time
            frame.MREchoSequence = item(EffectiveEchoTime=echo)
            if kind == "IR":
                frame.MRModifierSequence = item(InversionRecovery="YES", InversionTimes=[time])
            slope = f"{1.25 + 0.1 * index:.2f}"
            frame.PixelValueTransformationSequence = item(RescaleSlope=slope, RescaleIntercept="0", RescaleType="US")
            private = Dataset()
            block = private.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0E, "FL", 0.01 * (1 + index % 3))
            holder = frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
            holder.add_new(0x0F, "SQ", Sequence([private]))
            element = frame[holder.get_tag(0x0F)]
            del frame[element.tag]
            del frame[0x2005, 0x10]
            frame.add_new((0x2005, 0x0014), "LO", "Philips MR Imaging DD 005")
            frame.add_new((0x2005, 0x140F), "SQ", Sequence([private]))
            frames.append(frame)
            planes.append(pixels(base.SeriesInstanceUID, plane, index))
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    add_pixels(dataset, np.stack(planes))
    return save(dataset, path)
