r"""Any text as text that DICOM and FHIR take, and back without loss.

Neither takes control characters (PS3.5 6.1.3; FHIR string) but line ends and, of late, TAB, which validators refuse; both
may trim blanks at either end; lone surrogates have no UTF-8. So these, and the backslash that marks them, are written as in
many languages; the rest stays as it is:

    \\       a backslash
    \xHH     a control character but LF and CR; a blank or line end at the very beginning or end
    \uHHHH   a lone surrogate, U+FFFE, U+FFFF (not in XML), another blank at the very beginning or end
    \e       alone: the empty text (an element may not be empty)
"""

from __future__ import annotations

import re

EMPTY = "\\e"

_ODD = re.compile(r"[\\\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]|\A\s|\s\Z")
_ESCAPED = re.compile(r"\\(?:(\\)|x([0-9a-f]{2})|u([0-9a-f]{4}))")


def escape(text: str) -> str:
    """The text as it may be written; never empty."""
    return _ODD.sub(_written, text) if text else EMPTY


def unescape(written: str) -> str:
    """The text that `escape` was given. A backslash that begins no sign of ours stays as it is."""
    return "" if written == EMPTY else _ESCAPED.sub(_meant, written)


def _written(odd: re.Match[str]) -> str:
    letter = odd[0]
    if letter == "\\":
        return "\\\\"
    return f"\\x{ord(letter):02x}" if ord(letter) < 0x100 else f"\\u{ord(letter):04x}"


def _meant(sign: re.Match[str]) -> str:
    return "\\" if sign[1] else chr(int(sign[2] or sign[3], 16))
