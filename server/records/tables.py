"""The tables. A change here needs a migration beside it (server/records/migrations); a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

PREFIX = "lectern_"
"""Of every name, as a school may keep its own tables in the same database."""

VERSION_TABLE = f"{PREFIX}version"

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class Utc(TypeDecorator[datetime]):
    """A moment, with its zone on the way in and in UTC on the way out; SQLite itself keeps no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


TUTORS = Table(
    f"{PREFIX}tutors",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("name_key", String(800), nullable=False),  # casefolded, to be searched
    Column("description", Text, nullable=False),
    Column("avatar_id", String(64)),
    Column("voice", String(200)),
    Column("language", String(60)),
    Column("persona", Text),
    Column("model", String(200)),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
)
Index(None, TUTORS.c.avatar_id)

SESSIONS = Table(
    f"{PREFIX}sessions",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("server", String(300), nullable=False),  # that it ran on
    Column("student_id", String(200)),  # NULL: the student was deleted
    Column("tutor_id", String(200)),
    Column("avatar_id", String(200), nullable=False),
    Column("kb_id", String(200)),
    Column("started_at", Utc, nullable=False),
    Column("seen_at", Utc, nullable=False),  # when its server last said that it runs
    Column("ended_at", Utc),  # NULL: it runs
    Column("seconds", Float),
    Column("end_reason", String(60)),
    Column("quality", JSON),
)
Index(None, SESSIONS.c.started_at)
Index(None, SESSIONS.c.student_id, SESSIONS.c.started_at)
Index(None, SESSIONS.c.tutor_id, SESSIONS.c.started_at)
Index(None, SESSIONS.c.ended_at)

TURNS = Table(
    f"{PREFIX}turns",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("session_id", String(64), ForeignKey(SESSIONS.c.id, ondelete="CASCADE"), nullable=False),
    Column("who", String(10), nullable=False),  # student, tutor
    Column("text", Text, nullable=False),  # of the tutor: what was heard
    Column("interrupted", Boolean, nullable=False),
    Column("at", Utc, nullable=False),
)
Index(None, TURNS.c.session_id, TURNS.c.at)
Index(None, TURNS.c.at)
