# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Agents of the IT Monitoring kind: hardware and software inventories with history, agent releases, webhooks."""
