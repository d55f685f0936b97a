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
    from radpipe.desk import Desk
    from radpipe.language import LanguageModel
    from radpipe.pipeline import Pipeline
    from radpipe.ports import ImageModel
    from radpipe.store import SqlStore
    from radpipe.store.keep import FolderKeep
    from radpipe.triage import Rules


def weights_folder(settings: Settings) -> Path:
    """The site's weights, else those that ship: in the installed package, or beside it in a clone."""
    if settings.weights != Path(""):
        return settings.weights
    package = Path(__file__).resolve().parent.parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def card_of(settings: Settings) -> ModelCard:
    """The card of the model that the settings name."""
    return read_card(weights_folder(settings) / settings.model / "card.toml")


class LazyModel:
    """Opens the model once, on first use, from whichever thread comes first."""

    def __init__(self, settings: Settings, card: ModelCard) -> None:
        self._settings, self._card = settings, card
        self._lock = Lock()
        self._model: ImageModel | None = None

    def __call__(self) -> ImageModel:
        with self._lock:
            if self._model is None:
                from radpipe.models import open_model

                settings = self._settings
                self._model = open_model(self._card, settings.backend, settings.device, settings.threads)
            return self._model


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
    return Pipeline(
        store=open_the_store(settings, make=True),
        keep=open_keep(settings),
        source=FolderSource(paths),
        model=LazyModel(settings, card),
        rules=rules,
        configuration_sha256=settings.configuration_sha256(repr(rules).encode()),
        model_sha256=card.sha256,
        input_spec=card.input,
        batch_studies=settings.batch_studies,
    )


def open_desk(settings: Settings) -> Desk:
    """The desk over an existing store."""
    from radpipe.desk import Desk
    from radpipe.sources.folder import FolderSource

    return Desk(store=open_the_store(settings), keep=open_keep(settings), read_file=FolderSource([settings.store]).read)
