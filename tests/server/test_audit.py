# SPDX-License-Identifier: Apache-2.0
"""The audit trail: what it tells, that it hides secrets, that it cannot be bent unnoticed."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.cli import main
from patchherd.database import write_transaction
from patchherd.devices.models import Device
from patchherd.identity import audit
from patchherd.identity.models import AuditEntry
from patchherd.settings import Settings
from tests.server.api import PASSWORD, Api, token_headers


def entries(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = api.get("/audit", query_string=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json["entries"])


def test_it_tells_who_did_what_to_which_object_from_where(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token(token_name="T", max_hosts_per_day=5)
    api.patch(f"/auto-enrollment/tokens/{token['id']}", {"max_hosts_per_day": 6})
    host = client.post(
        "/api/v1/auto-enrollment/enroll",
        json={"friendly_name": "web1"},
        headers=token_headers(token),
        environ_overrides={"REMOTE_ADDR": "192.0.2.9"},
    ).json["host"]
    newest, changed, created = entries(api)[:3]
    assert newest["action"] == "host.enroll"
    assert (newest["actor_kind"], newest["actor_name"], newest["address"]) == ("enrollment", "T", "192.0.2.9")
    assert (newest["object_kind"], newest["object_id"], newest["object_name"]) == ("device", host["id"], "web1")
    assert changed["action"] == "enrollment_token.update"
    assert (changed["before"]["max_hosts_per_day"], changed["after"]["max_hosts_per_day"]) == (5, 6)
    assert created["actor_name"] == "admin"


def test_no_secret_gets_into_it(api: Api, client: FlaskClient) -> None:
    token, host, text = api.enrollment_token(), api.enroll(), api.api_token(role="viewer")
    api.user_token("operator")
    client.post("/api/v1/auth/login", json={"username": "admin", "password": "wrong horse"})
    shown = api.get("/audit?limit=500").text
    for secret in (token["token_secret"], host["api_key"], text[21:], PASSWORD, "wrong horse"):
        assert secret not in shown
    with database.connection():
        audit.record("x.y", "x", after={"password": "p1", "nested": {"client_secret": "p2", "name": "kept"}})
    assert entries(api)[0]["after"] == {"password": "***", "nested": {"client_secret": "***", "name": "kept"}}


def test_pages_and_filters(api: Api) -> None:
    for number in range(7):
        api.post("/host-groups", {"name": f"g{number}"})
    seen: list[int] = []
    following: int | None = None
    while True:
        query = {"limit": 3, "action": "group.create", **({"before": following} if following else {})}
        page = api.get("/audit", query_string=query).json
        seen += [entry["id"] for entry in page["entries"]]
        following = page["next"]
        if following is None:
            break
    assert len(seen) == 7
    assert seen == sorted(seen, reverse=True)
    assert entries(api, actor="nobody") == []
    assert len(entries(api, object_kind="group", actor="admin")) == 7
    assert entries(api, until="2001-01-01T00:00:00Z") == []
    assert entries(api, since="2001-01-01T00:00:00Z")
    for query in ({"limit": 0}, {"limit": 501}, {"before": "x"}, {"since": "yesterday"}):
        assert api.get("/audit", query_string=query).status_code == 400


def test_an_entry_goes_with_its_change(api: Api, app: Flask) -> None:
    before = len(entries(api, limit=500))

    def fail_half_way() -> None:
        with write_transaction():
            Device.update(friendly_name="never").execute()
            audit.record("device.update", "device")
            raise RuntimeError

    with database.connection(), pytest.raises(RuntimeError):
        fail_half_way()
    assert len(entries(api, limit=500)) == before


@pytest.mark.parametrize("tamper", ["change", "remove", "insert"])
def test_tampering_shows(api: Api, tamper: str) -> None:
    for number in range(4):
        api.post("/host-groups", {"name": f"g{number}"})
    with database.connection():
        good = audit.verify()
        rows = list(AuditEntry.select().order_by(AuditEntry.id))
        assert good == audit.Verdict(len(rows), rows[-1].seal, None)
        if tamper == "change":
            AuditEntry.update(actor_name="somebody else").where(AuditEntry.id == rows[2].id).execute()
            assert audit.verify().broken_at == rows[2].id
        elif tamper == "remove":
            AuditEntry.delete().where(AuditEntry.id == rows[2].id).execute()
            assert audit.verify().broken_at == rows[3].id
        else:
            values = {**rows[2].__data__, "id": rows[-1].id + 1}
            AuditEntry.insert(**values).execute()
            assert audit.verify().broken_at == rows[-1].id + 1


def test_it_is_for_administrators(api: Api, client: FlaskClient) -> None:
    operator = {"Authorization": f"Bearer {api.user_token('operator')}"}
    assert client.get("/api/v1/audit", headers=operator).status_code == 403


def test_the_command_checks_the_chain(api: Api, app_settings: Settings) -> None:
    def verify() -> Result:
        options = ["audit", "verify", "--data", str(app_settings.data)]
        environment = {"PATCHHERD_DATABASE_URL": app_settings.database_url}
        return CliRunner().invoke(main, options, env=environment)

    api.post("/host-groups", {"name": "g"})
    with database.connection():
        expected = audit.verify()
    good = verify()
    assert good.exit_code == 0, good.output
    assert f"{expected.entries} entries, last seal {expected.last_seal}" in good.output
    with database.connection():
        AuditEntry.update(address="192.0.2.1").where(AuditEntry.action == "group.create").execute()
        bent = AuditEntry.get(AuditEntry.action == "group.create").id
    bad = verify()
    assert bad.exit_code == 1
    assert f"broken at entry {bent}" in bad.output
