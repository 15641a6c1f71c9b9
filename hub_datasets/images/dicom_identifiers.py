"""Lists what a DICOM header tells that identifies a person, so that the texts of that patient are searched for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

# Attributes that identify, besides those that hold names of persons; the kinds are those of flags.
IDENTIFYING = {
    "PatientID": "record_number",
    "OtherPatientIDs": "record_number",
    "IssuerOfPatientID": "institution",
    "AccessionNumber": "record_number",
    "AdmissionID": "record_number",
    "StudyID": "record_number",
    "MedicalRecordLocator": "record_number",
    "InsurancePlanIdentification": "insurance_number",
    "PatientTelephoneNumbers": "phone_number",
    "PatientAddress": "address",
    "InstitutionName": "institution",
    "InstitutionAddress": "address",
    "DeviceSerialNumber": "device",
    "StationName": "device",
}
MOST_KNOWN = 100  # values of one header


def read_known(dataset: Dataset) -> tuple[tuple[str, str, str], ...]:
    """Returns (kind, value, origin) of what the header tells that identifies a person, to search the texts for it.

    Nothing of it is published. Attributes of sequences, for example of other patient IDs, are among them.
    """
    found: dict[tuple[str, str], str] = {}

    def note(part: Dataset, depth: int) -> None:
        for element in part:
            if len(found) >= MOST_KNOWN:
                return
            if element.VR == "SQ" and depth < 3:
                for inner in element.value:
                    note(inner, depth + 1)
                continue
            kind = IDENTIFYING.get(element.keyword) or ("person_name" if element.VR == "PN" else "")
            if kind:
                values = element.value if element.VM > 1 else [element.value]
                for value in map(str, values):
                    for text in value.split("=") if element.VR == "PN" else [value]:  # in letters, ideograms, sounds
                        if text.strip():
                            found.setdefault((kind, text.strip()[:200]), f"the DICOM header's {element.keyword}")

    with contextlib.suppress(Exception):  # a header may be damaged where the picture is not
        note(dataset, 0)
    return tuple((kind, value, origin) for (kind, value), origin in found.items())
