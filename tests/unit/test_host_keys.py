# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""SSH host keys: what the server keeps is what the inventory plugin takes, and both take public keys only."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchherd.devices.host_keys import MAX_KEYS, is_host_key, read_host_keys
from tests import ssh_keys

ROOT = Path(__file__).parents[2]
GOOD = {
    "ed25519": ssh_keys.ed25519("a"), "rsa": ssh_keys.rsa("a"), "rsa-16384": ssh_keys.rsa("a", 16384),
    "rsa-1024": ssh_keys.rsa("a", 1024), "ecdsa-256": ssh_keys.ecdsa("a"), "ecdsa-384": ssh_keys.ecdsa("a", 384),
    "ecdsa-521": ssh_keys.ecdsa("a", 521),
}  # fmt: skip
ED, RSA, EC = ssh_keys.ed25519("a"), ssh_keys.rsa("a"), ssh_keys.ecdsa("a")
E, N = b"\x01\x00\x01", b"\0\xc0" + bytes(range(255))
BAD = {
    "nothing": "", "type only": "ssh-ed25519", "no base64": "ssh-ed25519 !!!!",
    "another type": ED.replace("25519", "448"),
    "blob names another type": RSA.replace("ssh-rsa", "ssh-ed25519"),
    "type in the blob only": "ssh-dss " + ED.split()[1],
    "zeros": "ssh-ed25519 " + "A" * 68,
    "type and no key": ssh_keys.line("ssh-ed25519"),
    "short": ssh_keys.line("ssh-ed25519", bytes(31)), "long": ssh_keys.line("ssh-ed25519", bytes(33)),
    "two keys": ssh_keys.line("ssh-ed25519", bytes(32), bytes(32)),
    "something behind it": "ssh-ed25519 " + base64.b64encode(base64.b64decode(ED.split()[1]) + b"x").decode(),
    "length beyond the end":
        "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\xff\xff\xff\xff" + bytes(32)).decode(),
    "another spelling of the same key": EC[:-2] + chr(ord(EC[-2]) + 1) + "=",
    "no padding": EC.rstrip("="), "cut": ED[:-4], "url alphabet": ED.replace("/", "_").replace("+", "-") + "-",
    "rsa of 1016 bits": ssh_keys.rsa("a", 1016), "rsa of 16392 bits": ssh_keys.rsa("a", 16392),
    "rsa without modulus": ssh_keys.line("ssh-rsa", E), "rsa of nothing": ssh_keys.line("ssh-rsa", b"", b""),
    "negative modulus": ssh_keys.line("ssh-rsa", E, N[1:]), "negative exponent": ssh_keys.line("ssh-rsa", b"\x81", N),
    "needless zeros": ssh_keys.line("ssh-rsa", E, b"\0" + N), "rsa and more": ssh_keys.line("ssh-rsa", E, N, b"x"),
    "another curve": EC.replace("nistp256", "nistp384"),
    "curve of another size": ssh_keys.line("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + bytes(96)),
    "compressed point": ssh_keys.line("ecdsa-sha2-nistp256", b"nistp256", b"\x02" + bytes(32)),
    "point of wrong form": ssh_keys.line("ecdsa-sha2-nistp256", b"nistp256", b"\x02" + bytes(64)),
    "certificate": ssh_keys.line("ssh-ed25519-cert-v01@openssh.com", bytes(32), bytes(32)),
    "security key": ssh_keys.line("sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:"),
    "a second line": ED + "\n" + ED, "option of known_hosts": "@revoked * " + ED,
    "template": "ssh-ed25519 {{ lookup('env','HOME') }}",
    "huge": "ssh-rsa " + "A" * 100_000,
}  # fmt: skip


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_hosts", ROOT / "plugins/plugin_utils/_hosts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLUGIN = load()


def taken(key: str) -> bool:
    """Whether the inventory plugin takes it."""
    try:
        return bool(PLUGIN.host_keys({"ssh_host_keys": [key]}) == [key])
    except PLUGIN.BadConnection:
        return False


@pytest.mark.parametrize("name", GOOD)
def test_a_public_key_is_kept_and_taken(name: str) -> None:
    assert is_host_key(GOOD[name])
    assert taken(GOOD[name])
    assert read_host_keys([f"  {GOOD[name]} root@host \n"]) == ([GOOD[name]], [])


@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_neither(name: str) -> None:
    assert not is_host_key(BAD[name])
    assert not taken(BAD[name])


@pytest.mark.parametrize("arguments", ["ed25519", "rsa -b 2048", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521"])
def test_what_ssh_keygen_makes_is_kept(arguments: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", file, "-t", *arguments.split()], check=True)
    keys, problems = read_host_keys([file.with_suffix(".pub").read_text()])
    assert (len(keys), problems) == (1, [])
    assert taken(keys[0])


def test_bad_ones_are_told_by_their_place_and_nothing_of_them_is_repeated() -> None:
    keys, problems = read_host_keys([ED, "ssh-ed25519 {{ evil }}", EC, None, {"a": 1}, ED])
    assert keys == sorted([ED, EC])
    assert problems == [
        f"SSH host key {number} is not a public key of a known type: it is not kept" for number in (2, 4, 5)
    ]
    many = [ssh_keys.ed25519(str(number)) for number in range(MAX_KEYS + 2)]
    keys, problems = read_host_keys(many)
    assert keys == sorted(many)[:MAX_KEYS]
    assert problems == ["SSH host keys: 10 are reported, 8 are kept"]
    assert len(read_host_keys(["x"] * 10_000)[1]) == MAX_KEYS + 1
    for nothing in (None, "ssh-ed25519 AAAA", {"a": ED}, 7):
        assert read_host_keys(nothing) == ([], [])


@given(st.sampled_from(list(GOOD.values())), st.integers(0, 4000), st.integers(0, 255))
def test_no_single_byte_makes_them_disagree(key: str, at: int, byte: int) -> None:
    kind, encoded = key.split()
    blob = bytearray(base64.b64decode(encoded))
    blob[at % len(blob)] = byte
    changed = f"{kind} {base64.b64encode(blob).decode()}"
    assert is_host_key(changed) == taken(changed)
    kept, problems = read_host_keys([changed])
    assert kept == ([changed] if is_host_key(changed) else [])
    assert bool(kept) is not bool(problems)


@given(st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"]), st.binary(max_size=300))
def test_no_rubbish_makes_them_disagree(kind: str, rubbish: bytes) -> None:
    head = len(kind).to_bytes(4, "big") + kind.encode()
    key = f"{kind} {base64.b64encode(head + rubbish).decode()}"
    assert is_host_key(key) == taken(key)
