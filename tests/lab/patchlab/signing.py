# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""Throw-away signing keys: one that the hosts trust, one that they do not."""
from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from .system import HOME, locked, run

TRUSTED, STRANGER = "trusted@lab.invalid", "stranger@lab.invalid"
GNUPG = HOME / "gnupg"
_LOCK = HOME / "locks" / "gnupg"


def public_key() -> str:
    """The armored key that the hosts trust; makes both keys the first time."""
    with locked(_LOCK):
        exported = GNUPG / "trusted.asc"
        if not exported.exists():
            shutil.rmtree(GNUPG, ignore_errors=True)
            GNUPG.mkdir(parents=True, mode=0o700)
            for mail in (TRUSTED, STRANGER):
                # RSA: apt and the rpm of the hosts both verify it
                _gpg("--passphrase", "", "--quick-gen-key", f"Lab <{mail}>", "rsa3072", "sign", "never")
            text = _gpg("--armor", "--export", TRUSTED)
            _stop_agent()
            exported.write_text(text)
        return exported.read_text()


@contextlib.contextmanager
def signing() -> Iterator[None]:
    """Allow clearsign/detach_sign/rpmsign inside; the key agent is gone afterwards."""
    public_key()
    with locked(_LOCK):
        try:
            yield
        finally:
            _stop_agent()


def clearsign(source: Path, dest: Path, signer: str = TRUSTED) -> None:
    _gpg("-u", signer, "--clearsign", "-o", dest, source)


def detach_sign(source: Path, dest: Path, signer: str = TRUSTED) -> None:
    _gpg("--yes", "-u", signer, "--armor", "--detach-sign", "-o", dest, source)


def sign_rpms(rpms: list[Path], topdir: Path) -> None:
    run("rpmsign", "--define", f"_gpg_path {GNUPG}", "--define", f"_gpg_name {TRUSTED}",
        "--define", f"__gpg {shutil.which('gpg')}", "--define", f"_topdir {topdir}", "--addsign", *rpms)


def _gpg(*arguments: object) -> str:
    return run("gpg", "--homedir", GNUPG, "--batch", *arguments)


def _stop_agent() -> None:
    run("gpgconf", "--homedir", GNUPG, "--kill", "gpg-agent", check=False)
