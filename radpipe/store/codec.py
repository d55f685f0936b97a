"""Values of the house to JSON documents and back, by their type hints.

A document is canonical: keys sorted, no blanks, ASCII, so that equal values have equal text and one SHA-256. Fields
that hold nothing (None, "", ()) and whose default is the same nothing are left out. Reading tolerates unknown fields
(a newer radpipe wrote them) and missing fields that have a default (an older one did not know them).

Timestamps must know their time zone and are written in UTC; numbers must be finite.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from radpipe.errors import DraftError, StoreError

Value = TypeVar("Value")
_Convert = Callable[[Any], Any]


class _MisfitError(Exception):
    """A field does not hold what its hint says. Names types and fields, never the value: it may be a patient's."""


def encode(value: object) -> str:
    """A frozen value as a canonical JSON document. Raises StoreError for what cannot be kept unchanged."""
    try:
        return canonical(_encoder(cast(Any, type(value)))(value))
    except _MisfitError as misfit:
        raise StoreError(f"a {type(value).__name__} cannot be stored: {misfit}") from None


def decode(kind: type[Value], document: str) -> Value:
    """The value of this kind that `encode` wrote. Raises StoreError if the document does not hold one."""
    try:
        return cast(Value, _decoder(cast(Any, kind))(json.loads(document)))
    except (_MisfitError, DraftError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error) if isinstance(error, _MisfitError | DraftError) else type(error).__name__
        raise StoreError(f"a stored {kind.__name__} cannot be read ({reason}); run `radpipe audit verify`") from None


def canonical(document: object) -> str:
    """JSON with sorted keys, no blanks, ASCII only."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256(content: str | bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def storable(text: str) -> str:
    """Text for a column: NUL and lone surrogates (in file names that are not UTF-8) escaped; no database takes them."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


@cache
def _encoder(hint: Any) -> _Convert:
    if is_dataclass(hint):
        return _dataclass_encoder(cast(type, hint))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        inner = _encoder(_not_none(hint, arguments))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        return _tuple_converter(arguments, _encoder, tuple, list)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return lambda value: _expect(value, hint).value
    simple: dict[Any, _Convert] = {
        str: lambda value: str(_expect(value, str)),
        bool: lambda value: bool(_expect(value, bool)),
        int: _whole_number,
        float: _finite_number,
        datetime: _utc_text,
        date: lambda value: _plain_date(value).isoformat(),
        time: lambda value: _expect(value, time).isoformat(),
        Path: lambda value: str(_expect(value, Path)),
    }
    return simple[hint]


def _dataclass_encoder(cls: type) -> _Convert:
    hints = get_type_hints(cls)
    plan = [(field.name, _encoder(hints[field.name]), field.default) for field in fields(cls)]
    empty = [default is None or default == "" or default == () for _, _, default in plan]

    def encode_fields(value: Any) -> dict[str, Any]:
        _expect(value, cls)
        document: dict[str, Any] = {}
        for (name, convert, default), may_go in zip(plan, empty, strict=True):
            held = getattr(value, name)
            if may_go and held == default:
                continue
            try:
                document[name] = convert(held)
            except _MisfitError as misfit:
                raise _MisfitError(f"{name}: {misfit}") from None
        return document

    return encode_fields


@cache
def _decoder(hint: Any) -> _Convert:
    if is_dataclass(hint):
        return _dataclass_decoder(cast(type, hint))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        inner = _decoder(_not_none(hint, arguments))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        return _tuple_converter(arguments, _decoder, list, tuple)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        # a dict look-up is four times as fast as calling the enum; a worklist has some hundred thousand of them
        members = {member.value: member for member in hint}
        return lambda value: members[value]
    simple: dict[Any, _Convert] = {
        str: lambda value: _expect(value, str),
        bool: lambda value: _expect(value, bool),
        int: lambda value: _expect(value, int),
        float: lambda value: value if type(value) is float else float(_expect(value, int)),
        datetime: datetime.fromisoformat,
        date: date.fromisoformat,
        time: time.fromisoformat,
        Path: Path,
    }
    return simple[hint]


def _dataclass_decoder(cls: type) -> _Convert:
    hints = get_type_hints(cls)
    converters = {field.name: _decoder(hints[field.name]) for field in fields(cls)}
    required = frozenset(
        field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING
    )

    def decode_fields(document: dict[str, Any]) -> Any:
        known = {name: converters[name](held) for name, held in document.items() if name in converters}
        if not required <= known.keys():
            raise _MisfitError(f"{cls.__name__} lacks {', '.join(sorted(required - known.keys()))}")
        return cls(**known)

    return decode_fields


def _tuple_converter(
    arguments: tuple[Any, ...], converter: Callable[[Any], _Convert], source: type, target: Callable[[Any], Any]
) -> _Convert:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        each = converter(arguments[0])
        return lambda value: target([each(item) for item in _expect(value, source)])
    parts = [converter(argument) for argument in arguments]

    def convert_parts(value: Any) -> Any:
        if len(_expect(value, source)) != len(parts):
            raise _MisfitError(f"{len(parts)} items expected, {len(value)} found")
        return target([convert(item) for convert, item in zip(parts, value, strict=True)])

    return convert_parts


def _not_none(hint: Any, arguments: tuple[Any, ...]) -> Any:
    kinds = [argument for argument in arguments if argument is not NoneType]
    if len(kinds) != 1:
        raise TypeError(f"{hint} has no single JSON form; a stored field is one type, or that type or None")
    return kinds[0]


def _expect(value: Any, kind: type) -> Any:
    if type(value) is kind or isinstance(value, kind):
        return value
    raise _MisfitError(f"{kind.__name__} expected, {type(value).__name__} found")


def _whole_number(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise _MisfitError(f"int expected, {type(value).__name__} found") from None


def _finite_number(value: Any) -> float:
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise _MisfitError(f"float expected, {type(value).__name__} found")
    number = float(value)
    if not math.isfinite(number):
        raise _MisfitError("the number is not finite")
    return number


def _plain_date(value: Any) -> date:
    if isinstance(value, datetime):
        raise _MisfitError("date expected, datetime found")
    return cast(date, _expect(value, date))


def _utc_text(value: Any) -> str:
    moment = cast(datetime, _expect(value, datetime))
    if moment.tzinfo is None:
        raise _MisfitError("the timestamp has no time zone; use UTC")
    return moment.astimezone(UTC).isoformat()
