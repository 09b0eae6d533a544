# SPDX-License-Identifier: Apache-2.0
"""Refresh tokens, ends of log-ins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.identity import sessions
from patchherd.identity.models import AuditEntry, LoginSession
from patchherd.settings import Settings
from tests.server.api import ADMIN, PASSWORD, Api

V1 = "/api/v1"


def log_in(client: FlaskClient, name: str = ADMIN) -> dict[str, Any]:
    answer = client.post(f"{V1}/auth/login", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def refresh(client: FlaskClient, token: str) -> Any:
    return client.post(f"{V1}/auth/refresh", json={"refresh_token": token})


def works(client: FlaskClient, token: str) -> bool:
    return client.get(f"{V1}/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def actions() -> list[str]:
    with database.connection():
        return [entry.action for entry in AuditEntry.select().order_by(AuditEntry.id)]


def test_a_refresh_gives_new_tokens_of_the_same_login(api: Api, client: FlaskClient, app_settings: Settings) -> None:
    first = log_in(client)
    assert first["expires_in"] == app_settings.access_token_minutes * 60
    assert first["refresh_expires_in"] == app_settings.session_hours * 3600
    answer = refresh(client, first["refresh_token"])
    assert answer.status_code == 200, answer.text
    assert answer.json["user"]["username"] == ADMIN
    assert answer.json["refresh_token"] != first["refresh_token"]
    assert works(client, answer.json["token"])
    assert works(client, first["token"]), "it lives out its short life"
    again = refresh(client, answer.json["refresh_token"])
    assert again.status_code == 200
    with database.connection():
        assert LoginSession.select().count() == 2  # this one, and the fixture's


def test_a_used_refresh_token_ends_the_login_of_owner_and_thief(api: Api, client: FlaskClient) -> None:
    stolen = log_in(client)
    renewed = refresh(client, stolen["refresh_token"]).json
    assert works(client, renewed["token"])
    assert refresh(client, stolen["refresh_token"]).status_code == 401
    assert "user.refresh_reused" in actions()
    for token in (stolen["token"], renewed["token"]):
        assert not works(client, token)
    assert refresh(client, renewed["refresh_token"]).status_code == 401
    assert api.get("/auth/me").status_code == 200, "other log-ins of the user stay"


def test_no_kind_of_token_passes_for_another(api: Api, client: FlaskClient, app: Flask) -> None:
    tokens = log_in(client)
    assert not works(client, tokens["refresh_token"])
    assert refresh(client, tokens["token"]).status_code == 401
    claims = jwt.decode(tokens["refresh_token"], options={"verify_signature": False})
    with app.app_context():
        key = sessions._key("refresh")
    for forged in (
        jwt.encode(claims, "x" * 32, "HS256"),
        jwt.encode(claims, "", "none"),
        jwt.encode({**claims, "exp": 1}, key, "HS256"),
        jwt.encode({**claims, "sid": "unknown"}, key, "HS256"),
        "x",
        "ü",
    ):
        assert refresh(client, forged).status_code == 401, forged
    assert works(client, tokens["token"]), "what is no token of the log-in does not end it"
    for body in ({}, {"refresh_token": ""}, {"refresh_token": 5}, []):
        assert client.post(f"{V1}/auth/refresh", json=body).status_code == 400


def test_a_login_ends_in_time_however_often_it_is_refreshed(api: Api, client: FlaskClient) -> None:
    tokens = log_in(client)
    end = database.now() + timedelta(minutes=1)
    with database.connection():
        LoginSession.update(expires_at=end).execute()
    renewed = refresh(client, tokens["refresh_token"]).json
    assert 0 < renewed["expires_in"] <= 60
    assert 0 < renewed["refresh_expires_in"] <= 60
    with database.connection():
        LoginSession.update(expires_at=database.now()).execute()
    assert refresh(client, renewed["refresh_token"]).status_code == 401


@pytest.mark.parametrize("end", ["logout", "password", "deactivate", "delete", "revoke_all"])
def test_what_ends_a_login_ends_its_refresh_token(api: Api, client: FlaskClient, end: str) -> None:
    api.user_token("viewer")
    tokens = log_in(client, "viewer")
    own = {"Authorization": f"Bearer {tokens['token']}"}
    if end == "logout":
        assert client.post(f"{V1}/auth/logout", headers=own).status_code == 200
    elif end == "password":
        change = {"current_password": PASSWORD, "new_password": "another good one"}
        assert client.put(f"{V1}/auth/password", json=change, headers=own).status_code == 200
    elif end == "deactivate":
        assert api.patch("/users/viewer", {"is_active": False}).status_code == 200
    elif end == "delete":
        assert api.delete("/users/viewer").status_code == 204
    else:
        assert api.delete("/users/viewer/sessions").json == {"message": "Ended 2 log-ins"}
    assert refresh(client, tokens["refresh_token"]).status_code == 401
    assert not works(client, tokens["token"])


def test_own_logins_are_listed_and_ended_one_by_one(api: Api, client: FlaskClient) -> None:
    other = log_in(client)
    listed = api.get("/auth/sessions").json
    assert [row["current"] for row in listed] == [False, True]
    assert all(row["address"] == "127.0.0.1" for row in listed)
    assert api.delete(f"/auth/sessions/{listed[0]['id']}").status_code == 204
    assert not works(client, other["token"])
    assert api.delete(f"/auth/sessions/{listed[0]['id']}").status_code == 404
    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    mine = api.get("/auth/sessions").json[0]["id"]
    assert client.delete(f"{V1}/auth/sessions/{mine}", headers=viewer).status_code == 404
    assert api.get("/auth/me").status_code == 200
    token = {"Authorization": f"Bearer {api.api_token(role='viewer')}"}
    assert client.get(f"{V1}/auth/sessions", headers=token).status_code == 403
