# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The device list and the heartbeat as most people would write them with FastAPI and SQLAlchemy 2, to compare with.

Small on purpose, and not slowed down: no log-in, a table of just the columns that are shown, the product's SQLite
settings. `uvicorn tests.benchmarks.peer_fastapi:create --factory` serves the file that PEER_DATABASE names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, PlainSerializer
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from patchherd.database import SQLITE_PRAGMAS

ONLINE = timedelta(seconds=300)


class Base(DeclarativeBase):
    pass


class Device(Base):
    __tablename__ = "device"

    id: Mapped[int] = mapped_column(primary_key=True)
    agent_id: Mapped[str] = mapped_column(unique=True)
    agent_version: Mapped[str | None]
    hostname: Mapped[str | None] = mapped_column(index=True)
    ip_address: Mapped[str | None] = mapped_column(index=True)
    os_architecture: Mapped[str | None]
    os_name: Mapped[str | None]
    os_version: Mapped[str | None]
    last_heartbeat: Mapped[datetime | None] = mapped_column(index=True)
    updated_at: Mapped[datetime]

    @property
    def last_seen(self) -> datetime | None:
        return self.last_heartbeat

    @property
    def status(self) -> str:
        beat = self.last_heartbeat
        return "ONLINE" if beat and datetime.now(UTC).replace(tzinfo=None) - beat <= ONLINE else "OFFLINE"


class Action(Base):
    __tablename__ = "action"

    id: Mapped[int] = mapped_column(primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"), index=True)
    type: Mapped[str]
    status: Mapped[str]
    payload: Mapped[str | None]
    software_id: Mapped[int | None]


HttpDate = Annotated[datetime, PlainSerializer(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))]


class DeviceOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    agent_id: str
    agent_version: str | None
    hostname: str | None
    id: int
    ip_address: str | None
    last_heartbeat: HttpDate | None
    last_seen: HttpDate | None
    os_architecture: str | None
    os_name: str | None
    os_version: str | None
    status: str
    updated_at: HttpDate | None


class DeviceList(BaseModel):
    count: int
    devices: list[DeviceOut]


class Heartbeat(BaseModel):
    device_id: int
    status: str | None = None
    os_version: str | None = None
    hardware_summary: Any = None


class ActionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    type: str
    payload: str | None
    software_id: int | None


class Actions(BaseModel):
    actions: list[ActionOut]


def open_engine(file: Path) -> Engine:
    """The database in `file`, with the pragmas of the product."""
    engine = create_engine(f"sqlite:///{file}")

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        for name, value in SQLITE_PRAGMAS.items():
            connection.execute(f"PRAGMA {name} = {value}")

    return engine


def fill(file: Path, rows: list[dict[str, Any]]) -> None:
    """Create the tables in `file`, with these devices."""
    engine = open_engine(file)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Device(**row) for row in rows)
        session.commit()
    engine.dispose()


def open_session(request: Request) -> Iterator[Session]:
    """A session for one request."""
    with request.app.state.sessions() as session:
        yield session


Opened = Annotated[Session, Depends(open_session)]
api = APIRouter()


@api.get("/healthz")
def healthz() -> dict[str, bool]:
    return {"ok": True}


@api.get("/api/devices")
def list_devices(
    session: Opened, agent_id: str | None = None, hostname: str | None = None, ip_address: str | None = None
) -> DeviceList:
    query = select(Device).order_by(Device.id)
    for column, text in ((Device.agent_id, agent_id), (Device.hostname, hostname), (Device.ip_address, ip_address)):
        if text:
            query = query.where(column.in_(text.split(",")))
    rows = session.scalars(query).all()
    return DeviceList(count=len(rows), devices=[DeviceOut.model_validate(row) for row in rows])


@api.post("/api/v1/agent/heartbeat")
def heartbeat(session: Opened, body: Heartbeat) -> Actions:
    device = session.get(Device, body.device_id)
    if device is None:
        raise HTTPException(404, "Device not found")
    device.last_heartbeat = datetime.now(UTC).replace(tzinfo=None)
    if body.os_version:
        device.os_version = body.os_version
    waiting = select(Action).where(Action.device_id == device.id, Action.status == "pending").order_by(Action.id)
    actions = session.scalars(waiting).all()
    for action in actions:
        action.status = "running"
    answer = Actions(actions=[ActionOut.model_validate(action) for action in actions])
    session.commit()
    return answer


def create() -> FastAPI:
    """The application on the database that the environment names."""
    app = FastAPI()
    app.state.sessions = sessionmaker(open_engine(Path(os.environ["PEER_DATABASE"])))
    app.include_router(api)
    return app
