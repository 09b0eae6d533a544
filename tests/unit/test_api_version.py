# SPDX-License-Identifier: Apache-2.0
"""The version segment of the API's paths follows the environment variable that clients in the field document."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchherd.errors import SettingsError
from patchherd.settings import load_settings


@pytest.mark.parametrize(
    ("environment", "prefix"),
    [
        ({}, "/api/v1"),
        ({"API_VERSION": "v2"}, "/api/v2"),
        ({"PATCHHERD_API_VERSION": "v3"}, "/api/v3"),
        ({"API_VERSION": "v2", "PATCHHERD_API_VERSION": "v3"}, "/api/v3"),
    ],
)
def test_api_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], prefix: str) -> None:
    for name in ("API_VERSION", "PATCHHERD_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings(tmp_path).api_prefix == prefix


def test_a_malformed_version_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_VERSION", "../v1")
    with pytest.raises(SettingsError, match="api_version"):
        load_settings(tmp_path)
