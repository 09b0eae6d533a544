# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The enrolment token that a setting names: key and secret are the same text."""

from __future__ import annotations

import uuid

import peewee

from patchherd.database import now, write_transaction
from patchherd.enrollment.models import EnrollmentToken
from patchherd.errors import SettingsError
from patchherd.identity import audit, credentials
from patchherd.identity.locking import REGISTRATION, take_turn
from patchherd.settings import MIN_ENROLLMENT_TOKEN_LENGTH, Settings

MAX_HOSTS_PER_DAY = 1000


def prepare_default_token(settings: Settings) -> bool:
    """Make the token unless it is there already, also when it was changed or disabled since; whether it was made.

    Raises SettingsError when production mode finds one in the database that anybody could guess.
    """
    if settings.mode == "production":
        _refuse_weak_ones()
    text = settings.seeded_token
    if not text:
        return False
    moment = now()
    with write_transaction():
        take_turn(REGISTRATION)
        if EnrollmentToken.select().where(EnrollmentToken.token_key == text).exists():
            return False
        token = EnrollmentToken.create(
            uuid=str(uuid.uuid4()),
            token_name="default enrolment token",  # noqa: S106
            token_key=text,
            secret_hash=credentials.hash_secret(text, settings.token_cost),
            max_hosts_per_day=MAX_HOSTS_PER_DAY,
            created_at=moment,
            updated_at=moment,
        )
        audit.record("enrollment_token.create", "enrollment_token", token.uuid, token.token_name)
    return True


def _refuse_weak_ones() -> None:
    short = peewee.fn.LENGTH(EnrollmentToken.token_key) < MIN_ENROLLMENT_TOKEN_LENGTH
    weak = EnrollmentToken.select(EnrollmentToken.token_key).where(short).first()
    if weak is not None:
        raise SettingsError(
            f"the enrolment token {weak.token_key} of development mode is in the database, and anybody can guess it: "
            f"delete it with patchherd token delete {weak.token_key}"
        )
