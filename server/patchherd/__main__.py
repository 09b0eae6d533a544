# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""`python -m patchherd`."""

from patchherd.cli import main

main()
