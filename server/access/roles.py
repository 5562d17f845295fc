"""The roles that a key can have, and which of them may what."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["admin", "service", "teacher"]

ROLES: tuple[Role, ...] = get_args(Role)

DUTIES: dict[Role, str] = {
    "admin": "everything, the operator's calls included",
    "service": "a school's own web server: sessions, students, tutors, avatars, figures",
    "teacher": "avatars and tutors, and trying them out",
}

_RANK: dict[Role, int] = {"teacher": 1, "service": 2, "admin": 3}


def may(role: Role, needed: Role) -> bool:
    """Whether who has `role` may do what needs at least `needed`: each role may all that the ones below it may."""
    return _RANK[role] >= _RANK[needed]
