# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Outages: found by looking, never booked for time in which the server itself was away."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from patchherd import database
from patchherd.database import connection, now
from patchherd.deployments.upkeep import tidy
from patchherd.devices import outages
from patchherd.devices.models import Device, Outage, Watch
from patchherd.devices.registry import create_device, touch_heartbeat
from patchherd.settings import Settings
from tests.running import Server, wait_for
from tests.server.api import Api, host_headers, token_headers
from tests.server.queries import queries

NOON = datetime(2026, 3, 1, 12, 0, 0, 0, UTC)


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


class Clock:
    """Lets time pass: the server looks every 10 s, devices beat every 30 s."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.seconds = 0

    def add(self, name: str) -> Device:
        with connection():
            device = create_device(name)
            Device.update(hostname=name).where(Device.id == device.id).execute()
            return Device.get_by_id(device.id)

    def pass_until(self, seconds: int, *alive: Device, watching: bool = True) -> None:
        with connection():
            while self.seconds < seconds:
                self.seconds += 10
                if self.seconds % 30 == 0:
                    for device in alive:
                        touch_heartbeat(device.id, at(self.seconds))
                if watching:
                    outages.watch(self.settings, at(self.seconds))

    def booked(self, device: Device | None = None) -> list[tuple[str, int, int | None]]:
        """(host, start, end) in seconds after noon."""
        with connection():
            rows = Outage.select(Outage, Device).join(Device).order_by(Outage.id)
            return [
                (row.device.hostname, _after(row.down_start), row.down_end and _after(row.down_end))
                for row in rows
                if device is None or row.device_id == device.id
            ]


def _after(moment: datetime) -> int:
    return round((moment - NOON).total_seconds())


@pytest.fixture
def clock(api: Api, app_settings: Settings) -> Clock:
    return Clock(app_settings)


def test_a_silence_becomes_an_outage_when_it_is_too_long(clock: Clock) -> None:
    web, db, new = clock.add("web"), clock.add("db"), clock.add("new")
    clock.pass_until(600, web, db)
    clock.pass_until(890, db)
    assert clock.booked() == []
    clock.pass_until(910, db)
    assert clock.booked() == [("web", 600, None)]
    clock.pass_until(1500, db)
    clock.pass_until(1530, web, db)
    assert clock.booked() == [("web", 600, 1530)]
    clock.pass_until(3000, web, db)
    assert clock.booked() == [("web", 600, 1530)]
    assert clock.booked(new) == [], "who was never heard of is not down"
    clock.pass_until(3500, db)
    assert clock.booked() == [("web", 600, 1530), ("web", 3000, None)]


def test_a_short_silence_is_none(clock: Clock) -> None:
    web = clock.add("web")
    clock.pass_until(600, web)
    clock.pass_until(890)
    clock.pass_until(1500, web)
    assert clock.booked() == []


def test_the_server_being_away_is_nobodys_outage(clock: Clock) -> None:
    fleet = [clock.add(f"host{number}") for number in range(3)]
    clock.pass_until(600, *fleet)
    clock.pass_until(7200, watching=False)
    clock.pass_until(7200 + 290, *fleet[1:])
    assert clock.booked() == []
    clock.pass_until(9000, *fleet[1:])
    assert clock.booked() == [("host0", 7210, None)], "silent since the server watches again"
    with connection():
        assert outages.unwatched() == [{"start": at(600), "end": at(7210)}]
        assert outages.unwatched(since=at(7210)) == outages.unwatched(until=at(600)) == []
        assert len(outages.unwatched(at(7209), at(9000))) == 1


def test_an_outage_that_runs_while_the_server_goes_away_is_kept_as_far_as_it_was_watched(clock: Clock) -> None:
    back, still = clock.add("back"), clock.add("still")
    clock.pass_until(600, back, still)
    clock.pass_until(1200)
    assert clock.booked() == [("back", 600, None), ("still", 600, None)]
    clock.pass_until(3600, back, watching=False)  # beats that came while nobody watched
    clock.pass_until(4200, back)
    assert clock.booked() == [("back", 600, 1200), ("still", 600, 1200), ("still", 3610, None)]


def test_a_return_that_the_watch_missed_by_a_short_break_ends_where_it_was(clock: Clock) -> None:
    web = clock.add("web")
    clock.pass_until(600, web)
    clock.pass_until(1200)
    clock.pass_until(1230, web, watching=False)
    clock.pass_until(1250)
    assert clock.booked() == [("web", 600, 1230)]


def test_a_clock_that_is_set_back_breaks_nothing(clock: Clock) -> None:
    web = clock.add("web")
    clock.pass_until(600, web)
    clock.seconds = 300
    clock.pass_until(900, web)
    assert clock.booked() == []
    with connection():
        assert Watch.select().count() == 1


def test_a_deleted_device_is_not_down_any_more(clock: Clock, api: Api) -> None:
    web = clock.add("web")
    clock.pass_until(600, web)
    clock.pass_until(1200)
    with connection():
        Device.update(deleted_at=at(1250)).where(Device.id == web.id).execute()
    clock.pass_until(2000)
    assert clock.booked() == [("web", 600, 1250)]
    assert api.get("/outages").json[0]["hostname"] == "web", "history stays"
    with connection():
        Device.update(deleted_at=None).where(Device.id == web.id).execute()
    clock.pass_until(2100)
    assert clock.booked() == [("web", 600, 1250), ("web", 1250, None)], "no time is booked twice"


def test_two_that_watch_book_once(clock: Clock) -> None:
    web = clock.add("web")
    clock.pass_until(600, web)
    clock.pass_until(850)
    barrier = threading.Barrier(4)

    def look() -> None:
        barrier.wait(10)
        with connection():
            outages.watch(clock.settings, at(905))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.booked() == [("web", 600, None)]


def test_a_look_costs_a_fixed_number_of_queries_and_a_beat_pays_nothing(clock: Clock) -> None:
    def cost(work: Callable[[], Any]) -> int:
        with connection(), queries() as seen:
            work()
        return len([text for text in seen if not text.startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))])

    fleet = [clock.add(f"host{number}") for number in range(40)]
    clock.pass_until(60, *fleet)
    quiet = cost(lambda: outages.watch(clock.settings, at(70)))
    assert cost(lambda: touch_heartbeat(fleet[0].id, at(75))) == 1
    clock.pass_until(360, fleet[0])
    assert cost(lambda: outages.watch(clock.settings, at(365))) <= quiet + 3
    assert len(clock.booked()) == 39
    assert cost(lambda: touch_heartbeat(fleet[1].id, at(370))) == 1


def test_old_ones_are_dropped(clock: Clock) -> None:
    web = clock.add("web")
    old, recent = now() - timedelta(days=401), now() - timedelta(days=399)
    with connection():
        for end in (old, recent, None):
            Outage.create(device=web, down_start=old - timedelta(hours=1), down_end=end)
            Watch.create(started_at=old, seen_at=end or now())
        assert tidy()["outages"] == 1
        assert [row.down_end is None for row in Outage.select().order_by(Outage.id)] == [False, True]
        assert Watch.select().count() == 2


# -- endpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture
def booked(clock: Clock) -> dict[str, Device]:
    """web was away for 1000 s and is again, db was for 400 s, mail for 90 s."""
    fleet = {name: clock.add(name) for name in ("web", "db", "mail")}
    with connection():
        Device.update(ip_address="10.0.0.2").where(Device.id == fleet["db"].id).execute()
        for name, start, end in (
            ("web", 0, 1000), ("db", 2000, 2400), ("mail", 2000, 2090), ("web", 5000, None),
        ):  # fmt: skip
            Outage.create(device=fleet[name], down_start=at(start), down_end=None if end is None else at(end))
        Watch.create(started_at=at(-9000), seen_at=at(3000))
        Watch.create(started_at=at(4000), seen_at=at(6000))
    return fleet


def starts(rows: list[dict[str, Any]]) -> str:
    return " ".join(f"{row['hostname']}:{_after(datetime.fromisoformat(row['down_start']))}" for row in rows)


FILTERS = [
    ("", "web:5000 mail:2000 db:2000 web:0"),
    ("hostname=web", "web:5000 web:0"),
    ('hostname="web",mail', "web:5000 mail:2000 web:0"),
    ("agent_id={db}", "db:2000"),
    ("ip_address=10.0.0.2", "db:2000"),
    ("hostname=nobody", ""),
    ("min_duration=400", "web:5000 db:2000 web:0"),
    ("min_duration=400.5", "web:5000 web:0"),
    ("min_duration=0", "web:5000 mail:2000 db:2000 web:0"),
    ("since={2090}", "web:5000 db:2000"),
    ("until={2000}", "web:0"),
    ("until={2001}", "mail:2000 db:2000 web:0"),
    ("since={500}&until={2050}&hostname=web,db", "db:2000 web:0"),
]


def test_filters(api: Api, booked: dict[str, Device]) -> None:
    names = {name: device.uuid for name, device in booked.items()}
    for query, found in [*FILTERS, ("ongoing=true", "web:5000"), ("ongoing=false", "mail:2000 db:2000 web:0")]:
        for form in (lambda moment: quote(moment.isoformat()), lambda moment: moment.isoformat()):
            moments = {str(number): form(at(number)) for number in (500, 2000, 2001, 2050, 2090)}
            answer = api.get(f"/outages?{_fill(query, {**names, **moments})}")
            assert answer.status_code == 200, answer.text
            assert starts(answer.json) == found, query
            assert json.loads(answer.headers["X-Pagination"])["total"] == len(answer.json)


def _fill(query: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        query = query.replace(f"{{{name}}}", value)
    return query


def test_rows_and_pages(api: Api, booked: dict[str, Device]) -> None:
    whole = api.get("/outages/").json
    assert whole[2] == {
        "id": 2,
        "device_id": booked["db"].id,
        "agent_id": booked["db"].uuid,
        "hostname": "db",
        "down_start": "2026-03-01T12:33:20Z",
        "down_end": "2026-03-01T12:40:00Z",
        "duration_seconds": 400,
    }
    running = whole[0]
    assert running["down_end"] is None
    assert running["duration_seconds"] == pytest.approx((now() - at(5000)).total_seconds(), abs=5)
    seen, after = [], ""
    while True:
        answer = api.get(f"/outages?limit=1{after}")
        seen += answer.json
        page = json.loads(answer.headers["X-Pagination"])
        assert page["total"] == 4
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert [row["id"] for row in seen] == [row["id"] for row in whole] == [4, 3, 2, 1]


def test_those_of_one_device(api: Api, booked: dict[str, Device]) -> None:
    for reference in ("web", booked["web"].id, booked["web"].uuid):
        assert starts(api.get(f"/devices/{reference}/outages").json) == "web:5000 web:0"
    assert starts(api.get("/devices/web/outages?ongoing=true").json) == "web:5000"
    assert starts(api.get(f"/devices/web/outages/?until={int(at(1).timestamp())}").json) == "web:0"
    assert api.get("/devices/nobody/outages").status_code == 404


def test_what_is_refused(api: Api, booked: dict[str, Device]) -> None:
    for query, param in (
        ("since=yesterday", "since"), ("until=", "until"), ("until=99999999999999999999", "until"),
        ("min_duration=-1", "min_duration"), ("min_duration=nan", "min_duration"), ("limit=0", "limit"),
        ("after=x", "after"), ("hostnam=web", "hostnam"),
    ):  # fmt: skip
        answer = api.get(f"/outages?{query}")
        assert answer.status_code == 400, query
        assert answer.json["errors"][0]["param"] == param
    assert api.client.get("/api/v1/outages").status_code == 401


def test_when_the_server_was_away(api: Api, booked: dict[str, Device]) -> None:
    [row] = api.get("/outages/unwatched").json
    assert row == {"start": "2026-03-01T12:50:00Z", "end": "2026-03-01T13:06:40Z"}
    assert api.get(f"/outages/unwatched?since={quote(at(4000).isoformat())}").json == []


def test_the_patch_management_form(api: Api, booked: dict[str, Device]) -> None:
    answer = api.get("/api/outages?hostname=db&min_duration=60&whatever=1").json
    assert answer == {
        "count": 1,
        "total": 1,
        "outages": [
            {
                "id": 2,
                "agent_id": booked["db"].uuid,
                "hostname": "db",
                "duration_seconds": 400,
                "down_start": "Sun, 01 Mar 2026 12:33:20 GMT",
                "down_end": "Sun, 01 Mar 2026 12:40:00 GMT",
            }
        ],
        "unwatched": [{"start": "Sun, 01 Mar 2026 12:50:00 GMT", "end": "Sun, 01 Mar 2026 13:06:40 GMT"}],
    }
    names = {name: device.uuid for name, device in booked.items()}
    for query, found in FILTERS:
        moments = {
            str(number): quote(f"{at(number):%a, %d %b %Y %H:%M:%S GMT}") for number in (500, 2000, 2001, 2050, 2090)
        }
        rows = api.get(f"/api/outages/?{_fill(query, {**names, **moments})}").json
        assert [row["hostname"] for row in rows["outages"]] == [one.split(":")[0] for one in found.split()], query
        assert rows["count"] == rows["total"] == len(found.split())
    limited = api.get("/api/outages?limit=1").json
    assert (limited["count"], limited["total"]) == (1, 4)
    assert limited["outages"][0]["down_end"] is None
    assert api.get("/api/outages?since=soon").status_code == 400
    assert database.db.is_closed()


# -- a started server ------------------------------------------------------------------------------------------------


def test_a_started_server_watches(tmp_path: Path) -> None:
    with Server(tmp_path / "data", PATCHHERD_ONLINE_SECONDS="1") as server:
        server.log_in()
        token = server.post("/api/v1/auto-enrollment/tokens", {"token_name": "t"}, 201)["token"]
        host = server.post(
            "/api/v1/auto-enrollment/enroll", {"friendly_name": "web"}, 201, headers=token_headers(token)
        )["host"]

        def beat() -> None:
            server.post("/api/v1/hosts/ping", {}, headers=host_headers(host))

        beat()
        [begun] = wait_for("an outage begins", lambda: server.get("/api/outages?hostname=web")["outages"], 40, 0.3)
        last = server.get("/api/heartbeat/status")["agents"][0]["last_heartbeat"]
        assert (begun["down_end"], begun["down_start"]) == (None, last)
        beat()
        last = server.get("/api/heartbeat/status")["agents"][0]["last_heartbeat"]
        path = f"/api/v1/devices/{host['id']}/outages?ongoing=false"
        ended = wait_for("it ends", lambda: server.get(path), 40, 0.3)[-1]
        assert (ended["id"], parsedate_to_datetime(last)) == (
            begun["id"],
            datetime.fromisoformat(ended["down_end"]).replace(microsecond=0),
        )
