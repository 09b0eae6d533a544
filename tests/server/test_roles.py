# SPDX-License-Identifier: Apache-2.0
"""Roles made of named permissions, and that nobody hands out more than their own."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.server.api import PASSWORD, Api

V1 = "/api/v1"


def make(api: Api, name: str = "auditor", *permissions: str) -> Any:
    return api.post("/roles", {"name": name, "permissions": list(permissions) or ["settings:manage"]})


def test_a_role_lets_do_what_it_names(api: Api, client: FlaskClient) -> None:
    made = make(api)
    assert made.status_code == 201
    assert made.json == {
        "name": "auditor", "description": "", "permissions": ["settings:manage"], "built_in": False, "users": 0,
    }  # fmt: skip
    token = {"Authorization": f"Bearer {api.user_token('auditor', 'ann')}"}
    assert client.get(f"{V1}/audit", headers=token).status_code == 200
    assert client.get(f"{V1}/devices", headers=token).status_code == 403
    changed = api.patch("/roles/auditor", {"permissions": ["devices:read"], "description": "looks"})
    assert changed.json["description"] == "looks"
    assert changed.json["users"] == 1
    assert client.get(f"{V1}/audit", headers=token).status_code == 403, "holds from the next request on"
    assert client.get(f"{V1}/devices", headers=token).status_code == 200
    assert client.get(f"{V1}/auth/me", headers=token).json["permissions"] == ["devices:read"]


def test_list_shows_built_in_and_own_roles(api: Api) -> None:
    make(api)
    shown = api.get("/roles").json
    assert [(role["name"], role["built_in"], role["users"]) for role in shown] == [
        ("admin", True, 1), ("operator", True, 0), ("viewer", True, 0), ("auditor", False, 0),
    ]  # fmt: skip
    assert api.get("/roles/auditor").json == shown[-1]
    assert api.get("/roles/nobody").status_code == 404
    names = {row["name"]: row["description"] for row in api.get("/permissions").json}
    assert {permission for role in shown for permission in role["permissions"]} == set(names)
    assert all(names.values())


def test_a_role_in_use_stays(api: Api) -> None:
    make(api)
    api.user_token("auditor", "ann")
    refused = api.delete("/roles/auditor")
    assert refused.status_code == 409
    assert "ann" in refused.json["message"]
    assert api.patch("/users/ann", {"role": "viewer"}).status_code == 200
    assert api.delete("/roles/auditor").status_code == 204
    assert api.delete("/roles/auditor").status_code == 404
    assert api.patch("/users/ann", {"role": "auditor"}).status_code == 400


def test_built_in_roles_stay_as_they_are(api: Api) -> None:
    for name in ("admin", "operator", "viewer"):
        assert make(api, name).status_code == 409
        assert api.patch(f"/roles/{name}", {"permissions": ["devices:read"]}).status_code == 409
        assert api.delete(f"/roles/{name}").status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x", "permissions": ["devices:read"]},
        {"name": "Upper", "permissions": ["devices:read"]},
        {"name": "x" * 65, "permissions": ["devices:read"]},
        {"name": "good name", "permissions": []},
        {"name": "good name", "permissions": ["enrollment:use"]},
        {"name": "good name", "permissions": ["host:report"]},
        {"name": "good name", "permissions": "devices:read"},
        {"name": "good name"},
    ],
)
def test_bad_roles_are_400(api: Api, body: dict[str, Any]) -> None:
    answer = api.post("/roles", body)
    assert answer.status_code == 400
    assert answer.json["errors"]


def test_taken_names(api: Api) -> None:
    assert make(api, "night shift").status_code == 201
    assert make(api, "night shift").status_code == 409


def test_nobody_hands_out_or_takes_over_more_than_they_may_do(api: Api, client: FlaskClient) -> None:
    make(api, "personnel", "users:manage", "devices:read")
    make(api, "reader", "devices:read")
    own = {"Authorization": f"Bearer {api.user_token('personnel', 'pat')}"}

    def attempt(method: str, path: str, body: Any = None) -> int:
        return client.open(f"{V1}{path}", method=method, json=body, headers=own).status_code

    user = {"username": "new", "password": PASSWORD}
    assert attempt("POST", "/users", {**user, "role": "admin"}) == 403
    assert attempt("POST", "/users", {**user, "role": "reader"}) == 201
    assert attempt("PATCH", "/users/new", {"role": "operator"}) == 403
    assert attempt("PATCH", "/users/pat", {"role": "admin"}) == 403
    assert attempt("PATCH", "/users/admin", {"password": "a password of mine"}) == 403
    assert attempt("PATCH", "/users/admin", {"is_active": False}) == 403
    assert attempt("DELETE", "/users/admin") == 403
    assert attempt("DELETE", "/users/admin/sessions") == 403
    assert attempt("POST", "/roles", {"name": "stronger", "permissions": ["settings:manage"]}) == 403
    assert attempt("PATCH", "/roles/personnel", {"permissions": ["users:manage", "settings:manage"]}) == 403
    assert attempt("POST", "/api-tokens", {"name": "x", "role": "admin"}) == 403
    assert attempt("POST", "/api-tokens", {"name": "x", "permissions": ["deployments:run"]}) == 403
    assert attempt("POST", "/api-tokens", {"name": "x", "role": "reader"}) == 201
    assert attempt("PATCH", "/users/new", {"password": "another password"}) == 200
    assert attempt("DELETE", "/users/new") == 204


def test_only_those_who_manage_users_see_roles(api: Api, client: FlaskClient) -> None:
    operator = {"Authorization": f"Bearer {api.user_token('operator')}"}
    for path in ("/roles", "/permissions", "/roles/admin"):
        assert client.get(f"{V1}{path}", headers=operator).status_code == 403


def test_the_administrator_is_not_replaced_by_a_role_of_ones_own(api: Api) -> None:
    make(api, "nearly admin", "users:manage", "settings:manage", "devices:read", "devices:write")
    api.user_token("nearly admin", "ann")
    assert api.patch("/users/admin", {"role": "nearly admin"}).status_code == 409
    assert api.delete("/users/admin").status_code == 409
