"""What a panel says of a lesion, as DICOM objects that refer to its images: a structure set and a measurement report.

docs/dicom.md says what is in them, and which viewers show them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import need
from plurimask.files.dicom_seg import DicomSource, WrittenImages, derive_uid, describe_object, identify, item, referring
from plurimask.geometry import lps_to_ras
from plurimask.metrics.measurements import summarise
from plurimask.records import MaskSet, count_votes
from plurimask.show.outline import outlines

_CAUTION = "For research only, not for diagnosis. Nobody has reviewed this."
_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"
"""The retired class of a study, by which structure sets still name it."""
_OURS = "99PLURIMASK"
"""The scheme of codes that no standard has."""


def write_consensus(
    folder: Path, panel: MaskSet, written: WrittenImages, sources: Sequence[Path], agreement: float
) -> None:
    """Write consensus.dcm, an RT Structure Set of one region: the voxels that a share of the samples hold.

    The polygons run along the edges of voxels, so that they give the mask back exactly by the even-odd rule, as the
    standard's CLOSED_PLANAR contours of one region are filled. A hole is a polygon within another one.

    Args:
        folder: where to; must be there.
        panel: on the grid of the source.
        written: the panel's images.
        sources: the DICOM files that the grid was read from.
        agreement: least share of the samples that hold a voxel.

    Raises:
        InputError: a source that a structure set cannot refer to.
    """
    least = math.ceil(agreement * len(panel.masks))
    mask = (count_votes(panel.masks) >= least).reshape(*panel.grid.shape[:2], -1)
    with referring(sources):
        highdicom, source = need("highdicom", "dicom"), written.source
        built = highdicom.SOPClass(
            study_instance_uid=source.header.StudyInstanceUID,
            sop_class_uid=_STRUCTURE_SET,
            modality="RTSTRUCT",
            transfer_syntax_uid=need("pydicom.uid", "dicom").ExplicitVRLittleEndian,
            **describe_object(source, "consensus", f"Consensus of {len(panel.masks)} plausible outlines", str(least)),
        )
        built.OperatorsName, built.ApprovalStatus = "", "UNAPPROVED"
        built.StructureSetLabel, built.StructureSetDescription = "CONSENSUS", _CAUTION
        now = datetime.now()
        built.StructureSetDate, built.StructureSetTime = now.date(), now.time()
        built.FrameOfReferenceUID = source.header.FrameOfReferenceUID
        built.PositionReferenceIndicator = source.header.get("PositionReferenceIndicator", "")
        built.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
        built.StructureSetROISequence = [
            item(
                ROINumber=1,
                ReferencedFrameOfReferenceUID=source.header.FrameOfReferenceUID,
                ROIName=f"at least {least} of {len(panel.masks)}",
                ROIDescription=_CAUTION,
                ROIGenerationAlgorithm="AUTOMATIC",
            )
        ]
        contours = list(_contours(mask, panel))
        drawn = item(ReferencedROINumber=1, ROIDisplayColor=[0, 114, 178])
        if contours:
            drawn.ContourSequence = contours
        built.ROIContourSequence = [drawn]
        built.RTROIObservationsSequence = [
            item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="", ROIInterpreter="")
        ]
        identify(built, source)
        built.save_as(folder / "consensus.dcm", enforce_file_format=True)


def _frame_of_reference(source: DicomSource) -> Any:
    """The frame of reference, with the study, series and images that lie in it."""
    series = item(SeriesInstanceUID=source.header.SeriesInstanceUID, ContourImageSequence=source.references)
    study = item(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=source.header.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return item(FrameOfReferenceUID=source.header.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _contours(mask: np.ndarray, panel: MaskSet) -> Iterator[Any]:
    """Of a mask (H, W, D), slice by slice, in LPS+ mm."""
    assert panel.grid.affine is not None
    place = lps_to_ras(panel.grid.affine)
    for plane in np.flatnonzero(mask.any((0, 1))).tolist():
        for polygon in outlines(mask[..., plane]):
            # Corners count voxel edges, from the first voxel's, half a voxel before its middle.
            down, along = polygon[:, 1] - 0.5, polygon[:, 0] - 0.5
            flat = np.zeros(len(polygon))
            points = place @ np.stack([down, along, flat + plane, flat + 1])
            yield item(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(polygon),
                ContourData=[f"{value:.10g}" for value in points[:3].T.ravel()],
            )


def write_report(folder: Path, panel: MaskSet, written: WrittenImages, quantities: Mapping[str, np.ndarray]) -> None:
    """Write report.dcm, a measurement report (TID 1500): median, 5th and 95th percentile of each quantity over samples.

    Besides, how many samples there are and the share that outlines nothing. It names the panel's images as its
    evidence. It is neither complete nor verified.

    Args:
        folder: where to; must be there.
        panel: whose samples were measured.
        written: the panel's images.
        quantities: (S,) float64 each, sizes first, as `metrics.measurements.measure` gives them.
    """
    highdicom, codes = need("highdicom", "dicom"), need("pydicom.sr.codedict", "dicom").codes
    sr, source = highdicom.sr, written.source
    with referring([folder / "report.dcm"]):
        device = sr.DeviceObserverIdentifyingAttributes(uid=derive_uid(source, "device"), name="plurimask")
        observer = sr.ObserverContext(codes.DCM.Device, device)
        context = sr.ObservationContext(observer_device_context=observer)
        found = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=written.tracking, identifier="panel"),
            finding_type=codes.SCT.Lesion,
            measurements=list(_measurements(panel, quantities)),
        )
        report = sr.MeasurementReport(
            observation_context=context,
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=[found],
            title=codes.DCM.ImagingMeasurementReport,
        )
        evidence = [*source.images, *(item(**uids) for uids in written.objects.values())]
        built = sr.Comprehensive3DSR(
            evidence=evidence,
            content=report,
            is_complete=False,
            is_final=False,
            coding_schemes=[highdicom.coding_schemes.CodingSchemeIdentificationItem(_OURS, name="plurimask")],
            **describe_object(source, "report", f"Sizes of {len(panel.masks)} plausible outlines, research only"),
        )
        identify(built, source)
        built.save_as(folder / "report.dcm")


def _measurements(panel: MaskSet, quantities: Mapping[str, np.ndarray]) -> Iterator[Any]:
    sr, codes = need("highdicom", "dicom").sr, need("pydicom.sr.codedict", "dicom").codes
    fifth = sr.CodedConcept("p5", _OURS, "5th percentile over samples")
    last = sr.CodedConcept("p95", _OURS, "95th percentile over samples")
    names = {"area": codes.SCT.Area, "volume": codes.SCT.Volume, "longest_diameter": codes.SCT.LongAxis}
    units = {"mm": codes.UCUM.Millimeter, "mm2": codes.UCUM.SquareMillimeter, "mm3": codes.UCUM.CubicMillimeter}
    for key, values in quantities.items():
        name, _, unit = key.rpartition("_")
        found = summarise(values)
        for derivation, value in ((codes.SCT.Median, found.median), (fifth, found.low), (last, found.high)):
            if not math.isnan(value):
                unit_code = units.get(unit) or sr.CodedConcept(f"{{{unit}}}", "UCUM", unit)
                yield sr.Measurement(names[name], value, unit_code, derivation=derivation)
    count, size = len(panel.masks), next(iter(quantities.values()))
    empty = count - np.count_nonzero(size)
    nothing = sr.CodedConcept("empty", _OURS, "Share of samples that outline nothing")
    yield sr.Measurement(sr.CodedConcept("samples", _OURS, "Samples"), count, codes.UCUM.NoUnits)
    yield sr.Measurement(nothing, empty / count, codes.UCUM.NoUnits)
