"""Coded concepts under which a structured report's fields leave, shared by FHIR and SR.

Standard where pydicom's copy of PS3.16 has the code; else 99RADPIPE. Our own code values have at most 16 characters (SH).
"""

from __future__ import annotations

from radpipe import codes
from radpipe.codes import Code
from radpipe.observation import Assertion, Origin, Part, Severity
from radpipe.report import SectionName
from radpipe.sinks.terms import HEADINGS

EXTENSION = "urn:radpipe:outputs:structured"
"""URL of our FHIR extensions, before ":" and their name: under the namespace of `identifiers`, no registered name."""

STATUSES = {
    Assertion.PRESENT: codes.PRESENT,
    Assertion.ABSENT: codes.ABSENT,
    Assertion.UNCERTAIN: codes.INDETERMINATE,
}
SEVERITIES = {
    Severity.MINIMAL: Code("255605001", "SCT", "Minimal"),
    Severity.SMALL: Code("255507004", "SCT", "Small"),
    Severity.MODERATE: Code("6736007", "SCT", "Moderate"),
    Severity.LARGE: Code("255509001", "SCT", "Large"),
}
ORIGINS = {
    Origin.RULES: Code("rules", "99RADPIPE", "Found by the lexicon's rules"),
    Origin.PROPOSED: Code("proposed", "99RADPIPE", "Proposed by a language model, checked by the rules"),
}
RECOMMENDATIONS = Code("18783-1", "LN", "Recommendations")
COMMUNICATIONS = Code("73568-8", "LN", "Communication of Critical Results")
PARTS = {
    Part.INDICATION: HEADINGS[SectionName.INDICATION],
    Part.TECHNIQUE: HEADINGS[SectionName.TECHNIQUE],
    Part.COMPARISON: HEADINGS[SectionName.COMPARISON],
    Part.FINDINGS: HEADINGS[SectionName.FINDINGS],
    Part.IMPRESSION: HEADINGS[SectionName.IMPRESSION],
    Part.RECOMMENDATION: RECOMMENDATIONS,
    Part.ADDENDUM: HEADINGS[SectionName.ADDENDUM],
    Part.UNHEADED: Code("unheaded", "99RADPIPE", "Text without a heading"),
}
"""PS3.16 CID 7001 where it has the section."""

MODALITIES = {
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "CT": Code("CT", "DCM", "Computed Tomography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
    "MG": Code("MG", "DCM", "Mammography"),
    "MR": Code("MR", "DCM", "Magnetic Resonance"),
    "NM": Code("NM", "DCM", "Nuclear Medicine"),
    "PT": Code("PT", "DCM", "Positron emission tomography"),
    "US": Code("US", "DCM", "Ultrasound"),
    "XA": Code("XA", "DCM", "X-Ray Angiography"),
    "RF": Code("RF", "DCM", "Radiofluoroscopy"),
}
"""PS3.16 CID 29."""

REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
FINDING = Code("121071", "DCM", "Finding")
FINDINGS = Code("59776-5", "LN", "Findings")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
SEVERITY = Code("246112005", "SCT", "Severity")
LENGTH = Code("410668003", "SCT", "Length")
MODALITY = Code("121139", "DCM", "Modality")
RECOMMENDATION = Code("121075", "DCM", "Recommendation")
COMMUNICATED = Code("121291", "DCM", "Results communicated")
MILLIMETRE = Code("mm", "UCUM", "mm")
CHARACTERS = Code("{characters}", "UCUM", "characters")
DAYS = Code("d", "UCUM", "days")

REPORT_ID = Code("report-id", "99RADPIPE", "Report identifier")
LEXICON = Code("lexicon", "99RADPIPE", "Lexicon and rules that read the text")
AS_WRITTEN = Code("as-written", "99RADPIPE", "Report as written")
BETWEEN = Code("between", "99RADPIPE", "Heading or blank between sections")
SECTIONS = Code("sections", "99RADPIPE", "Sections of the report")
SECTION = Code("section", "99RADPIPE", "Section")
HEADING = Code("heading", "99RADPIPE", "Heading as written")
OBSERVATION = Code("observation", "99RADPIPE", "What the report says of a finding")
MENTION = Code("mention", "99RADPIPE", "Place where the report speaks of it")
FINDING_NAME = Code("finding-name", "99RADPIPE", "Finding of this mention")
QUOTE = Code("quote", "99RADPIPE", "Quote")
START = Code("start", "99RADPIPE", "First character, counted from 0")
END = Code("end", "99RADPIPE", "Character after the last, counted from 0")
LEAST = Code("least", "99RADPIPE", "Lower end of the range stated")
DEVICE = Code("device", "99RADPIPE", "Device")
NAME = Code("name", "99RADPIPE", "Name in the report")
POSITION = Code("position", "99RADPIPE", "Position of tip or end, as written")
RULE = Code("rule", "99RADPIPE", "Rule that fired")
ORIGIN = Code("origin", "99RADPIPE", "Origin of the statement")
ACTION = Code("action", "99RADPIPE", "Recommended action")
LEAST_DAYS = Code("least-days", "99RADPIPE", "Recommended interval, lower end")
MOST_DAYS = Code("most-days", "99RADPIPE", "Recommended interval, upper end")
INTERVAL = Code("interval", "99RADPIPE", "Recommended interval, as written")
CONDITION = Code("condition", "99RADPIPE", "Condition of the recommendation, as written")
TO_WHOM = Code("to-whom", "99RADPIPE", "Told to, as written")
WHEN = Code("when", "99RADPIPE", "Told when, as written")
HOW = Code("how", "99RADPIPE", "Told how, as written")
DISCREPANCIES = Code("discrepancies", "99RADPIPE", "Discrepancies for a human to look at")
DISCREPANCY = Code("discrepancy", "99RADPIPE", "Discrepancy")
KIND = Code("kind", "99RADPIPE", "Kind")
NOT_CODED = Code("not-codable", "99RADPIPE", "Code that DICOM cannot carry, as text")
VALUE = Code("value", "99RADPIPE", "Code value")
SCHEME = Code("scheme", "99RADPIPE", "Coding scheme designator")
MEANING = Code("meaning", "99RADPIPE", "Code meaning")
