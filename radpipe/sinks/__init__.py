"""The forms in which a report leaves: DICOM SR, FHIR, HL7 v2, JSON, text and a page.

Each module has `suffix` and a pure `render(reading, report, ...) -> bytes`: the same reading and report give the same
bytes. `text`, `json_report`, `fhir` and `hl7` are `ports.Sink`s as they stand; `dicom_sr` also needs the headers of the
source images and `html` their pictures, so those two are given them. Sending is not done here.
"""
