"""Tutors, sessions, and who said what in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "lectern_tutors",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(800), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("avatar_id", sa.String(64)),
        sa.Column("voice", sa.String(200)),
        sa.Column("language", sa.String(60)),
        sa.Column("persona", sa.Text),
        sa.Column("model", sa.String(200)),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lectern_tutors"),
    )
    op.create_index("ix_lectern_tutors_avatar_id", "lectern_tutors", ["avatar_id"])
    op.create_table(
        "lectern_sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("server", sa.String(300), nullable=False),
        sa.Column("student_id", sa.String(200)),
        sa.Column("tutor_id", sa.String(200)),
        sa.Column("avatar_id", sa.String(200), nullable=False),
        sa.Column("kb_id", sa.String(200)),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        sa.Column("seconds", sa.Float),
        sa.Column("end_reason", sa.String(60)),
        sa.Column("quality", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_lectern_sessions"),
    )
    for columns in (["started_at"], ["student_id", "started_at"], ["tutor_id", "started_at"], ["ended_at"]):
        op.create_index(f"ix_lectern_sessions_{'_'.join(columns)}", "lectern_sessions", columns)
    op.create_table(
        "lectern_turns",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=True),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("who", sa.String(10), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("interrupted", sa.Boolean, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lectern_turns"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["lectern_sessions.id"], ondelete="CASCADE", name="fk_lectern_turns_session_id"
        ),
    )
    for columns in (["session_id", "at"], ["at"]):
        op.create_index(f"ix_lectern_turns_{'_'.join(columns)}", "lectern_turns", columns)


def downgrade() -> None:
    for table in ("lectern_turns", "lectern_sessions", "lectern_tutors"):
        op.drop_table(table)
