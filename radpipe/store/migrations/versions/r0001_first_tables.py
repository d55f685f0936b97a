"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Forward only: a backup is the way back."""
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous_digest", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit"),
    )
    op.create_index("ix_audit_object_key", "audit", ["object_key"], unique=False)
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.create_table(
        "people",
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user", name="pk_people"),
    )
    op.create_table(
        "set_aside",
        sa.Column("item_key", sa.String(length=64), nullable=False),
        sa.Column("study_key", sa.String(length=16), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("item_key", name="pk_set_aside"),
    )
    op.create_index("ix_set_aside_study_key", "set_aside", ["study_key"], unique=False)
    op.create_table(
        "studies",
        sa.Column("study_key", sa.String(length=16), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("content_key", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("arrival", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("newest_run_key", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("study_key", name="pk_studies"),
        sa.UniqueConstraint("arrival", name="uq_studies_arrival"),
        sa.UniqueConstraint("study_instance_uid", name="uq_studies_study_instance_uid"),
    )
    op.create_index("ix_studies_patient_key", "studies", ["patient_key"], unique=False)
    op.create_table(
        "instances",
        sa.Column("study_key", sa.String(length=16), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("is_image", sa.Boolean(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_key"], ["studies.study_key"], name="fk_instances_study_key_studies"),
        sa.PrimaryKeyConstraint("study_key", "sop_instance_uid", "sha256", name="pk_instances"),
    )
    op.create_table(
        "runs",
        sa.Column("run_key", sa.String(length=64), nullable=False),
        sa.Column("study_key", sa.String(length=16), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("cap_s", sa.Integer(), nullable=False),
        sa.Column("is_read", sa.Boolean(), nullable=False),
        sa.Column("prior_study_key", sa.String(length=16), nullable=True),
        sa.Column("model_name", sa.Text(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("model_sha256", sa.String(length=64), nullable=True),
        sa.Column("report_key", sa.String(length=64), nullable=True),
        sa.Column("superseded_by", sa.String(length=64), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_key"], ["studies.study_key"], name="fk_runs_study_key_studies"),
        sa.PrimaryKeyConstraint("run_key", name="pk_runs"),
        sa.UniqueConstraint("sequence", name="uq_runs_sequence"),
    )
    op.create_index("ix_runs_level", "runs", ["level"], unique=False)
    op.create_index("ix_runs_report_key", "runs", ["report_key"], unique=False)
    op.create_index("ix_runs_study_key", "runs", ["study_key"], unique=False)
    op.create_table(
        "findings",
        sa.Column("run_key", sa.String(length=64), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("finding", sa.String(length=64), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("rule_out", sa.Float(), nullable=False),
        sa.Column("laterality", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(["run_key"], ["runs.run_key"], name="fk_findings_run_key_runs"),
        sa.PrimaryKeyConstraint("run_key", "ordinal", name="pk_findings"),
    )
    op.create_index("ix_findings_finding", "findings", ["finding"], unique=False)
    op.create_table(
        "reports",
        sa.Column("report_key", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("study_key", sa.String(length=16), nullable=False),
        sa.Column("run_key", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("saved_by", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.run_key"], name="fk_reports_run_key_runs"),
        sa.ForeignKeyConstraint(["study_key"], ["studies.study_key"], name="fk_reports_study_key_studies"),
        sa.PrimaryKeyConstraint("report_key", "version", name="pk_reports"),
    )
    op.create_index("ix_reports_run_key", "reports", ["run_key"], unique=False)
    op.create_index("ix_reports_study_key", "reports", ["study_key"], unique=False)
    op.create_table(
        "corrections",
        sa.Column("report_key", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("finding", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("by_user", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_key", "version"],
            ["reports.report_key", "reports.version"],
            name="fk_corrections_report_key_version_reports",
        ),
        sa.PrimaryKeyConstraint("report_key", "version", "ordinal", name="pk_corrections"),
    )
    op.create_index("ix_corrections_finding", "corrections", ["finding"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("report_key", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_key", "version"],
            ["reports.report_key", "reports.version"],
            name="fk_outbox_report_key_version_reports",
        ),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_outbox"),
        sa.UniqueConstraint("destination", "name", name="uq_outbox_destination_name"),
        sa.UniqueConstraint(
            "report_key", "version", "destination", "kind", name="uq_outbox_report_key_version_destination_kind"
        ),
    )
    op.create_index("ix_outbox_delivered_at", "outbox", ["delivered_at"], unique=False)
    op.create_table(
        "sign_offs",
        sa.Column("report_key", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("by_user", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_key", "version"],
            ["reports.report_key", "reports.version"],
            name="fk_sign_offs_report_key_version_reports",
        ),
        sa.PrimaryKeyConstraint("report_key", "version", name="pk_sign_offs"),
    )
    meta = sa.table("meta", sa.column("name", sa.String), sa.column("value", sa.Text))
    op.bulk_insert(meta, [{"name": "audit_head", "value": "0:" + "0" * 64}])
