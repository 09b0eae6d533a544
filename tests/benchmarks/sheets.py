# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Tables of figures: on the terminal, and as sections of docs/benchmarks.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Sheet:
    """One table, how it was measured (`text`), and for each wanted figure whether it was reached (`targets`)."""

    title: str
    columns: Sequence[str]
    text: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def want(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """Note a figure that has an upper limit."""
        verdict = "reached" if value <= limit else "MISSED"
        self.targets.append(f"{what}: {value:.2f}{unit}, wanted at most {limit:.2f}{unit}: {verdict}")

    def want_at_least(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """Note a figure that has a lower limit."""
        verdict = "reached" if value >= limit else "MISSED"
        self.targets.append(f"{what}: {value:.2f}{unit}, wanted at least {limit:.2f}{unit}: {verdict}")

    def print(self) -> None:
        table = Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if self._is_numeric(number) else "left")
        for row in self.rows:
            table.add_row(*row)
        console = Console()
        if not console.is_terminal:
            console.width = 140
        console.print(table)
        for target in self.targets:
            console.print(f"  {target}", style="red" if target.endswith("MISSED") else "green", highlight=False)

    def markdown(self) -> str:
        rule = ["---:" if self._is_numeric(number) else "---" for number in range(len(self.columns))]
        lines = [f"### {self.title}", ""]
        if self.text:
            lines += [self.text, ""]
        lines += [f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows)]
        if self.targets:
            lines += ["", *(f"- {target}" for target in self.targets)]
        return "\n".join(lines) + "\n"

    def _is_numeric(self, column: int) -> bool:
        return all(re.match(r"[\d.,]|-$", row[column]) for row in self.rows)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Lowest and highest value."""
    return f"{min(values):.{digits}f}-{max(values):.{digits}f}"
