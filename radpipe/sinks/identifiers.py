"""Identifiers that are the same whenever the same report is rendered, and people's and times' forms on the wire."""

from __future__ import annotations

import uuid
from datetime import datetime

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:radpipe:outputs")


def stable_uuid(*parts: str | int) -> uuid.UUID:
    """A name-based UUID (RFC 4122, version 5) of `parts`."""
    return uuid.uuid5(_NAMESPACE, "\n".join(str(part) for part in parts))


def stable_uid(*parts: str | int) -> str:
    """A UUID-derived DICOM UID (PS3.5 B.2) of `parts`."""
    return f"2.25.{stable_uuid(*parts).int}"


def person_name(name: str) -> str:
    """A DICOM PN: as it is if it has components; of a plain name the last word is taken as the family name."""
    if "^" in name or "=" in name:
        return name
    *given, family = name.split() or [""]
    return f"{family}^{' '.join(given)}"


def name_parts(name: str) -> tuple[str, str, str, str, str]:
    """Family, given, middle, prefix, suffix of a PN's first component group that is not empty (PS3.5 6.2.1.1)."""
    group = next((group for group in name.split("=") if group.strip(" ^")), "")
    family, given, middle, prefix, suffix = ([part.strip() for part in group.split("^")] + [""] * 5)[:5]
    return family, given, middle, prefix, suffix


def plain_name(name: str) -> str:
    """A PN as a reader expects it: "family^given^middle^prefix^suffix" -> "prefix given middle family suffix"."""
    family, given, middle, prefix, suffix = name_parts(name)
    return " ".join(part for part in (prefix, given, middle, family, suffix) if part)


def timestamp(at: datetime, *, fraction: bool = False) -> str:
    """A DICOM DT and HL7 TS: YYYYMMDDHHMMSS[.FFFFFF] with the offset from UTC where `at` has one."""
    return at.strftime("%Y%m%d%H%M%S.%f%z" if fraction else "%Y%m%d%H%M%S%z")
