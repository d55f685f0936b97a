"""What can go wrong, as one tree. Every message says what happened, to which object, and what to do.

    RadpipeError
    |- UsageError             the user asked for something that cannot be; exit status 2
    |  |- SettingsError       an unknown or unusable setting
    |- InputError             an input cannot be used: it is set aside with this reason, the others go on
    |  |- ImageError          its pixels cannot be read or shown
    |- ModelError
    |  |- WeightsError        a weights file is missing, damaged or not the one its card names
    |  |- BackendUnavailable  the backend or device asked for is not installed or does not load here
    |- FlowError              the engine that executes (Prefect) does not work; the store is whole
    |- StructureError         a structured report that may not be built (a quote that is not in the text), or a bad lexicon
    |- DraftError             a sentence or report that may not be built (no evidence; change without a prior)
    |- SignOffError
    |  |- NotAllowed          this person's role may not do this
    |  |- AlreadySigned       a signed report does not change; write an addendum
    |- StoreError
    |  |- UnknownKey          no study or report has this key
    |  |- AuditBroken         the audit trail is not whole

Messages hold study keys, SOP Instance UIDs and file names, never a patient's name, ID or birth date.
"""

from __future__ import annotations


class RadpipeError(Exception):
    """Base of all errors that radpipe raises on purpose."""


class UsageError(RadpipeError):
    """The user asked for something that cannot be."""


class SettingsError(UsageError):
    """An unknown or unusable setting."""


class InputError(RadpipeError):
    """An input cannot be used; the message is the reason that the user reads."""


class ImageError(InputError):
    """An image's pixels cannot be read or shown."""


class ModelError(RadpipeError):
    """A model cannot be used."""


class WeightsError(ModelError):
    """A weights file is missing, damaged or not the one that its card names."""


class BackendUnavailable(ModelError):
    """The backend or device asked for is not installed or does not load here."""


class FlowError(RadpipeError):
    """The engine that executes does not work; the store is whole."""


class StructureError(RadpipeError):
    """A structured report that may not be built, or a lexicon that cannot be read."""


class DraftError(RadpipeError):
    """A sentence or report that may not be built."""


class SignOffError(RadpipeError):
    """A step of sign-off that may not be taken."""


class NotAllowed(SignOffError):
    """This person's role may not do this."""


class AlreadySigned(SignOffError):
    """A signed report does not change; write an addendum."""


class StoreError(RadpipeError):
    """The store cannot do what was asked."""


class UnknownKey(StoreError):
    """No study or report has this key."""


class AuditBroken(StoreError):
    """The audit trail is not whole."""
