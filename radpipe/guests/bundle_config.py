"""A MONAI bundle's configuration, read as data.

MONAI's own ConfigParser runs what a bundle says: `"$..."` is any Python expression, `"_target_"` any callable. Here nothing
is run. References ("@name", "@name#key") are followed, and of "$" expressions only arithmetic on literals, choices between
them and a few well-known constants are computed, by this module and not by `eval`. Only the entries that are asked for are
looked at, so what a bundle would do elsewhere ("imports", "initialize", "run", handlers) is neither run nor in the way.

The layout is that of the MONAI model zoo: https://docs.monai.io/en/stable/bundle_intro.html
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from radpipe.errors import WeightsError

LARGEST_BYTES = 4 << 20
MOST_NODES = 100_000
DEEPEST = 60

_REFERENCE = re.compile(r"@([A-Za-z_][\w]*(?:(?:#|::)[\w-]+)*)")

_WHOLE = re.compile(r"\$?" + _REFERENCE.pattern)
"""A text that is nothing but a reference."""

_CONSTANTS: dict[str, Any] = {
    "torch.float32": "float32", "torch.float": "float32", "torch.float16": "float16", "torch.float64": "float64",
    "torch.uint8": "uint8", "torch.int64": "int64", "torch.long": "int64", "torch.bool": "bool",
    "np.float32": "float32", "numpy.float32": "float32", "np.uint8": "uint8", "numpy.uint8": "uint8",
    "np.float64": "float64", "numpy.float64": "float64", "np.int64": "int64", "numpy.int64": "int64",
    "monai.utils.CommonKeys.IMAGE": "image", "monai.utils.CommonKeys.LABEL": "label",
    "monai.utils.CommonKeys.PRED": "pred",
    "monai.utils.enums.CommonKeys.IMAGE": "image", "monai.utils.enums.CommonKeys.PRED": "pred",
}  # fmt: skip
"""Dotted names that stand for a constant. Nothing else with a dot is looked up."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip


