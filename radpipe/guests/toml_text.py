"""TOML written out: texts, numbers, booleans, lists of them, tables. (The standard library only reads it.)"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def toml_value(value: Any) -> str:
    """One value. Raises TypeError for what a card does not hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # JSON's text in quotes is a TOML basic string but for DEL, which TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    raise TypeError(f"a card holds no {type(value).__name__}")


def toml_table(name: str, entries: Mapping[str, Any], *, array: bool = False) -> str:
    """A table with its header; `array` for one of an array of tables."""
    header = f"[[{name}]]" if array else f"[{name}]"
    return "\n".join([header, *(f"{_key(key)} = {toml_value(value)}" for key, value in entries.items())]) + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)
