"""What DICOM is refused, and that the line names the file and never the patient."""

import sys

import pydicom
import pytest
from dicom_series import PATIENT_ID, PATIENT_NAME, noise, write_multiframe, write_series
from pydicom.uid import MPEG2MPML, HTJ2KLossless, RTStructureSetStorage, SegmentationStorage

from plurimask.errors import InputError, MissingPackageError
from plurimask.files.dicom import read_series


def only(number, **values):
    """A change that gives one slice other values; None takes one away."""

    def change(dataset, slice_):
        for keyword, value in values.items() if slice_ == number else ():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return change


def refused(path, match, error=InputError):
    with pytest.raises(error, match=match) as caught:
        read_series(path)
    assert PATIENT_NAME not in str(caught.value)
    assert PATIENT_ID not in str(caught.value)


def test_two_series_in_one_folder(tmp_path):
    write_series(tmp_path, noise())
    for path in write_series(tmp_path / "other", noise((5, 6, 2)), series="other"):
        path.rename(tmp_path / f"other-{path.name}")
    refused(tmp_path, "expected one series, got 2, of 4, 2 files; put each into a folder of its own, and pass one")


def test_a_localizer_among_the_slices(tmp_path):
    write_series(tmp_path, noise(), change=only(2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    refused(tmp_path, r"expected the slices of one series, got a localizer among them, IM05836\.dcm; move localizers")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"ImagePositionPatient": None}, "expected position of every slice, got none in IM07924"),
        ({"ImageOrientationPatient": None}, "expected orientation of every slice, got none in IM07924"),
        ({"PixelSpacing": None}, "expected spacing of every slice, got none in IM07924"),
        ({"PixelSpacing": ""}, "expected spacing of every slice, got none in IM07924"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]}, "expected slices of one orientation"),
        ({"PixelSpacing": [0.7, 0.61]}, "expected slices of one spacing"),
        ({"FrameOfReferenceUID": "1.2.3"}, "expected slices of one frame of reference, got another in IM"),
        ({"Rows": 3, "PixelData": bytes(36)}, "expected slices of one size"),
        ({"ImagePositionPatient": [-100, -80, -300]}, r"expected one slice at each position, got IM.*dcm and IM"),
        ({"ImagePositionPatient": [-100, -80, -297.2]}, r"expected evenly spaced slices, to 0\.1 mm, got IM07924"),
        ({"ImagePositionPatient": [-100, -79.8, -297.5]}, r"expected evenly spaced slices, to 0\.1 mm, got IM07924"),
        ({"ImagePositionPatient": [-100, "nan", -297.5]}, "expected 3 finite number.* as ImagePositionPatient"),
        ({"ImagePositionPatient": [-100, "1e400", -297.5]}, "expected 3 finite number.* as ImagePositionPatient"),
        ({"ImagePositionPatient": [-100, -300]}, "expected 3 finite number.* as ImagePositionPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "expected two unit vectors at right angles"),
        ({"PixelSpacing": [0.7, 0]}, r"expected numbers above 0 as PixelSpacing, got \[0\.7, 0\.0\]"),
        ({"PixelSpacing": [-0.7, 0.6]}, "expected numbers above 0 as PixelSpacing"),
        ({"RescaleSlope": "0"}, "expected a number other than 0 as RescaleSlope"),
        ({"HighBit": 14}, "expected the 16 stored bits to be the lowest, got high bit 14"),
        ({"Columns": 0}, "expected at least one row, column and frame"),
        ({"Rows": 65535, "Columns": 65535}, "expected at most 1073741824 voxels"),
        ({"PixelData": None}, r"IM07924\.dcm: expected an image, got a DICOM object without pixels"),
        (
            {"BitsStored": 20, "HighBit": 19},
            r"expected pixels in .* 'Bits Stored' value of '20' is invalid",
        ),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, r"expected slope and intercept, got a table of values"),
        ({"NumberOfFrames": 2}, r"expected a position for each of 2 frames .*frames in time are no volume"),
        ({"SOPClassUID": SegmentationStorage}, "expected an image, got a DICOM object of kind 'Segmentation Storage'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_one_slice_that_does_not_fit(tmp_path, values, match):
    write_series(tmp_path, noise(), change=only(1, **values))
    refused(tmp_path, match)


def test_a_missing_slice(tmp_path):
    write_series(tmp_path, noise((5, 6, 7)))[3].unlink()
    refused(
        tmp_path, r"expected a slice every 2\.5 mm, got 5 mm between IM05836\.dcm and IM\d+\.dcm; slices are missing"
    )


def test_one_of_three_slices_missing_between_others(tmp_path):
    write_series(tmp_path, noise())[1].unlink()
    refused(tmp_path, r"expected a slice every 2\.5 mm, got 5 mm between")


def test_positions_that_are_rounded_are_taken_as_even(tmp_path):
    def rounded(dataset, number):
        dataset.ImagePositionPatient = [-100, -80, round(0.625 * number, 1)]

    write_series(tmp_path, noise((5, 6, 9)), change=rounded)
    assert read_series(tmp_path).grid.spacing_mm == pytest.approx((0.7, 0.6, 0.625))


def test_a_structure_set_among_the_slices(tmp_path):
    def structure_set(dataset, number):
        if number == 2:
            for keyword in ("Rows", "Columns", "PixelData"):
                delattr(dataset, keyword)
            dataset.SOPClassUID = RTStructureSetStorage

    write_series(tmp_path, noise(), change=structure_set)
    refused(tmp_path, r"IM05836\.dcm: expected an image, got a DICOM object of kind 'RT Structure Set Storage'")


def test_frames_at_one_position(tmp_path):
    write_series(tmp_path / "slices", noise())
    path = write_multiframe(tmp_path / "all.dcm", tmp_path / "slices", (0, 1, 1, 2))
    refused(path, "expected one slice at each position, got all.dcm, frame 2 and all.dcm, frame 3 at the same")


def test_frames_of_which_one_is_missing(tmp_path):
    write_series(tmp_path / "slices", noise())
    path = write_multiframe(tmp_path / "all.dcm", tmp_path / "slices", (0, 1, 3))
    refused(path, r"expected a slice every 2\.5 mm, got 5 mm between all\.dcm, frame 2 and all\.dcm, frame 3")


def test_a_multi_frame_file_beside_slices(tmp_path):
    write_series(tmp_path, noise())
    write_multiframe(tmp_path / "all.dcm", tmp_path, (0, 1, 2, 3))
    refused(tmp_path, "expected one multi-frame file, or one slice a file, got both")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04" + bytes(200), "one without DICOM's mark"),
        (b"0\x82\x0f\x00\x06\x09*\x86H\x86\xf7\r\x01\x07\x03" + bytes(200), "one without DICOM's mark"),
        (b"no image\n", "one without DICOM's mark"),
    ],
    ids=["empty", "zip", "encrypted", "text"],
)
def test_a_file_of_another_kind_under_a_slices_name(tmp_path, content, got):
    write_series(tmp_path, noise())
    (tmp_path / "IM00001.dcm").write_bytes(content)
    refused(tmp_path, rf"IM00001\.dcm: expected a DICOM file, got {got}; fetch it again, or unpack or decrypt it first")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (4, r"expected 24 values, as its header says, got more of them"),
        (6, r"expected pixels in Explicit VR Little Endian, got 'The number of bytes of pixel data is less"),
    ],
)
def test_more_or_fewer_pixels_than_the_header_says(tmp_path, rows, match):
    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=only(0, Rows=rows))
    refused(path, match)


