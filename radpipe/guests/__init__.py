"""Models that others trained, made into models of ours: `import_guest` is the way in; docs/guests.md is for its users.

    xrv        torchxrayvision's DenseNet and ResNet
    open_clip  image-text models, made into a reader by sentences
    onnx       any ONNX graph with a card
    bundle     MONAI bundles, 2D and 3D

Nothing here runs code that a file of weights brings. An import is whole or it leaves nothing behind.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from radpipe.errors import BackendUnavailable, UsageError
from radpipe.guests.imported import Asked, Imported

__all__ = ["KINDS", "Asked", "Imported", "import_guest", "kind_of"]

KINDS = ("auto", "xrv", "open_clip", "onnx", "bundle")

HUB = "hf-hub:"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def import_guest(
    source: str, out: Path, name: str, kind: str = "auto", asked: Asked | None = None, *, replace: bool = False
) -> Imported:
    """Import `source` (a file, a folder or hf-hub:ORG/NAME) as OUT/NAME.

    Raises UsageError for what cannot be asked, WeightsError with one line of reason for what is refused, BackendUnavailable
    for a package or network that is missing.
    """
    asked = asked or Asked()
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r}; choose one of {', '.join(KINDS)}")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a model: use letters, digits, . - and _")
    target = out / name
    if target.exists() and not replace:
        raise UsageError(f"{target} is there already; choose another --name, or --replace it")
    if not source.startswith(HUB) and not Path(source).exists():
        raise UsageError(f"{source} does not exist")
    kind = kind_of(source) if kind == "auto" else kind
    if kind == "bundle":
        return _bundle(source, out, name, asked, replace)
    make = _importer(kind)
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=out))
    try:
        made = make(source, work, name, asked)
        if target.exists():
            shutil.rmtree(target)
        work.chmod(0o755)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Imported(target, made.name, made.role, made.report, made.unset, made.to_fill, made.notes)


def kind_of(source: str) -> str:
    """What a source is, by its name and content. Raises UsageError if that cannot be told."""
    path = Path(source)
    if source.startswith(HUB) or (path / "open_clip_config.json").is_file():
        return "open_clip"
    if path.suffix == ".onnx":
        return "onnx"
    if (path / "configs" / "metadata.json").is_file() or (path / "configs").is_dir() or path.suffix in (".zip", ".ts"):
        return "bundle"
    if path.is_file() and path.suffix in (".pt", ".pth", ".bin", ".safetensors", ".ckpt", ".tar"):
        _needs_torch()
        from radpipe.guests.checkpoint import read_checkpoint
        from radpipe.guests.xrv import looks_like

        if looks_like(read_checkpoint(path, modules=True)):
            return "xrv"
    raise UsageError(f"cannot tell what {source} is; say with --as one of {', '.join(KINDS[1:])}")


def _importer(kind: str) -> Callable[[str, Path, str, Asked], Imported]:
    if kind == "onnx":
        from radpipe.guests.onnx_guest import import_onnx

        return lambda source, work, name, asked: import_onnx(Path(source), work, name, asked)
    _needs_torch()
    if kind == "xrv":
        from radpipe.guests.xrv import import_xrv

        return lambda source, work, name, asked: import_xrv(Path(source), work, name, asked)
    from radpipe.guests.clip import import_open_clip

    return import_open_clip


def _bundle(source: str, out: Path, name: str, asked: Asked, replace: bool) -> Imported:
    _needs_torch()
    from radpipe.guests.bundle import import_bundle

    if source.startswith(HUB):
        raise UsageError("a bundle is a folder or a zip: download it first")
    made = import_bundle(
        Path(source),
        out,
        name,
        findings=dict(asked.findings),
        licence=asked.licence,
        replace=replace,
        body_part=asked.body_part,
        onnx=asked.onnx,
    )
    notes = (*made.notes, *(() if made.onnx.made else (f"no ONNX: {made.onnx.why}",)))
    return Imported(made.directory, name, made.role, None, (), (), notes)


def _needs_torch() -> None:
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        raise BackendUnavailable("importing weights needs torch; install 'radpipe[gpu,train]' in an environment of its own")
