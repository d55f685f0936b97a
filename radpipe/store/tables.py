"""The tables. Plain SQL types that SQLite and PostgreSQL share; documents are canonical JSON text (see `codec`).

The documents are the truth and are covered by the audit trail; the other columns repeat what queries need.
`HEAD` is the schema's revision: it changes with every new script in `migrations/versions`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

HEAD = "0003"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A timestamp with time zone, always UTC; SQLite, which has no zones, keeps the UTC reading of the clock."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored timestamp needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


KEY = String(16)
DIGEST = String(64)

studies = Table(
    "studies",
    metadata,
    Column("study_key", KEY, primary_key=True),
    Column("study_instance_uid", Text, nullable=False, unique=True),
    Column("patient_key", DIGEST, index=True),  # SHA-256 of PatientID and issuer; NULL without a PatientID: never matches
    Column("study_date", Date),
    Column("content_key", DIGEST, nullable=False),
    Column("document", Text, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("arrival", Integer, nullable=False, unique=True),  # audit sequence of the entry: the order of arrival
    Column("updated_at", UtcDateTime, nullable=False),
    Column("newest_run_key", String(64)),  # of `runs`; no foreign key, because `runs` already refers here
)

instances = Table(
    "instances",
    metadata,
    Column("study_key", KEY, ForeignKey("studies.study_key"), primary_key=True),
    Column("sop_instance_uid", Text, primary_key=True),
    Column("sha256", String(64), primary_key=True),  # different bytes under one UID are both kept; "" if never hashed
    Column("sop_class_uid", Text, nullable=False),
    Column("is_image", Boolean, nullable=False),
    Column("file", Text, nullable=False),  # where the bytes were seen last
    Column("seen_at", UtcDateTime, nullable=False),
)

set_aside = Table(
    "set_aside",
    metadata,
    Column("item_key", DIGEST, primary_key=True),  # SHA-256 of the document
    Column("study_key", KEY, index=True),  # NULL: belongs to no study that could be told
    Column("document", Text, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("position", Integer, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_key", String(64), primary_key=True),
    Column("study_key", KEY, ForeignKey("studies.study_key"), nullable=False, index=True),
    Column("sequence", Integer, nullable=False, unique=True),  # audit sequence: the order in which runs were kept
    Column("level", String(16), nullable=False, index=True),
    Column("score", Float, nullable=False),
    Column("cap_s", Integer, nullable=False),
    Column("is_read", Boolean, nullable=False),
    Column("prior_study_key", KEY),
    Column("model_name", Text),
    Column("model_version", Text),
    Column("model_sha256", String(64)),
    Column("report_key", String(64), index=True),
    Column("superseded_by", String(64)),  # run key of the next run of this study
    Column("document", Text, nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("run_key", String(64), ForeignKey("runs.run_key"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("finding", String(64), nullable=False, index=True),
    Column("decision", String(16), nullable=False),
    Column("probability", Float, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("rule_out", Float, nullable=False),
    Column("laterality", String(16)),
)

reports = Table(
    "reports",
    metadata,
    Column("report_key", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("study_key", KEY, ForeignKey("studies.study_key"), nullable=False, index=True),
    Column("run_key", String(64), ForeignKey("runs.run_key"), nullable=False, index=True),
    Column("status", String(16), nullable=False),
    Column("action", Text, nullable=False),
    Column("saved_by", Text, nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
    Column("document", Text, nullable=False),
)

corrections = Table(
    "corrections",
    metadata,
    Column("report_key", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),  # the version that the correction came with
    Column("ordinal", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("finding", String(64), nullable=False, index=True),
    Column("verdict", String(16), nullable=False),
    Column("by_user", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["report_key", "version"], ["reports.report_key", "reports.version"]),
)

sign_offs = Table(
    "sign_offs",
    metadata,
    Column("report_key", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("by_user", Text, nullable=False),
    Column("signed_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["report_key", "version"], ["reports.report_key", "reports.version"]),
)

reported = Table(
    "reported",  # reports from elsewhere
    metadata,
    Column("reported_key", KEY, primary_key=True),
    Column("study_key", KEY, index=True),  # no foreign key: its study need not be here; NULL: known by accession number
    Column("patient_key", DIGEST, index=True),  # as in `studies`; NULL: whose it is follows from its study
    Column("document", Text, nullable=False),
    Column("sequence", Integer, nullable=False, unique=True),  # audit sequence of its last change
    Column("saved_at", UtcDateTime, nullable=False),
)

embeddings = Table(
    "embeddings",  # what a reader saw in each image, as numbers
    metadata,
    Column("run_key", String(64), ForeignKey("runs.run_key"), primary_key=True),
    Column("sop_instance_uid", Text, primary_key=True),
    Column("model_sha256", DIGEST, nullable=False, index=True),  # of the run; vectors of two models cannot be compared
    Column("dims", Integer, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float16, little-endian
)

outbox = Table(
    "outbox",
    metadata,
    Column("delivery_id", Integer, primary_key=True),
    Column("report_key", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("destination", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("sha256", DIGEST, nullable=False),
    Column("queued_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime, index=True),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    UniqueConstraint("report_key", "version", "destination", "kind"),
    UniqueConstraint("destination", "name"),
    ForeignKeyConstraint(["report_key", "version"], ["reports.report_key", "reports.version"]),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_key", Text, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("previous_digest", DIGEST, nullable=False),
    Column("digest", DIGEST, nullable=False),
)

people = Table(
    "people",
    metadata,
    Column("user", Text, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("document", Text, nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
