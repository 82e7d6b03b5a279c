"""Who a study is of. Asked for only where `--show-identity` is given."""

from plurimask.files.study import Study
from plurimask.optional import need

_KEYWORDS = {"name": "PatientName", "number": "PatientID", "born": "PatientBirthDate", "sex": "PatientSex"}


def patient_of(study: Study) -> dict[str, str]:
    """What the header of a DICOM study says of the patient; else what patients.csv says, where anything does."""
    if study.format != "dicom":
        return {"number": study.case.patient} if study.case.patient is not None else {}
    header = need("pydicom", "dicom").dcmread(
        study.sources[0], stop_before_pixels=True, specific_tags=list(_KEYWORDS.values())
    )
    return {key: str(header[word].value) for key, word in _KEYWORDS.items() if header.get(word)}
