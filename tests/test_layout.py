"""The house keeps its shape: what is installed, what imports what at run time, and how long a file may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("engine", "projections", "transports", "daemon")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

FILE_LINES = 420
LONG_FILES = {
    "engine/events.py": "the whole vocabulary in one place, a class a kind, with no behaviour to split off",
    "engine/testing/stations.py": "one conformance suite, to be read beside the one interface that it judges",
}
"""Files that may be longer than the rule of the house (about 400), and why."""

FUNCTION_LINES = 45
LONG_FUNCTIONS = {
    "engine/core.py: __init__": "one line a part of the engine, and nothing that decides",
    "engine/log/schema.py: _first_layout": "the tables of a log, as a literal",
}
"""Functions that may be longer than the rule of the house (about 40), and why."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("stationkeeper", *parts[: -1 if parts[-1] == "__init__" else None]))


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function of a file, with its length in lines; its docstring and functions within it do not count."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            own = lines_of(node) - sum(lines_of(inner) for inner in nested(node))
            if ast.get_docstring(node) is not None:
                own -= lines_of(node.body[0])
            yield f"{name_of(path)}: {node.name}", own


def nested(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the functions within a node, but not those within them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield child
        else:
            yield from nested(child)


def lines_of(node: ast.AST) -> int:
    assert isinstance(node, ast.stmt)
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def loaded_after(statement: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has loaded after *statement*."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout, so nothing is tracked")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_root_holds_a_docstring_and_nothing_else() -> None:
    # Test runners import it a second time under another name; with one relative import in it, collection fails.
    body = ast.parse((ROOT / "__init__.py").read_text()).body

    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)


def test_no_other_module_stands_at_the_root() -> None:
    # Everything there would be shipped.
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_every_folder_of_source_is_a_listed_package() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    folders = {module_of(path.parent / "__init__.py") for path in SOURCES}

    assert folders | {"stationkeeper"} == listed
    assert all((path.parent / "__init__.py").is_file() for path in SOURCES)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_is_importable_under_its_name(path: Path) -> None:
    assert Path(str(import_module(module_of(path)).__file__)).resolve() == path.resolve()


def test_files_stay_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    long = {name: lines for name, lines in lengths.items() if lines > FILE_LINES}

    assert long.keys() == LONG_FILES.keys(), f"over {FILE_LINES} lines: {long}; allowed: {sorted(LONG_FILES)}"


def test_functions_stay_short() -> None:
    lengths = dict(pair for path in SOURCES for pair in functions(path))
    long = {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES}

    assert long.keys() == LONG_FUNCTIONS.keys(), f"over {FUNCTION_LINES} lines: {long}; allowed: {LONG_FUNCTIONS}"


def test_an_audit_loads_no_trio() -> None:
    loaded = loaded_after(
        "from stationkeeper.engine import fold, read_log\nfrom stationkeeper.projections import presence"
    )

    assert not loaded & {"trio", "trio_websocket", "wsproto", "h11"}


def test_projections_are_pure_when_they_run() -> None:
    # The import contract proves that they import nothing impure themselves; this, that nothing below them does.
    loaded = loaded_after("import stationkeeper.projections")

    assert not loaded & {"trio", "sqlite3", "pysqlite3", "sqlite_utils", "logging", "ssl"}


def test_embedding_loads_nothing_of_the_daemons() -> None:
    loaded = loaded_after(
        "from stationkeeper.engine import open_engine\n"
        "from stationkeeper.projections import outbox, presence\n"
        "from stationkeeper.transports import AnyStation, WebhookSender, WebSocketStations"
    )

    assert not loaded & {
        "cattrs",
        "fastapi",
        "jinja2",
        "prometheus_client",
        "pydantic",
        "rich",
        "starlette",
        "stationkeeper.daemon",
        "structlog",
    }


def test_the_command_line_starts_without_the_servers_weight() -> None:
    # `stationkeeper --help` and the audit commands should answer at once.
    loaded = loaded_after("import stationkeeper.daemon.cli")

    assert not loaded & {"fastapi", "pydantic", "starlette"}


def test_no_tracked_file_names_a_path_of_this_machine() -> None:
    # A root that is a whole word in itself ("/app") says nothing.
    own = [re.escape(str(place)) for place in (ROOT, Path.home()) if len(place.parts) > 2]
    pattern = re.compile("|".join([*own, r"(?<![\w.])/(?:home|Users|root)/\w+"]).encode())
    found = {name_of(path): hit[0] for path in tracked() if (hit := pattern.search(path.read_bytes()))}

    assert found == {}
