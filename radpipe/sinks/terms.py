"""Coded concepts that the outputs share: what a report says of a finding, and the names under which it says it.

Where PS3.16 or SNOMED CT has no code that could be verified the scheme is 99RADPIPE (see `radpipe.codes`).
"""

from __future__ import annotations

from radpipe import codes
from radpipe.codes import Code
from radpipe.finding import ChangeKind, Decision
from radpipe.report import SectionName

PRESENCE = {
    Decision.PRESENT: codes.PRESENT,
    Decision.ABSENT: codes.ABSENT,
    Decision.UNSURE: codes.INDETERMINATE,
}
CHANGES = {
    ChangeKind.NEW: codes.NEW,
    ChangeKind.INCREASED: codes.INCREASED,
    ChangeKind.DECREASED: codes.DECREASED,
    ChangeKind.UNCHANGED: codes.UNCHANGED,
    ChangeKind.RESOLVED: codes.RESOLVED,
    ChangeKind.NOT_COMPARABLE: Code("not-comparable", "99RADPIPE", "Not comparable"),
}
PROBABILITY = Code("122157", "DCM", "Probability")
PRESENCE_OF_PROPERTY = Code("121052", "DCM", "Presence of property")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
LATERALITY = Code("272741003", "SCT", "Laterality")
SOURCE = Code("260753009", "SCT", "Source")
THRESHOLD = Code("threshold", "99RADPIPE", "Present at and above this probability")
CHANGE_SINCE_PRIOR = Code("change-prior", "99RADPIPE", "Change since prior study")
PRIOR_IMAGE = Code("prior-image", "99RADPIPE", "Prior image compared with")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")

HEADINGS = {
    SectionName.INDICATION: Code("18785-6", "LN", "Indications for Procedure"),
    SectionName.TECHNIQUE: Code("55111-9", "LN", "Current Procedure Descriptions"),
    SectionName.COMPARISON: Code("55114-3", "LN", "Prior Procedure Descriptions"),
    SectionName.FINDINGS: Code("59776-5", "LN", "Findings"),
    SectionName.IMPRESSION: Code("19005-8", "LN", "Impressions"),
    SectionName.NOT_ASSESSED: Code("not-assessed", "99RADPIPE", "Not assessed by this model"),
    SectionName.ADDENDUM: Code("55107-7", "LN", "Addendum"),
}
"""A section's heading (PS3.16 CID 7001)."""

SENTENCES = HEADINGS | {
    SectionName.TECHNIQUE: Code("121065", "DCM", "Procedure Description"),
    SectionName.FINDINGS: Code("121071", "DCM", "Finding"),
    SectionName.IMPRESSION: Code("121073", "DCM", "Impression"),
}
"""A sentence of the section: CID 7002 has an element for some headings."""
