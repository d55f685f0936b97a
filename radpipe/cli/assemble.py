"""The parts put together from settings: store, source, model, pipeline, desk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from radpipe.card import ModelCard, read_card
from radpipe.errors import StoreError, UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from radpipe.calibration import SiteCalibration
    from radpipe.desk import Desk
    from radpipe.language import LanguageModel
    from radpipe.pipeline import Pipeline
    from radpipe.ports import ImageModel
    from radpipe.store import SqlStore
    from radpipe.store.keep import FolderKeep
    from radpipe.triage import Rules


GATEKEEPER, GATE_BODY_PART = "chest-dinov2s", "CHEST"
"""The shipped reader that tells view, orientation and distance for guests that do not."""


def weights_folder(settings: Settings) -> Path:
    """The site's weights, else those that ship: in the installed package, or beside it in a clone."""
    return settings.weights if settings.weights != Path("") else shipped_weights()


def shipped_weights() -> Path:
    """In the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def card_of(settings: Settings) -> ModelCard:
    """The card of the model that the settings name, as this site calibrated it."""
    card = read_card(weights_folder(settings) / settings.model / "card.toml")
    calibration = calibration_of(settings)
    if calibration is None:
        return card
    from radpipe.calibration import calibrated_card

    return calibrated_card(card, calibration)


def calibration_of(settings: Settings) -> SiteCalibration | None:
    """What `radpipe calibrate` wrote for this site, if the settings name it. Raises WeightsError."""
    if settings.calibration == Path(""):
        return None
    from radpipe.calibration import read_calibration

    return read_calibration(settings.calibration)


class LazyModel:
    """Opens the model once, on first use, from whichever thread comes first."""

    def __init__(self, settings: Settings, card: ModelCard) -> None:
        self._settings, self._card = settings, card
        self._lock = Lock()
        self._model: ImageModel | None = None

    def __call__(self) -> ImageModel:
        with self._lock:
            if self._model is None:
                self._model = _opened(self._settings, self._card)
            return self._model


def _opened(settings: Settings, card: ModelCard) -> ImageModel:
    """The card's network with what belongs to it: the lung segmenter, a gatekeeper, the site's calibration."""
    from radpipe.calibration import CalibratedModel, is_calibrated
    from radpipe.examine import Examiner, Gated
    from radpipe.models import open_model

    model = open_model(card, settings.backend, settings.device, settings.threads)
    if card.lungs:
        from radpipe.models.lungs import open_lungs

        folder = card.directory.parent / card.lungs
        model = Examiner(model, open_lungs(folder, model.backend, settings.device, settings.threads))
    elif (gate := gatekeeper_of(card)) is not None:
        model = Gated(model, _opened(settings, gate))
    if is_calibrated(card) and (calibration := calibration_of(settings)) is not None:
        model = CalibratedModel(model, calibration)
    return model


def gatekeeper_of(card: ModelCard) -> ModelCard | None:
    """The shipped reader, for a chest model that does not tell views and what it must not read; None for others."""
    if card.sees or card.input.body_part != GATE_BODY_PART:
        return None
    return read_card(shipped_weights() / GATEKEEPER / "card.toml")


def lungs_of(card: ModelCard) -> str:
    """The identity of the lung segmenter that measures for the card's model, or for its gatekeeper; "" where none does."""
    card = gatekeeper_of(card) or card
    if not card.lungs:
        return ""
    from radpipe.models.lungs import read_lung_card

    return read_lung_card(card.directory.parent / card.lungs / "card.toml").identity


def open_the_store(settings: Settings, *, make: bool = False) -> SqlStore:
    """The store; made when `make`, else a UsageError where there is none. Raises StoreError where it cannot be made."""
    if make:
        try:
            settings.store.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StoreError(f"the store {settings.store} is a file, not a folder; name another with --store") from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StoreError(f"cannot make the store {settings.store}: {reason}; name another with --store") from error
    elif not settings.database_url and not (settings.store / "radpipe.db").exists():
        raise UsageError(f"no store at {settings.store}; make one with `radpipe run PATH --store {settings.store}`")
    from radpipe.store import open_store

    return open_store(settings.sqlalchemy_url)


def open_keep(settings: Settings) -> FolderKeep:
    """What is kept of images, beside the database."""
    from radpipe.store.keep import FolderKeep

    return FolderKeep(settings.store / "keep")


def rules_of(settings: Settings) -> Rules:
    """The site's triage rules, else those that ship."""
    from radpipe import triage

    return triage.read_rules(triage.RULES_PATH if settings.triage_rules == Path("") else settings.triage_rules)


def open_site_language_model(settings: Settings) -> LanguageModel | None:
    """The language model that the settings name, or None. Raises what `radpipe.language.open_language_model` raises."""
    from radpipe.language import open_language_model

    return open_language_model(
        url=settings.language_url, model=settings.language_model, api_key=settings.language_api_key,
        timeout_s=settings.language_timeout_s, file=settings.language_file, insecure=bool(settings.language_insecure),
    )  # fmt: skip


def open_pipeline(settings: Settings, paths: Sequence[Path]) -> Pipeline:
    """Everything that `run` needs; the model is opened later."""
    from radpipe.pipeline import Pipeline
    from radpipe.sources.folder import FolderSource

    card = card_of(settings)
    rules = rules_of(settings)
    calibration = calibration_of(settings)
    gate = gatekeeper_of(card)
    decided_by = repr(rules) + (calibration.sha256 if calibration else "") + (gate.sha256 if gate else "")
    return Pipeline(
        store=open_the_store(settings, make=True),
        keep=open_keep(settings),
        source=FolderSource(paths),
        model=LazyModel(settings, card),
        rules=rules,
        configuration_sha256=settings.configuration_sha256(decided_by.encode()),
        model_sha256=card.sha256,
        input_spec=card.input,
        lungs=lungs_of(card),
        batch_studies=settings.batch_studies,
    )


def open_desk(settings: Settings) -> Desk:
    """The desk over an existing store."""
    from radpipe.desk import Desk
    from radpipe.sources.folder import FolderSource

    return Desk(store=open_the_store(settings), keep=open_keep(settings), read_file=FolderSource([settings.store]).read)
