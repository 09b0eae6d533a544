# SPDX-License-Identifier: Apache-2.0
"""Log-in, users, API tokens, permissions, cross-site requests."""

from __future__ import annotations

import base64
from datetime import timedelta

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.identity import access, api_tokens, sessions, users
from patchherd.identity.models import ApiToken, LoginFailure, LoginSession, User
from patchherd.settings import Settings
from tests.server.api import ADMIN, PASSWORD, Api

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/auth/me"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_setup_admin_works_once(client: FlaskClient) -> None:
    first = client.post("/api/v1/auth/setup-admin", json={"password": PASSWORD})
    assert first.status_code == 201
    assert first.json["user"]["username"] == "admin"
    assert first.json["user"]["role"] == "admin"
    assert "password" not in first.text.lower().replace("password_", "")
    again = client.post("/api/v1/auth/setup-admin", json={"username": "other", "password": PASSWORD})
    assert again.status_code == 400
    assert again.json["error"] == "Setup already done"


@pytest.mark.parametrize("password", ["short", "password", "x" * 73, "1234567\x00"])
def test_weak_and_impossible_passwords_are_refused(client: FlaskClient, password: str) -> None:
    answer = client.post("/api/v1/auth/setup-admin", json={"password": password})
    assert answer.status_code == 400
    assert answer.json["errors"][0]["param"] == "password"


