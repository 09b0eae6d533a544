# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Advisories of vendors: what they fix, who is exposed, and how bad it is."""
