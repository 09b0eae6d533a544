# SPDX-License-Identifier: Apache-2.0
"""A server on a fresh database, in process or as a real gunicorn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.app import create_app
from patchherd.settings import Settings
from tests.server.api import Api, create_schema


@pytest.fixture
def app_settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings of a server whose hashes are cheap."""
    return Settings(
        data=tmp_path,
        database_url=database_url,
        secret_key="0123456789abcdef" * 4,
        password_cost=4,
        token_cost=4,
        host_key_cost=4,
        threads=8,
    )


@pytest.fixture
def app(app_settings: Settings) -> Iterator[Flask]:
    """The application on a fresh database with all tables."""
    app = create_app(app_settings)
    create_schema()
    yield app
    database.close_all()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client without credentials."""
    return app.test_client()


@pytest.fixture
def api(app: Flask) -> Api:
    """A client logged in as administrator, with shortcuts for what most tests need."""
    return Api.with_admin(app)
