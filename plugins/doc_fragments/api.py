# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re


class ModuleDocFragment:
    # For modules, which take the environment by their argument specification.
    DOCUMENTATION = r"""
options:
  url:
    description:
      - Address of the Patchherd server, for example V(https://patchherd.example.com).
      - It may also be given by the environment variable E(PATCHHERD_URL).
    type: str
    required: true
  token:
    description:
      - API token of the Patchherd server.
      - It may also be given by the environment variable E(PATCHHERD_TOKEN).
    type: str
    required: true
  validate_certs:
    description:
      - Whether the certificate of the server is checked.
      - It may also be given by the environment variable E(PATCHHERD_VALIDATE_CERTS).
    type: bool
    default: true
  ca_path:
    description:
      - File with the certificates of the authorities that are trusted, in PEM format, in addition to those of the system.
      - It may also be given by the environment variable E(PATCHHERD_CA_PATH).
    type: path
  timeout:
    description:
      - Seconds to wait for the server to connect, and for each part of its answer.
      - It may also be given by the environment variable E(PATCHHERD_TIMEOUT).
    type: int
    default: 30
"""


# For inventory and callback plugins: the same options, which must name their environment variables for Ansible to read them.
ModuleDocFragment.PLUGIN = re.sub(
    r"(?m)^  (\w+):$",
    lambda option: f"{option.group()}\n    env:\n      - name: PATCHHERD_{option.group(1).upper()}",
    ModuleDocFragment.DOCUMENTATION,
)
