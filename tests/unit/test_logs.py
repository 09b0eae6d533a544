# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""No secret leaves the process by its log, wherever in an entry it stands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchherd.logs import REDACTED, redact

SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=8, max_size=80).map(
    lambda text: f"S3{text}"
)
NAMES = st.sampled_from(
    ["password", "token", "api_key", "apiKey", "X-API-KEY", "Authorization", "cookie", "token_secret", "private_key"]
)
TEXTS = [
    "Authorization: Bearer {}",
    "authorization: basic {}",
    "header 'Authorization': 'Bearer {}'",
    "GET /script?type=x&token_secret={}&arch=amd64",
    "?token_key={}",
    '{{"password": "{}"}}',
    "password={}",
    "{{'api_key': '{} with more words'}}",
    "X-API-KEY: {}",
    "postgresql://user:{}@db.example:5432/name failed",
    "redis://:{}@cache",
    "used pht_{} here",
    "secret = {}; next",
]


def cleaned(**event: Any) -> dict[str, Any]:
    return dict(redact(None, "info", event))


@given(secret=SECRETS, text=st.sampled_from(TEXTS), where=st.sampled_from(["event", "msg", "nested", "list", "object"]))
def test_secrets_inside_texts(secret: str, text: str, where: str) -> None:
    line = text.format(secret)
    values: dict[str, Any] = {
        "event": {"event": line},
        "msg": {"event": "x", "msg": line},
        "nested": {"event": "x", "data": {"deep": [{"line": line}]}},
        "list": {"event": "x", "lines": ("a", line)},
        "object": {"event": "x", "error": ValueError(line)},
    }[where]
    shown = repr(cleaned(**values))
    assert secret not in shown
    assert REDACTED in shown


@given(secret=SECRETS, name=NAMES)
def test_secrets_under_their_names(secret: str, name: str) -> None:
    shown = cleaned(
        event="x", **{name: secret}, body={"deeper": {name: [secret]}}, raw=json.dumps({name: secret}).encode()
    )
    assert secret not in repr(shown)
    assert shown[name] == REDACTED


@pytest.mark.parametrize(
    "line",
    ["GET /api/v1/devices?limit=5", "web1: state=running", "https://example.org/path", "at 10:22:33", "a@b.example"],
)
def test_what_is_no_secret_is_left_alone(line: str) -> None:
    assert cleaned(event=line, path=line) == {"event": line, "path": line}


PROGRAM = """
import logging, sys
from pathlib import Path
import structlog
from patchherd import logs
from patchherd.settings import Settings
logs.configure(Settings(data=Path("/nonexistent"), log_format=sys.argv[1], log_level=sys.argv[2]))
log = structlog.get_logger("test")
log.debug("quiet")
log.info("placed", password="S3cret-value", deployment=7)
logging.getLogger("other").warning("Authorization: Bearer %s", "S3cret-value")
try:
    raise ValueError("token=S3cret-value")
except ValueError:
    log.exception("failed", settings=Settings(data=Path("x"), secret_key="S3cret-value"))
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_real_log(form: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form, "info"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "", "the log is standard error"
    assert "S3cret-value" not in done.stderr
    assert "quiet" not in done.stderr
    if form == "json":
        entries = [json.loads(line) for line in done.stderr.splitlines()]
        assert [entry["level"] for entry in entries] == ["info", "warning", "error"]
        assert entries[0]["deployment"] == 7
        assert entries[0]["timestamp"].endswith("Z")
        assert "ValueError" in entries[2]["exception"]
    else:
        assert "placed" in done.stderr
        assert "ValueError" in done.stderr