@pytest.mark.parametrize("lost", [1, 40, 100, 500, 1000])
def test_a_truncated_file(tmp_path, lost):
    paths = write_series(tmp_path, noise())
    paths[1].write_bytes(paths[1].read_bytes()[:-lost])
    refused(tmp_path, r"IM07924\.dcm: expected ")


def test_a_link_to_a_slice_that_is_gone(tmp_path):
    write_series(tmp_path, noise())
    (tmp_path / "IM00001.dcm").symlink_to(tmp_path / "gone.dcm")
    refused(tmp_path, r"IM00001\.dcm: expected a readable file, got 'No such file or directory'")


def test_a_folder_without_dicom(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    refused(tmp_path, "expected the DICOM files of one series, got none; pass the folder that holds the slices")


def test_a_path_where_nothing_lies(tmp_path):
    refused(tmp_path / "none.dcm", r"none\.dcm: expected a readable file, got 'No such file or directory'")


def test_a_compression_without_decoder(tmp_path):
    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=only(0, PixelData=pydicom.encaps.encapsulate([bytes(8)])))
    restate(path, HTJ2KLossless)
    refused(path, r"expected a decoder of High-Throughput JPEG 2000.*pip install", MissingPackageError)


def test_pixels_as_a_film(tmp_path):
    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=only(0, PixelData=pydicom.encaps.encapsulate([bytes(8)])))
    restate(path, MPEG2MPML)
    refused(path, "expected pixels that are stored plainly, in RLE, JPEG, JPEG-LS or JPEG 2000, got MPEG2 Main Profile")


def restate(path, syntax):
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)


def test_without_pydicom_the_error_says_what_to_install(tmp_path, monkeypatch):
    write_series(tmp_path, noise())
    for module in [name for name in sys.modules if name.partition(".")[0] == "pydicom"]:
        monkeypatch.setitem(sys.modules, module, None)
    refused(tmp_path, r'run pip install "plurimask\[dicom\]"', MissingPackageError)


def test_no_warning_of_pydicom_quotes_the_file(tmp_path, recwarn):
    write_series(tmp_path, noise(), change=only(1, StudyInstanceUID="1.2.x", PatientID="x" * 80))
    recwarn.clear()
    read_series(tmp_path)
    assert not recwarn
