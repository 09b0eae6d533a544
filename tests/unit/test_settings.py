# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Where settings come from, and which ones are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from patchherd.errors import SettingsError
from patchherd.settings import Settings, load_settings, with_secret_key


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PATCHHERD_"):
            monkeypatch.delenv(name)


def test_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert (settings.host, settings.port, settings.mode) == ("127.0.0.1", 8480, "production")
    assert settings.resolved_database_url == f"sqlite:///{tmp_path}/patchherd.db"
    assert settings.on_sqlite
    assert settings.api_prefix == "/api/v1"
    assert (settings.online_seconds, settings.stale_hours) == (300, 26)


def test_the_nearest_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "patchherd.toml").write_text('port = 1\nforks = 2\njobs = 3\ntrusted_proxies = ["10.0.0.0/8"]\n')
    monkeypatch.setenv("PATCHHERD_PORT", "4")
    monkeypatch.setenv("PATCHHERD_FORKS", "5")
    settings = load_settings(tmp_path, port=6, host=None)
    assert (settings.port, settings.forks, settings.jobs, settings.host) == (6, 5, 3, "127.0.0.1")
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    monkeypatch.setenv("PATCHHERD_TRUSTED_PROXIES", " 192.0.2.1, ,2001:db8::/32 ")
    assert load_settings(tmp_path).trusted_proxies == ("192.0.2.1", "2001:db8::/32")
    monkeypatch.setenv("PATCHHERD_DATA", "/elsewhere")
    assert load_settings(tmp_path).data == tmp_path, "the directory decides what is read, not the other way round"


def test_every_setting_can_be_set_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    special = {
        "mode": "development",
        "api_version": "v2",
        "credential_prefix": "fleet",
        "auth_rate_limit": "5 per hour",
        "log_level": "debug",
        "log_format": "console",
        "duplicate_hosts": "skip",
        "public_url": "https://p.example",
        "trusted_proxies": "10.0.0.1",
        "database_url": "sqlite:////x/y.db",
        "secret_key": "k" * 40,
        "hsts": "true",
        "admin_password": "long enough",
        "default_enrollment_token": "t" * 40,
    }
    for name in Settings.__struct_fields__:
        default = getattr(Settings(data=tmp_path), name)
        if name == "data" or name.startswith("tls_"):
            continue
        if isinstance(default, bool):
            text: str = "false" if default else "true"
        elif isinstance(default, int):
            text = str(default + 1)
        else:
            text = special.get(name, "text")
        monkeypatch.setenv(f"PATCHHERD_{name.upper()}", text)
        settings = load_settings(tmp_path)
        assert getattr(settings, name) != default, name
        monkeypatch.delenv(f"PATCHHERD_{name.upper()}")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"port": "ssh"}, "port"),
        ({"port": 65536}, "port"),
        ({"port": -1}, "port"),
        ({"jobs": 0}, "jobs"),
        ({"processes": -1}, "processes"),
        ({"lease_seconds": 51}, "lease_seconds"),
        ({"lease_seconds": 4}, "lease_seconds"),
        ({"mode": "debug"}, "mode"),
        ({"log_level": "loud"}, "log_level"),
        ({"api_version": "v1/../x"}, "api_version"),
        ({"credential_prefix": "P; rm"}, "credential_prefix"),
        ({"auth_rate_limit": "many"}, "auth_rate_limit"),
        ({"password_cost": 17}, "password_cost"),
        ({"host_approval": "perhaps"}, "host_approval"),
        ({"max_body_bytes": 0}, "max_body_bytes"),
        ({"trusted_proxies": ["proxy.example"]}, "trusted_proxies"),
        ({"trusted_proxies": ["10.0.0.0/33"]}, "trusted_proxies"),
        ({"public_url": "patchherd.example"}, "public_url"),
        ({"public_url": "https://p.example/'; rm -rf /"}, "public_url"),
        ({"public_url": "ftp://p.example"}, "public_url"),
        ({"public_url": "https://p.example\n"}, "public_url"),
        ({"duplicate_hosts": "both"}, "duplicate_hosts"),
        ({"agent_poll_seconds": 4}, "agent_poll_seconds"),
        ({"default_enrollment_token": "key:secret" * 4, "mode": "development"}, "default_enrollment_token"),
        ({"default_enrollment_token": "two words", "mode": "development"}, "default_enrollment_token"),
        ({"default_enrollment_token": "x" * 65, "mode": "development"}, "default_enrollment_token"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, values: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(tmp_path, **values)


@pytest.mark.parametrize(
    "url", ["", "http://10.0.0.1:8480", "https://p.example", "https://p.example/fleet/", "https://[::1]:1"]
)
def test_public_urls(tmp_path: Path, url: str) -> None:
    assert load_settings(tmp_path, public_url=url).public_url == url


@pytest.mark.parametrize("text", ["port = ", "= 1", "prot = 8480", "port = 'x'", "\x00", b"\xff\xfe".decode("latin-1")])
def test_a_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "patchherd.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError):
        load_settings(tmp_path)


@pytest.mark.parametrize("key", ["secret", "changeme", "x" * 31, "PATCHHERD"])
def test_production_refuses_weak_keys(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError, match="secret_key") as refused:
        load_settings(tmp_path, secret_key=key)
    assert f"'{key}'" not in str(refused.value)
    assert load_settings(tmp_path, secret_key=key, mode="development").secret_key == key


@pytest.mark.parametrize("password", ["password", "Changeme", "admin", "short7!", "adminadmin", "patchherd"])
def test_production_refuses_weak_passwords(tmp_path: Path, password: str) -> None:
    with pytest.raises(SettingsError, match="admin_password"):
        load_settings(tmp_path, admin_password=password)
    assert load_settings(tmp_path, admin_password=password, mode="development").admin_password == password


@pytest.mark.parametrize("token", ["changeme", "ChangeMe", "x" * 31])
def test_production_refuses_weak_enrolment_tokens(tmp_path: Path, token: str) -> None:
    with pytest.raises(SettingsError, match="default_enrollment_token"):
        load_settings(tmp_path, default_enrollment_token=token)
    assert load_settings(tmp_path, default_enrollment_token=token, mode="development").seeded_token == token


def test_only_development_has_an_enrolment_token_of_its_own(tmp_path: Path) -> None:
    assert load_settings(tmp_path).seeded_token == ""
    assert load_settings(tmp_path, mode="development").seeded_token == "changeme"
    assert load_settings(tmp_path, mode="development", default_enrollment_token="").seeded_token == ""
    assert load_settings(tmp_path, default_enrollment_token="x" * 32).seeded_token == "x" * 32


def test_the_secret_key_is_made_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = Settings(data=data)
    keys = [with_secret_key(settings).secret_key for _ in range(2)]
    assert len(set(keys)) == 1
    assert len(keys[0]) == 64
    assert (data.stat().st_mode & 0o777, (data / "secret.key").stat().st_mode & 0o777) == (0o700, 0o600)
    assert sorted(path.name for path in data.iterdir()) == ["secret.key"]
    given = msgspec.structs.replace(settings, secret_key="g" * 40)
    assert with_secret_key(given).secret_key == "g" * 40


@pytest.mark.parametrize("left", ["", "short", "\n"])
def test_a_key_file_that_was_cut_off_is_refused(tmp_path: Path, left: str) -> None:
    (tmp_path / "secret.key").write_text(left)
    with pytest.raises(SettingsError, match="cut off"):
        with_secret_key(Settings(data=tmp_path))
