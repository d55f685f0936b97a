"""Which study of the store somebody means: by its StudyInstanceUID, its accession number or its study key."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from radpipe.errors import UnknownKey, UsageError
from radpipe.study import Study, study_key

if TYPE_CHECKING:
    from radpipe.store import SqlStore

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2,}")
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class StudyName:
    """What a study may be called; what is not known is "". A key may be an accession number as well."""

    uid: str = ""
    number: str = ""
    key: str = ""

    @classmethod
    def of(cls, words: str) -> StudyName:
        """From the words of an option: a StudyInstanceUID, else an accession number or a study key."""
        words = words.strip()
        if _UID.fullmatch(words) and len(words) <= 64:
            return cls(uid=words)
        return cls(number=words, key=words if _KEY.fullmatch(words) else "")


class Studies:
    """The store's studies, found by what they may be called."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._by_number: dict[str, tuple[str, ...]] | None = None

    def find(self, name: StudyName, where: str) -> Study | None:
        """The study, or None. Raises UsageError, beginning with `where`, if several have the accession number."""
        if name.key:
            with contextlib.suppress(UnknownKey):
                return self._store.study(name.key)
        if name.uid and (study := self.of_uid(name.uid)) is not None:
            return study
        if not name.number:
            return None
        if self._by_number is None:
            self._by_number = self._store.studies_by_accession_number()
        uids = self._by_number.get(name.number, ())
        if len(uids) > 1:
            raise UsageError(f"{where}: {len(uids)} studies have this accession number: give the StudyInstanceUID")
        return self.of_uid(uids[0]) if uids else None

    def of_uid(self, uid: str) -> Study | None:
        """The study of this StudyInstanceUID, or None."""
        with contextlib.suppress(UnknownKey):
            return self._store.study(study_key(uid))
        return None
