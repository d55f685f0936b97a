"""What every FHIR bundle of ours has in common: code systems, references, and the resources of patient and study.

Used by `fhir` (our reports) and `structured_fhir` (structured reports), so that both name one patient and one study by the
same id. Plain dicts: nothing here loads fhir.resources.
"""

from __future__ import annotations

import html
from typing import Any

from radpipe.sinks.identifiers import name_parts, plain_name, stable_uuid
from radpipe.study import Study

Resource = dict[str, Any]

DICOM_UID = "urn:dicom:uid"
UCUM = "http://unitsofmeasure.org"
SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "RADLEX": "http://radlex.org",
    "99RADPIPE": f"urn:uuid:{stable_uuid('code system', '99RADPIPE')}",
}
"""Coding scheme designator -> FHIR code system. Local codes have a system of their own that claims no registered name."""

_HL7 = "http://terminology.hl7.org/CodeSystem"
_GENDERS = {"M": "male", "F": "female", "O": "other"}


def resource_id(kind: str, *key: str) -> str:
    """A UUID derived from the key: a later version names the same resource."""
    return str(stable_uuid("fhir", kind, *key))


def refer(resource: Resource) -> Resource:
    """A reference to a resource of the same bundle."""
    return {"reference": f"urn:uuid:{resource['id']}"}


def reference(kind: str, *key: str, display: str = "") -> Resource:
    """A reference by `resource_id`'s key."""
    return {"reference": f"urn:uuid:{resource_id(kind, *key)}", **({"display": display} if display else {})}


def subject(study: Study) -> Resource:
    """A reference to `patient_resource`. A patient without an ID is known only as the study's."""
    patient = study.patient
    whose = () if patient.patient_id else (study.study_instance_uid,)
    return reference("Patient", patient.issuer_of_patient_id, patient.patient_id, *whose)


def entry(resource: Resource) -> Resource:
    """The resource as an entry of a bundle."""
    return {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}


def hl7_concept(system: str, code: str, display: str) -> Resource:
    """A concept of one of HL7's own code systems."""
    return {"coding": [{"system": f"{_HL7}/{system}", "code": code, "display": display}]}


def human_name(name: str) -> Resource:
    """A DICOM person name (PN) as FHIR's HumanName; {} without one."""
    family, given, middle, prefix, suffix = name_parts(name)
    parts = {
        "text": plain_name(name),
        "family": family,
        "given": [part for part in (given, middle) if part],
        "prefix": [prefix] if prefix else [],
        "suffix": [suffix] if suffix else [],
    }
    return {key: value for key, value in parts.items() if value}


def xhtml(narrative: str) -> str:
    """Plain text as the div of a resource's narrative."""
    return f'<div xmlns="http://www.w3.org/1999/xhtml"><pre>{html.escape(narrative)}</pre></div>'


def patient_resource(study: Study) -> Resource:
    """Patient: identifier with its issuer, name, gender, birth date, as far as they are known."""
    patient = study.patient
    resource: Resource = {"resourceType": "Patient", "id": subject(study)["reference"].removeprefix("urn:uuid:")}
    if patient.patient_id:
        identifier: Resource = {
            "type": hl7_concept("v2-0203", "MR", "Medical record number"),
            "value": patient.patient_id,
        }
        issuer = patient.issuer_of_patient_id
        if issuer.replace(".", "").isdigit() and "." in issuer:
            identifier["system"] = f"urn:oid:{issuer}"
        elif issuer:
            identifier["assigner"] = {"display": issuer}
        resource["identifier"] = [identifier]
    if name := human_name(patient.patient_name):
        resource["name"] = [name]
    if patient.patient_sex in _GENDERS:
        resource["gender"] = _GENDERS[patient.patient_sex]
    if patient.patient_birth_date:
        resource["birthDate"] = patient.patient_birth_date.isoformat()
    return resource


def study_resource(study: Study) -> Resource:
    """ImagingStudy: UID, accession number, date, series and instances."""
    identifiers: list[Resource] = [{"system": DICOM_UID, "value": f"urn:oid:{study.study_instance_uid}"}]
    if study.accession_number:
        identifiers.append({"type": hl7_concept("v2-0203", "ACSN", "Accession ID"), "value": study.accession_number})
    series: dict[str, Resource] = {}
    for image in study.images:
        listed = series.setdefault(image.series_instance_uid, {
            "uid": image.series_instance_uid, "modality": {"system": SYSTEMS["DCM"], "code": image.modality or "OT"},
            **({"description": image.series_description} if image.series_description else {}), "instance": [],
        })  # fmt: skip
        instance: Resource = {"uid": image.sop_instance_uid,
                    "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{image.sop_class_uid}"}}  # fmt: skip
        if image.instance_number is not None and image.instance_number >= 0:
            instance["number"] = image.instance_number
        listed["instance"].append(instance)
    resource: Resource = {
        "resourceType": "ImagingStudy",
        "id": resource_id("ImagingStudy", study.study_instance_uid),
        "identifier": identifiers,
        "status": "available",
        "subject": subject(study),
        "numberOfInstances": study.instances,
    }
    if study.modalities:
        resource["modality"] = [{"system": SYSTEMS["DCM"], "code": modality} for modality in study.modalities]
    if study.study_date:
        resource["started"] = study.study_date.isoformat()
    if study.study_description:
        resource["description"] = study.study_description
    if series:
        resource["series"] = list(series.values())
    return resource
