"""The FHIR bundle of a structured report read back: its resources into the record's fields, and these into values.

What FHIR has elements for is read from them (code, value, components, presented form), the rest from our extensions.
Resources, components and extensions that we do not know are of no account.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from radpipe.codes import SIDES, Code
from radpipe.errors import StructureError
from radpipe.observation import StructuredReport
from radpipe.sinks import structured_terms as t
from radpipe.sinks.fhir_resources import SYSTEMS
from radpipe.sinks.structured_escape import unescape
from radpipe.sinks.structured_read import report_of
from radpipe.sinks.terms import CHANGE_SINCE_PRIOR, CHANGES, LATERALITY

Record = dict[str, Any]

_SCHEMES = {system: scheme for scheme, system in SYSTEMS.items()}
_LISTS = frozenset({"locations", "sizes", "devices", "rules", "spans", "mm"})
"""Fields of the record that may have several values: each is an extension of its own."""


def parse(content: bytes) -> StructuredReport:
    """The report that `structured_fhir.render` wrote. Raises StructureError if this is no such bundle."""
    try:
        bundle = json.loads(content)
        return report_of(_record(bundle), None)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise StructureError(f"this is not a bundle of radpipe structure ({type(error).__name__})") from None


def _record(bundle: Record) -> Record:
    resources = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    diagnostic = _only(resources, "DiagnosticReport")
    found = [resources[result["reference"]] for result in diagnostic.get("result", ())]
    return {
        "id": unescape(diagnostic["identifier"][0]["value"]),
        "lexicon": _lexicon(_only(resources, "Device")),
        "text": _text(diagnostic),
        "sections": _extended(diagnostic, "section"),
        "observations": [_observation(resource) for resource in found],
        "recommendations": _extended(diagnostic, "recommendation"),
        "communications": _extended(diagnostic, "communication"),
        "discrepancies": _extended(diagnostic, "discrepancy"),
    }


def _only(resources: Mapping[str, Record], kind: str) -> Record:
    found = [resource for resource in resources.values() if resource["resourceType"] == kind]
    if len(found) != 1:
        raise StructureError(f"this bundle has {len(found)} {kind} resources; that of radpipe structure has one")
    return found[0]


def _lexicon(device: Record) -> str:
    for version in device["version"]:
        if version["type"]["text"] == t.LEXICON.value:
            return unescape(version["value"])
    raise StructureError("this bundle's Device names no lexicon: it is not one of radpipe structure")


def _text(diagnostic: Record) -> str:
    exact = _extended(diagnostic, "text")
    if exact:
        return str(exact[0])
    try:
        return base64.b64decode(diagnostic["presentedForm"][0].get("data", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise StructureError("the bundle's presented form is not base64 of UTF-8 text") from None


def _extended(element: Record, name: str) -> list[Any]:
    """The values of our extensions of that name."""
    url = f"{t.EXTENSION}:{name}"
    return [_value(extension) for extension in element.get("extension", ()) if extension["url"] == url]


def _value(extension: Record) -> Any:
    if "valueString" in extension:
        return unescape(extension["valueString"])
    if "valueCoding" in extension:
        return _code(extension["valueCoding"])
    for name in ("valueInteger", "valueDecimal"):
        if name in extension:
            return extension[name]
    fields: Record = {}
    for below in extension["extension"]:
        if below["url"] in _LISTS:
            fields.setdefault(below["url"], []).append(_value(below))
        else:
            fields[below["url"]] = _value(below)
    return fields


def _code(coding: Record) -> Record:
    exact = _extended(coding, "code")
    if exact:
        return dict(exact[0])
    return {"value": coding["code"], "scheme": _SCHEMES[coding["system"]], "meaning": unescape(coding["display"])}


def _observation(resource: Record) -> Record:
    components = {_key(component["code"]): component for component in resource["component"]}
    quote = components[t.QUOTE.value, t.QUOTE.scheme]
    return {
        "finding": _extended(resource, "finding")[0],
        "code": _code(resource["code"]["coding"][0]),
        "status": _term(resource, t.STATUSES),
        "laterality": _component_term(components, LATERALITY, SIDES),
        "severity": _component_term(components, t.SEVERITY, t.SEVERITIES),
        "change": _component_term(components, CHANGE_SINCE_PRIOR, CHANGES),
        "quote": unescape(quote["valueString"]),
        **_extended(quote, "place")[0],
        "mentions": _extended(resource, "mention"),
    }


def _key(concept: Record) -> tuple[str, str]:
    coding = concept.get("coding", [{}])[0]
    return coding.get("code", ""), _SCHEMES.get(coding.get("system", ""), "")


def _term(element: Record, codes_of: Mapping[Any, Code]) -> str:
    key = _key(element["valueCodeableConcept"])
    found = next((value for value, code in codes_of.items() if (code.value, code.scheme) == key), None)
    return found.value if isinstance(found, StrEnum) else key[0]  # what we do not know is refused by its field's reader


def _component_term(components: Mapping[tuple[str, str], Record], name: Code, codes_of: Mapping[Any, Code]) -> str | None:
    component = components.get((name.value, name.scheme))
    return _term(component, codes_of) if component else None
