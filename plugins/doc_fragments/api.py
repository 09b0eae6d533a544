# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

_OPTIONS = r"""
options:
  url:
    description:
      - Address of the Patchherd server, for example V(https://patchherd.example.com).
      - It may also be given by the environment variable E(PATCHHERD_URL).
    type: str
    required: true @URL@
  token:
    description:
      - API token of the Patchherd server.
      - It may also be given by the environment variable E(PATCHHERD_TOKEN).
    type: str
    required: true @TOKEN@
  validate_certs:
    description:
      - Whether the certificate of the server is checked.
      - It may also be given by the environment variable E(PATCHHERD_VALIDATE_CERTS).
    type: bool
    default: true @VALIDATE_CERTS@
  ca_path:
    description:
      - File with the certificates of the authorities that are trusted, in PEM format, in addition to those of the system.
      - It may also be given by the environment variable E(PATCHHERD_CA_PATH).
    type: path @CA_PATH@
  timeout:
    description:
      - Seconds to wait for the server to connect, and for each part of its answer.
      - It may also be given by the environment variable E(PATCHHERD_TIMEOUT).
    type: int
    default: 30 @TIMEOUT@
"""


def _options(with_env):
    """Return the options; plugins read the environment from C(env:), modules must not have that key."""
    text = _OPTIONS
    for name in ("URL", "TOKEN", "VALIDATE_CERTS", "CA_PATH", "TIMEOUT"):
        env = f"\n    env:\n      - name: PATCHHERD_{name}" if with_env else ""
        text = text.replace(f" @{name}@", env)
    return text


class ModuleDocFragment:
    # For modules, which take the environment by their argument specification.
    DOCUMENTATION = _options(with_env=False)

    # For inventory and callback plugins.
    PLUGIN = _options(with_env=True)