def test_login_gives_a_token_that_works(api: Api, client: FlaskClient, app_settings: Settings) -> None:
    answer = client.post(LOGIN, json={"username": "ADMIN", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json["expires_in"] == app_settings.access_token_minutes * 60
    for kind in ("Bearer", "bearer", "JWT"):
        me = client.get(ME, headers={"Authorization": f"{kind} {answer.json['token']}"})
        assert me.json["user"]["username"] == ADMIN
        assert "users:manage" in me.json["permissions"]


@pytest.mark.parametrize(
    ("username", "password"),
    [(ADMIN, "wrong password"), ("nobody", PASSWORD), (ADMIN, "x" * 500), ("a\x00b", PASSWORD)],
)
def test_wrong_logins_are_refused_alike(api: Api, client: FlaskClient, username: str, password: str) -> None:
    answer = client.post(LOGIN, json={"username": username, "password": password})
    assert answer.status_code == 401
    assert answer.json == {"error": "Invalid username or password", "detail": "Invalid username or password"}


@pytest.mark.parametrize("body", [{}, {"username": "admin"}, {"username": 1, "password": []}, [], "text"])
def test_malformed_login_is_400(client: FlaskClient, body: object) -> None:
    assert client.post(LOGIN, json=body).status_code == 400


@pytest.mark.parametrize("name", [ADMIN, "nobody"])
def test_repeated_failures_lock_a_name_whether_or_not_it_exists(
    api: Api, client: FlaskClient, app_settings: Settings, name: str
) -> None:
    for _ in range(app_settings.login_attempts):
        assert client.post(LOGIN, json={"username": name, "password": "wrong"}).status_code == 401
    locked = client.post(LOGIN, json={"username": name, "password": PASSWORD})
    assert locked.status_code == 429
    assert 0 < int(locked.headers["Retry-After"]) <= 15 * 60 + 1
    with database.connection():
        LoginFailure.update(locked_until=database.now() - timedelta(seconds=1)).execute()
    after = client.post(LOGIN, json={"username": name, "password": PASSWORD})
    assert after.status_code == (200 if name == ADMIN else 401)


def test_success_forgets_earlier_failures(api: Api, client: FlaskClient, app_settings: Settings) -> None:
    for _ in range(2):
        for _ in range(app_settings.login_attempts - 1):
            client.post(LOGIN, json={"username": ADMIN, "password": "wrong"})
        assert client.post(LOGIN, json={"username": ADMIN, "password": PASSWORD}).status_code == 200


def test_refusals_are_rate_limited_by_address_and_successes_are_not(api: Api, client: FlaskClient) -> None:
    for _ in range(40):
        assert client.post(LOGIN, json={"username": ADMIN, "password": PASSWORD}).status_code == 200
    answers = [client.post(LOGIN, json={"username": f"name{n}", "password": "wrong"}) for n in range(31)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    assert answers[-1].json["error"] == "Rate limit exceeded"
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
    assert api.get("/auth/me").status_code == 200
    other = client.post(
        LOGIN, json={"username": ADMIN, "password": PASSWORD}, environ_overrides={"REMOTE_ADDR": "192.0.2.7"}
    )
    assert other.status_code == 200


def test_logout_ends_this_login_only(api: Api, client: FlaskClient) -> None:
    tokens = [client.post(LOGIN, json={"username": ADMIN, "password": PASSWORD}).json["token"] for _ in range(2)]
    assert client.post("/api/v1/auth/logout", headers=bearer(tokens[0])).status_code == 200
    assert client.get(ME, headers=bearer(tokens[0])).status_code == 401
    assert client.get(ME, headers=bearer(tokens[1])).status_code == 200


def test_password_change_ends_all_logins(api: Api, client: FlaskClient) -> None:
    change = {"current_password": PASSWORD, "new_password": "another good one"}
    wrong = api.call("PUT", "/auth/password", {**change, "current_password": "wrong"})
    assert wrong.status_code == 401
    assert api.call("PUT", "/auth/password", change).status_code == 200
    assert api.get("/auth/me").status_code == 401
    assert client.post(LOGIN, json={"username": ADMIN, "password": PASSWORD}).status_code == 401
    assert client.post(LOGIN, json={"username": ADMIN, "password": "another good one"}).status_code == 200


def test_forged_expired_and_malformed_tokens_are_refused(
    api: Api, client: FlaskClient, app: Flask, app_settings: Settings
) -> None:
    good = api.headers["Authorization"].split()[1]
    claims = jwt.decode(good, options={"verify_signature": False})
    unsigned = jwt.encode(claims, "", "none")
    forged = jwt.encode(claims, app_settings.secret_key, "HS256")
    with app.app_context():
        key = sessions._key("access")
    expired = jwt.encode({**claims, "exp": 1}, key, "HS256")
    for token in (unsigned, forged, expired, good[:-2], "x", "pht_x", "pht_" + "0" * 16 + "_" + "0" * 64):
        answer = client.get(ME, headers=bearer(token))
        assert answer.status_code == 401, token
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for header in ("Bearer", "Digest x", "Basic %%%", "Basic " + base64.b64encode(b"nocolon").decode()):
        assert client.get(ME, headers={"Authorization": header}).status_code == 401


def test_the_database_ends_a_login(api: Api) -> None:
    with database.connection():
        LoginSession.update(expires_at=database.now()).execute()
    assert api.get("/auth/me").status_code == 401


def test_roles_decide(api: Api, client: FlaskClient) -> None:
    viewer = bearer(api.user_token("viewer"))
    assert client.get("/api/v1/users", headers=viewer).status_code == 403
    assert client.get("/api/v1/audit", headers=viewer).status_code == 403
    seen = client.get(ME, headers=viewer).json["permissions"]
    assert set(seen) >= {"deployments:read", "devices:read", "automation:read"}
    assert all(name.endswith(":read") for name in seen)
    assert client.get("/api/v1/users").status_code == 401


def test_deactivating_a_user_holds_at_once(api: Api, client: FlaskClient) -> None:
    token = bearer(api.user_token("operator"))
    assert client.get(ME, headers=token).status_code == 200
    assert api.patch("/users/operator", {"is_active": False}).status_code == 200
    assert client.get(ME, headers=token).status_code == 401
    assert client.post(LOGIN, json={"username": "operator", "password": PASSWORD}).status_code == 401


def test_an_administrator_remains(api: Api) -> None:
    for answer in (
        api.patch("/users/admin", {"role": "viewer"}),
        api.patch("/users/admin", {"is_active": False}),
        api.delete("/users/admin"),
    ):
        assert answer.status_code == 409
        assert answer.json["error"] == "Last administrator"
    api.user_token("admin", "second")
    assert api.delete("/users/second").status_code == 204
    assert api.get("/users/second").status_code == 404


def test_taken_and_malformed_usernames(api: Api) -> None:
    assert api.post("/users", {"username": "Admin", "password": PASSWORD}).status_code == 409
    for name in ("", " ", "a b", "ü", "-x", "x" * 65):
        assert api.post("/users", {"username": name, "password": PASSWORD}).status_code == 400, name


def test_api_token_is_shown_once_and_works_in_three_ways(api: Api, client: FlaskClient) -> None:
    created = api.post("/api-tokens", {"name": "awx", "role": "operator", "expires_at": "2099-01-01T00:00:00Z"})
    assert created.status_code == 201
    text = created.json["token"]
    assert created.json["expires_at"] == "2099-01-01T00:00:00Z"
    assert created.json["created_by"] == ADMIN
    name, secret = text[:20], text[21:]
    pair = base64.b64encode(f"{name}:{secret}".encode()).decode()
    for value in (f"Bearer {text}", f"JWT {text}", f"Basic {pair}"):
        me = client.get(ME, headers={"Authorization": value})
        assert me.status_code == 200
        assert me.json["name"] == "awx"
    listed = api.get("/api-tokens")
    assert secret not in listed.text
    assert listed.json[0]["last_used_at"] is not None
    with database.connection():
        assert secret not in repr(ApiToken.get().__data__)


def test_api_token_ends_when_revoked_or_expired(api: Api, client: FlaskClient) -> None:
    revoked, expired = api.api_token(role="viewer"), api.api_token(role="viewer", expires_at="2099-01-01T00:00:00")
    identifier = api.get("/api-tokens").json[1]["id"]
    assert api.delete(f"/api-tokens/{identifier}").json["revoked_at"] is not None
    with database.connection():
        ApiToken.update(expires_at=database.now()).where(ApiToken.expires_at.is_null(False)).execute()
    for token in (revoked, expired):
        assert client.get(ME, headers=bearer(token)).status_code == 401
    assert api.delete("/api-tokens/unknown").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"name": "", "role": "viewer"},
        {"name": "x", "role": "root"},
        {"name": "x", "permissions": ["enrollment:use"]},
        {"name": "x", "permissions": "devices:read"},
        {"name": "x", "role": "viewer", "expires_at": "soon"},
        {"name": "x", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"},
    ],
)
def test_api_token_bad_input(api: Api, body: dict[str, object]) -> None:
    answer = api.post("/api-tokens", body)
    assert answer.status_code == 400
    assert answer.json["errors"]


def test_last_use_is_written_once_a_minute(api: Api, client: FlaskClient) -> None:
    token = bearer(api.api_token(role="viewer"))
    client.get(ME, headers=token)
    with database.connection():
        first = ApiToken.get().last_used_at
    client.get(ME, headers=token)
    with database.connection():
        assert ApiToken.get().last_used_at == first
        ApiToken.update(last_used_at=first - api_tokens.USE_RESOLUTION * 2).execute()
    client.get(ME, headers=token)
    with database.connection():
        assert ApiToken.get().last_used_at >= first


def test_cookie_changes_nothing_for_other_sites(app: Flask) -> None:
    @app.route("/test-cookie", methods=["POST"])
    @access.public("opens a session for this test")
    def open_session() -> str:
        return sessions.open_cookie(User.get())

    Api.with_admin(app)
    browser = app.test_client()
    csrf = browser.post("/test-cookie").text
    cookie = browser.get_cookie("patchherd_session")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Lax"
    assert browser.get(ME).json["name"] == ADMIN
    body = {"username": "made", "password": PASSWORD}
    hostile = [
        {},
        {"X-CSRF-Token": "guess"},
        {"HX-Request": "true"},
        {"HX-Request": "true", "Origin": "https://evil.example"},
        {"Origin": "http://localhost"},
    ]
    for headers in hostile:
        assert browser.post("/api/v1/users", json=body, headers=headers).status_code == 403, headers
    assert browser.post("/api/v1/users", json=body, headers={"X-CSRF-Token": csrf}).status_code == 201
    same_site = {"HX-Request": "true", "Origin": "http://localhost"}
    assert browser.post("/api/v1/users", json={**body, "username": "two"}, headers=same_site).status_code == 201
    assert browser.post("/api/v1/auth/logout", headers={"X-CSRF-Token": csrf}).status_code == 200
    assert browser.get(ME).status_code == 401


def test_every_view_declares_who_may_call_it(app: Flask) -> None:
    undeclared = []
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        views = [getattr(view.view_class, m.lower()) for m in methods] if hasattr(view, "view_class") else [view]
        undeclared += [
            rule.endpoint
            for found in views
            if access.declared_access(found) is None and rule.endpoint not in access.PUBLIC_ENDPOINTS
        ]
    assert not undeclared


def test_an_undeclared_view_is_closed(app: Flask) -> None:
    app.add_url_rule("/api/v1/forgotten", view_func=lambda: "open")
    assert Api.with_admin(app).get("/forgotten").status_code == 403


def test_create_user_and_set_password_work_outside_of_requests(app: Flask) -> None:
    with database.connection():
        user = users.create_user("cli", PASSWORD, cost=4)
        users.set_password(user, "a second password", cost=4)
        _, text = api_tokens.create_api_token("cli", role="admin")
    client = app.test_client()
    assert client.post(LOGIN, json={"username": "cli", "password": "a second password"}).status_code == 200
    assert client.get(ME, headers=bearer(text)).status_code == 200
