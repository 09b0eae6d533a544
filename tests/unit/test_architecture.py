# SPDX-License-Identifier: Apache-2.0
"""The rooms of the server know each other in one direction only (docs/architecture.md)."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "server" / "patchherd"

# Each row may import what stands in the rows below it. Rooms of one row may use each other, but not in a circle.
ROWS = [
    {"web", "inventory", "reports"},
    {"automation", "monitoring"},
    {"deployments", "content"},
    {"packages"},
    {"enrollment"},
    {"devices"},
    {"identity"},
]
ROW_OF = {room: height for height, row in enumerate(reversed(ROWS), start=1) for room in row}
# Modules that put the rooms together; every other module beside the rooms is foundation and knows none of them.
TOP_MODULES = {"__main__", "app", "cli", "commands", "health", "job", "schema", "wsgi"}
TOP, FOUNDATION = len(ROWS) + 1, 0
# Libraries with one owner: who else needs what they do calls that module.
OWNED = {"ansible_runner": "patchherd.deployments.runner"}


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _sources() -> list[Path]:
    # A link is a file of another place; migrations describe tables, not subjects.
    return [path for path in sorted(PACKAGE.rglob("*.py")) if not path.is_symlink() and "migrations" not in path.parts]


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every (dotted name, line) that a file imports, also inside functions and TYPE_CHECKING blocks."""
    name = _module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0]
                base = f"{above}.{base}".rstrip(".")
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _room(dotted: str) -> str | None:
    """The room or module beside the rooms that a name of the package belongs to, None for the package itself."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else None


def _height(room: str) -> int:
    return TOP if room in TOP_MODULES else ROW_OF.get(room, FOUNDATION)


def _edges(sources: list[Path]) -> Iterator[tuple[str, str, str]]:
    """Every (importing room, imported room, place) between two different rooms."""
    beside = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    for path in sources:
        importer = _room(_module_name(path))
        for dotted, line in _imports(path):
            imported = _room(dotted) if dotted.split(".")[0] == "patchherd" else None
            if importer and imported in beside and imported != importer:
                yield importer, imported, f"{path.relative_to(PACKAGE.parent)}:{line}"


def _violations(sources: list[Path]) -> list[str]:
    return [
        f"{place}: {importer} must not know {imported}"
        for importer, imported, place in _edges(sources)
        if _height(imported) > _height(importer) or (_height(imported) == TOP and _height(importer) != TOP)
    ]


def test_rooms_have_a_place() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"migrations"}
    assert rooms <= set(ROW_OF) | TOP_MODULES, "give a new room its row in ROWS and in docs/architecture.md"


def test_imports_point_down() -> None:
    assert not _violations(_sources())


def test_rooms_make_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for importer, imported, _place in _edges(_sources()):
        if importer in ROW_OF and imported in ROW_OF:
            graph.setdefault(importer, set()).add(imported)
    list(graphlib.TopologicalSorter(graph).static_order())


def test_endpoints_call_functions_not_models() -> None:
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {dotted}"
        for path in _sources()
        if path.stem == "api" or path.parent.name == "api"
        for dotted, line in _imports(path)
        if "models" in dotted.split(".") or dotted.split(".")[0] in {"peewee", "playhouse"}
    ]
    assert not found


@pytest.mark.parametrize(("library", "owner"), OWNED.items())
def test_library_has_one_owner(library: str, owner: str) -> None:
    users = {
        _module_name(path)
        for path in _sources()
        for dotted, _line in _imports(path)
        if dotted.split(".")[0] == library
    }
    assert users <= {owner}


@pytest.mark.parametrize(
    ("room", "code", "complaint"),
    [
        ("devices", "from patchherd.packages import keys", "devices must not know packages"),
        ("devices", "def late():\n    from ..deployments import plan", "devices must not know deployments"),
        ("identity", "from patchherd import web", "identity must not know web"),
        ("web", "import patchherd.app", "web must not know app"),
        ("web", "from patchherd.devices import registry", None),
        ("packages", "from patchherd.errors import NotFound", None),
    ],
)
def test_the_check_itself(
    room: str, code: str, complaint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "patchherd"
    for name in ROW_OF:
        (package / name).mkdir(parents=True)
    for name in ("app", "errors"):
        (package / f"{name}.py").touch()
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    source = package / room / "thing.py"
    source.write_text(code)
    complaints = [text.split(": ", 1)[1] for text in _violations([source])]
    assert complaints == ([complaint] if complaint else [])
