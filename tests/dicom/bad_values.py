"""Headers that lack elements, hold absurd ones, or mix what does not belong together."""

from pathlib import Path

import pydicom
from dicom.bad_inputs import case, enter_alike, set_elements, swap_bytes, write_bad
from dicom.small import N_COLUMNS, N_ROWS, header, save, write_enhanced

# Absent elements ------------------------------------------------------------------------------------
enter_alike("{}_absent", r"\(0020,000E\) is missing", {"SeriesInstanceUID": {"SeriesInstanceUID": None}})
enter_alike("{}_absent", r"\(0008,0018\) is missing", {"SOPInstanceUID": {"SOPInstanceUID": None}})
enter_alike("{}_absent", r"\(0010,0020\)", {"PatientID": {"PatientID": None}})
enter_alike("{}_absent_in_one", r"\(0010,0020\)", {"PatientID": {"PatientID": None}}, first=True)
enter_alike(
    "{}_absent",
    r"\(0008,0020\) is missing",
    {"StudyDate": {"StudyDate": None, "SeriesDate": None, "AcquisitionDate": None}},
)
enter_alike("{}_absent", r"\(0018,0081\) is missing", {"EchoTime": {"EchoTime": None}})
enter_alike("{}_absent_in_one", r"\(0018,0081\) is missing", {"EchoTime": {"EchoTime": None}}, first=True)
enter_alike("{}_absent", "Rows, Columns", {"Rows": {"Rows": None}, "BitsAllocated": {"BitsAllocated": None}})
enter_alike(
    "{}_absent",
    r"Image Position \(0020,0032\)",
    {key: {key: None} for key in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")},
)
enter_alike("{}_absent", "pixel data", {"PixelData": {"PixelData": None}})
enter_alike("{}_absent", "Not an MR image", {"Modality": {"Modality": None}})
enter_alike("{}_absent", "Gradient echo|gradient echo|Not recognized", {"ScanningSequence": {"ScanningSequence": None}})


@case(r"\(0018,0082\) is missing")
def inversion_time_absent(site, paths):
    for path in paths:
        set_elements(path, ScanningSequence=["SE", "IR"])


# Absurd values --------------------------------------------------------------------------------------
enter_alike(
    "echo_time_{}",
    r"\(0018,0081\)",
    {"negative": {"EchoTime": "-7"}, "zero": {"EchoTime": "0"}, "of_a_year": {"EchoTime": "3.2e10"}},
    first=True,
)
enter_alike(
    "repetition_time_{}",
    r"\(0018,0080\)",
    {
        "negative": {"RepetitionTime": "-4500"},
        "of_a_year": {"RepetitionTime": "3.2e10"},
        "zero": {"RepetitionTime": "0"},
    },
)
enter_alike("flip_angle_{}", r"\(0018,1314\)", {"gigantic": {"FlipAngle": "1e9"}, "negative": {"FlipAngle": "-90"}})
enter_alike(
    "pixel_spacing_{}",
    r"\(0028,0030\)",
    {
        "zero": {"PixelSpacing": [0, 0]},
        "negative": {"PixelSpacing": [-2, 2]},
        "of_a_kilometer": {"PixelSpacing": ["1e6", "1e6"]},
    },
)
enter_alike(
    "position_{}",
    r"\(0020,0032\)",
    {"beyond_the_moon": {"ImagePositionPatient": ["1e300", "0", "0"]}, "of_two": {"ImagePositionPatient": [1, 2]}},
    first=True,
)
enter_alike(
    "orientation_{}",
    r"\(0020,0037\)",
    {
        "zero": {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        "skew": {"ImageOrientationPatient": [1, 0, 0, 0.9, 0.4359, 0]},
        "gigantic": {"ImageOrientationPatient": ["1e9", 0, 0, 0, "1e9", 0]},
    },
)
enter_alike(
    "slope_{}",
    r"\(0028,1053\)",
    {
        "gigantic": {"RescaleSlope": "1e300", "RescaleIntercept": "0"},
        "zero": {"RescaleSlope": "0", "RescaleIntercept": "0"},
        "too_small_for_a_float": {"RescaleSlope": "1e-400", "RescaleIntercept": "0"},
        "negative": {"RescaleSlope": "-1", "RescaleIntercept": "0"},
    },
)
enter_alike("field_{}", r"\(0018,0087\)", {"gigantic": {"MagneticFieldStrength": "30000"}})
enter_alike("rows_{}", "should hold|size", {"gigantic": {"Rows": 65535, "Columns": 65535}, "zero": {"Rows": 0}})
enter_alike(
    "frames_{}",
    "should hold|frames",
    {"gigantic": {"NumberOfFrames": "2000000000"}, "negative": {"NumberOfFrames": "-3"}},
    first=True,
)
enter_alike("bits_{}", r"\(0028,0101\)", {"zero": {"BitsStored": 0}, "sixty": {"BitsStored": 60}})
enter_alike(
    "date_{}",
    r"\(0008,0020\)",
    {"impossible": dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate"), "20259999")},
)
enter_alike(
    "clock_{}",
    "",
    {"no_number": {"AcquisitionTime": "1015nan"}, "infinite": {"AcquisitionTime": "1015inf"}},
    is_used=True,
)


@case(r"\(0018,0081\)")
def echo_time_is_text(site, paths):
    set_elements(paths[0], EchoTime="1234")
    swap_bytes(paths[0], b"\x18\x00\x81\x00DS\x04\x001234", b"\x18\x00\x81\x00DS\x04\x00soon")


@case(r"\(0018,0081\)")
def echo_time_is_not_finite(site, paths):
    set_elements(paths[0], EchoTime="1234")
    swap_bytes(paths[0], b"\x18\x00\x81\x00DS\x04\x001234", b"\x18\x00\x81\x00DS\x04\x00nan ")


enter_alike("repetition_time_{}", "no echo comes after", {"in_seconds": {"RepetitionTime": "4.5"}})


@case(r"Inversion Time \(0018,0082\) is 0.0001 s")
def inversion_time_in_seconds(site, paths):
    for number, path in enumerate(paths):
        time = ("0.1", "0.4", "1.1", "2.5")[number // 2]
        set_elements(path, ScanningSequence=["SE", "IR"], InversionTime=time, EchoTime="7")


@case("one value in all of its pixels")
def black_images(site, paths):
    for path in paths:
        set_elements(path, PixelData=bytes(2 * N_ROWS * N_COLUMNS))


@case("pixels are floats")
def pixels_of_floats(site, paths):
    for path in paths:
        dataset = pydicom.dcmread(path)
        del dataset.PixelData
        dataset.BitsAllocated = 32
        dataset.add_new((0x7FE0, 0x0008), "OF", bytes(4 * N_ROWS * N_COLUMNS))
        dataset.save_as(path)


@case(r"\(2005,100E\) is missing")
def philips_scaling_without_the_private_element(site, paths):
    for number, path in enumerate(paths):
        slope = f"{1.25 + number // 2 / 10}"
        set_elements(path, Manufacturer="Philips Medical Systems", RescaleSlope=slope, RescaleIntercept="0")


@case(r"\(0018,0082\)")
def inversion_time_negative(site, paths):
    for number, path in enumerate(paths):
        set_elements(path, ScanningSequence=["SE", "IR"], InversionTime=str(-100 * (number // 2 + 1)))


@case("2 frames")
def frames_without_a_description(site, paths):
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.NumberOfFrames = "2"
        dataset.PixelData = dataset.PixelData * 2
        dataset.save_as(path)


@case(r"\(0028,0002\)")
def color_image(site, paths):
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = dataset.PixelData * 3
        dataset.save_as(path)


# Mix-ups --------------------------------------------------------------------------------------------
@case("twice under one SOP Instance UID")
def images_under_one_uid(site, paths):
    set_elements(paths[1], SOPInstanceUID=pydicom.dcmread(paths[0]).SOPInstanceUID)


@case("2 Patient IDs")
def patient_swapped_in_one_image(site, paths):
    set_elements(paths[-1], PatientID="PHANTOM-9")


@case("2 Patient IDs")
def patient_swapped_in_a_second_copy(site, paths):
    dataset = pydicom.dcmread(paths[0])
    dataset.PatientID = "PHANTOM-9"
    save(dataset, site.dicom / "again")


@case("participants.tsv")
def patient_of_another_site(site, paths):
    for path in paths:
        set_elements(path, PatientID="PAT-7777")


@case("2 scanners")
def scanners_of_two_sites_in_one_series(site, paths):
    set_elements(paths[-1], DeviceSerialNumber="A-99")


@case("is 1.5 T and 3 T in images of one series")
def fields_of_two_scanners_in_one_series(site, paths):
    set_elements(paths[0], MagneticFieldStrength="1.5")


@case("2 dates: 7 images of the first, 1 from 1 day later")
def one_slice_of_another_day(site, paths):
    set_elements(paths[3], StudyDate="20250311")


@case("2 dates: 6 images of the first, 2 from 3 days later")
def one_echo_of_another_day(site, paths):
    for path in paths[:2]:
        set_elements(path, StudyDate="20250313")


enter_alike("one_image_with_{}", "in images of one set", {
    "another_repetition_time": {"RepetitionTime": "3000"}, "another_flip_angle": {"FlipAngle": "60"},
    "another_pixel_size": {"PixelSpacing": [2.2, 2.2]},
}, first=True)  # fmt: skip
enter_alike("one_image_of_{}", r"\(00..,00..\) has 2 values in images of one series", {
    "another_study": {"StudyInstanceUID": "1.2.3.4"}, "another_frame_of_reference": {"FrameOfReferenceUID": "1.2.3.5"},
}, first=True)  # fmt: skip


@case(r"Receive Coil Name \(0018,1250\) names 2 coils in images of one place")
def one_echo_of_another_coil(site, paths):
    for number, path in enumerate(paths):
        set_elements(path, ReceiveCoilName="Body" if number in (2, 3) else "Head_32")


@case("5 of 10 rows in slice 2 of echo time 0.02 s")
def half_an_image_of_zeros(site, paths):
    pixels = pydicom.dcmread(paths[3]).PixelData
    set_elements(paths[3], PixelData=pixels[: len(pixels) // 2] + bytes(len(pixels) // 2))


@case("hold the same pixels")
def pixels_of_the_slice_below(site, paths):
    set_elements(paths[3], PixelData=pydicom.dcmread(paths[2]).PixelData)


@case(r"Repetition Time \(0018,0080\) is 3 and 4.5 s in images of one set")
def one_echo_of_another_scan(site, paths):
    for path in paths[2:4]:
        set_elements(path, RepetitionTime="3000")


@case("unlike size")
def image_of_another_series(site, paths):
    dataset = pydicom.dcmread(paths[0])
    dataset.Rows = N_ROWS - 2
    dataset.PixelData = dataset.PixelData[: (N_ROWS - 2) * N_COLUMNS * 2]
    dataset.save_as(paths[0])


@case("orientations")
def orientations_mixed(site, paths):
    for path in paths[1::2]:
        set_elements(path, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])


@case("1 of 2 slices")
def slice_missing_of_one_echo(site, paths):
    paths[3].unlink()


@case("unevenly spaced")
def slice_missing_of_all_echoes(site, paths):
    for path in paths:
        path.unlink()
    for path in write_bad(site, n_slices=5)[2::5]:
        path.unlink()


@case("2 echo times: T2 needs 3")
def echoes_missing(site, paths):
    for path in paths[4:]:
        path.unlink()


# Enhanced files -------------------------------------------------------------------------------------
def write_multi_frame(site, paths) -> Path:
    for path in paths:
        path.unlink()
    base = header("bad", time="120000", manufacturer="Philips Medical Systems")
    return write_enhanced(site.dicom / "bad" / "one", base, [10.0, 20.0, 30.0, 40.0], kind="SE")


@case("8 frames and describes 7")
def frame_description_missing(site, paths):
    path = write_multi_frame(site, paths)
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    dataset.save_as(path)


@case("8 frames and describes 0")
def no_frame_described(site, paths):
    set_elements(write_multi_frame(site, paths), PerFrameFunctionalGroupsSequence=[])


@case("should hold")
def multi_frame_cut_off(site, paths):
    path = write_multi_frame(site, paths)
    path.write_bytes(path.read_bytes()[:-200])


@case("should hold|frames")
def frames_beyond_counting(site, paths):
    set_elements(write_multi_frame(site, paths), NumberOfFrames="2147483647")
