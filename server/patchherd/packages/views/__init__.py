# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Content views: named lists of repository metadata that say which versions devices could have."""
