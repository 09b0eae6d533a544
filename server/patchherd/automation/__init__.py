# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What operators keep ready for devices: scripts, software, images, and profiles made of tasks."""
