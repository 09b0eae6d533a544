# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The process of one job: `python -m patchherd.job DATA_DIR JOB_ID`."""

from __future__ import annotations

from patchherd.automation import jobs as _jobs  # noqa: F401 - adds its kind of deployments
from patchherd.deployments import runner

if __name__ == "__main__":
    runner.main()
