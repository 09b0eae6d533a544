# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""Throw-away managed hosts and signed repositories on one Linux machine, for end-to-end tests."""
from __future__ import annotations

from .fixtures import FIXTURES, STAGES, WINDOWS_UPDATES
from .hosts import Host
from .lab import Lab
from .system import LabBusy, LabError, check_machine

__all__ = ["FIXTURES", "STAGES", "WINDOWS_UPDATES", "Host", "Lab", "LabBusy", "LabError", "check_machine"]