class BundleConfig:
    """The entries of an inference configuration, resolved when asked for.

    `overrides`: "a#b" -> literal, in the place of what the bundle says. The bundle's root counts as ".".
    """

    def __init__(self, entries: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> None:
        self._entries: dict[str, Any] = dict(entries)
        for name, value in {"bundle_root": ".", **(overrides or {})}.items():
            self._set(name, value)
        self._nodes = 0

    @classmethod
    def parse(cls, content: bytes, name: str, overrides: Mapping[str, Any] | None = None) -> BundleConfig:
        """From the bytes of inference.json or inference.yaml. Raises WeightsError."""
        if len(content) > LARGEST_BYTES:
            raise WeightsError(f"{name} has {len(content)} bytes: too large to be a bundle's configuration")
        return cls(read_mapping(content, name), overrides)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def get(self, name: str) -> Any:
        """The entry `name` ("a#b" within it) with all references followed: literals, lists, dicts.

        Raises WeightsError that names the entry which cannot be had without running code.
        """
        self._nodes = 0
        return self._resolved(self._raw(name, name), name, (name,), 0)

    def literal_or_none(self, name: str) -> Any:
        """As `get`, but None where the entry is missing or is code."""
        try:
            return self.get(name)
        except WeightsError:
            return None

    def parts(self, name: str) -> tuple[str, ...]:
        """The names of the items of a list, or of the entries of a table, without resolving them; () of anything else."""
        found = self._raw(f"{name}", name)
        for _ in range(DEEPEST):
            reference = _WHOLE.fullmatch(found) if isinstance(found, str) else None
            if reference is None:
                break
            name, found = reference[1], self._raw(reference[1], name)
        keys = (
            list(found)
            if isinstance(found, dict)
            else [str(n) for n in range(len(found))]
            if isinstance(found, list)
            else []
        )
        return tuple(f"{name}#{key}" for key in keys)

    def _set(self, name: str, value: Any) -> None:
        *parents, last = re.split("#|::", name)
        table: Any = self._entries
        for parent in parents:
            if not isinstance(table, dict) or parent not in table:
                raise WeightsError(f"the bundle has no entry {name!r} to override")
            table[parent] = dict(table[parent]) if isinstance(table[parent], dict) else table[parent]
            table = table[parent]
        if not isinstance(table, dict):
            raise WeightsError(f"the bundle has no entry {name!r} to override")
        table[last] = value

    def _raw(self, name: str, where: str) -> Any:
        found: Any = self._entries
        for part in re.split("#|::", name):
            for _ in range(DEEPEST):
                reference = _WHOLE.fullmatch(found) if isinstance(found, str) else None
                if reference is None or reference[1] == name:
                    break
                found = self._raw_shallow(reference[1])
            if isinstance(found, dict) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise WeightsError(f"{where} of the bundle's configuration refers to {name!r}, which it does not have")
        return found

    def _raw_shallow(self, name: str) -> Any:
        """An entry by a path that passes through no reference, or None."""
        found: Any = self._entries
        for part in re.split("#|::", name):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def _resolved(self, value: Any, where: str, chain: tuple[str, ...], depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > DEEPEST:
            raise WeightsError(f"{where} of the bundle's configuration grows without end")
        if isinstance(value, dict):
            return {key: self._resolved(item, f"{where}#{key}", chain, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item, f"{where}#{number}", chain, depth + 1) for number, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if value.startswith("$"):
            return self._expression(value[1:], where, chain, depth)
        if value.startswith("%"):
            raise WeightsError(
                f"{where} of the bundle's configuration takes text from another file ({value!r}): not supported"
            )
        reference = _REFERENCE.fullmatch(value)
        return self._followed(reference[1], where, chain, depth) if reference else value

    def _followed(self, name: str, where: str, chain: tuple[str, ...], depth: int) -> Any:
        if name in chain:
            raise WeightsError(f"{where} of the bundle's configuration refers to itself through {name!r}")
        return self._resolved(self._raw(name, where), name, (*chain, name), depth + 1)

    def _expression(self, source: str, where: str, chain: tuple[str, ...], depth: int) -> Any:
        names: dict[str, str] = {}

        def named(match: re.Match[str]) -> str:
            names[f"__reference_{len(names)}"] = match[1]
            return f"__reference_{len(names) - 1}"

        refusal = f"{where} of the bundle's configuration is Python code ({_short(source)}), which radpipe does not run"
        if len(source) > 2000:
            raise WeightsError(refusal)
        try:
            tree = ast.parse(_REFERENCE.sub(named, source).strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise WeightsError(refusal) from error
        evaluator = _Evaluator(lambda name: self._followed(names[name], where, chain, depth), set(names))
        try:
            return evaluator.value(tree, 0)
        except (_NotLiteral, TypeError, ArithmeticError, LookupError) as error:
            raise WeightsError(refusal) from error


class _NotLiteral(Exception):
    """The expression is more than literals, references and arithmetic."""


class _Evaluator:
    """Computes an expression of literals. It has no access to any object but numbers, texts, lists and dicts."""

    def __init__(self, follow: Callable[[str], Any], references: set[str]) -> None:
        self._follow, self._references = follow, references

    def value(self, node: ast.expr, depth: int) -> Any:
        if depth > DEEPEST:
            raise _NotLiteral
        deeper = depth + 1
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as literal):
                return literal
            case ast.Name(id=name) if name in self._references:
                return self._follow(name)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item, deeper) for item in items]
            case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
                pairs = zip(keys, values, strict=True)
                return {self.value(key, deeper): self.value(item, deeper) for key, item in pairs if key is not None}
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self.value(body if self.value(test, deeper) else otherwise, deeper)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(self.value(operand, deeper))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.value(operand, deeper)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                return self._combined(sign, self.value(left, deeper), self.value(right, deeper))
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARE:
                return _COMPARE[type(sign)](self.value(left, deeper), self.value(right, deeper))
            case ast.BoolOp(op=sign, values=values):
                found = [self.value(item, deeper) for item in values]
                return all(found) if isinstance(sign, ast.And) else any(found)
            case ast.Attribute() if (dotted := ast.unparse(node)) in _CONSTANTS:
                return _CONSTANTS[dotted]
            case ast.Call(func=function, args=parts, keywords=[]) if ast.unparse(function) == "os.path.join":
                return "/".join(self._text(self.value(part, deeper)) for part in parts)
        raise _NotLiteral

    def _combined(self, sign: ast.operator, left: Any, right: Any) -> Any:
        if isinstance(sign, ast.Add) and isinstance(left, str) and isinstance(right, str) and len(left + right) < 10_000:
            return left + right
        if isinstance(sign, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return left + right
        return _BINARY[type(sign)](self._number(left), self._number(right))

    @staticmethod
    def _number(value: Any) -> Any:
        if not isinstance(value, (int, float)) or abs(value) > 1e18:
            raise _NotLiteral
        return value

    @staticmethod
    def _text(value: Any) -> str:
        if not isinstance(value, str):
            raise _NotLiteral
        return value


def read_mapping(content: bytes, name: str) -> dict[str, Any]:
    """A JSON or YAML file's top-level table. YAML is read by its safe loader. Raises WeightsError."""
    try:
        if name.endswith((".yaml", ".yml")):
            import yaml  # type: ignore[import-untyped]

            try:
                found = yaml.safe_load(content)
            except yaml.YAMLError as error:
                raise ValueError(str(error).splitlines()[0]) from error
        else:
            found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{name} of the bundle is not readable ({type(error).__name__}): {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{name} of the bundle is not a table of entries")
    return found


def _short(source: str) -> str:
    return repr(f"${source}" if len(source) <= 80 else f"${source[:77]}...")
