"""The mutants that `make mutants` tries: small, sound as Python, and only where a test could notice."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mutants.mutations import mutations_of
from mutants.targets import TARGETS

ROOT = Path(__file__).parent.parent


def mutants(source: str) -> set[str]:
    return {mutation.of(source) for mutation in mutations_of(source)}


def test_a_comparison_is_moved_by_one_and_turned_round() -> None:
    assert mutants("known = a < b") == {"known = (a <= b)", "known = (a >= b)", "known = None"}


def test_values_at_the_top_of_a_module_are_tried_too() -> None:
    assert "DELAYS = (0, 6)" in mutants("DELAYS = (0, 5)")


def test_statements_are_left_out_and_results_withheld() -> None:
    found = mutants("def f(x):\n    x.y = 'ü'\n    x.z()\n    return x")

    assert "def f(x):\n    pass\n    x.z()\n    return x" in found
    assert "def f(x):\n    x.y = 'ü'\n    pass\n    return x" in found
    assert "def f(x):\n    x.y = 'ü'\n    x.z()\n    return None" in found


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "from x import y",
        "kept: dict[str, int]",
        "S = TypeVar('S', bound=int)",
        "Kinds: TypeAlias = tuple[str, ...]",
        "class A:\n    __slots__ = ('b', 'c')",
        "@frozen(kw_only=True)\nclass A(B, gc=False):\n    'What it is.'",
        "def __repr__(self):\n    return f'<{self.name}>'",
        "def f(x: Literal['a']) -> Literal[1]:\n    'Says.'",
    ],
)
def test_what_no_test_should_notice_is_left_alone(source: str) -> None:
    assert mutants(source) == set()


def test_of_what_is_raised_the_wording_is_left_alone() -> None:
    assert mutants("raise Conflict('the same id', 5)") == {"pass"}


def test_every_mutant_of_a_module_is_python_and_another_than_it() -> None:
    source = (ROOT / "engine/watch/watchdog.py").read_text()
    found = [mutation.of(source) for mutation in mutations_of(source)]

    assert len(found) == len(set(found))
    for mutant in found:
        assert mutant != source
        ast.parse(mutant)


def test_every_module_and_test_that_is_named_exists() -> None:
    for modules in TARGETS.values():
        for file, tests in modules.items():
            assert (ROOT / file).is_file()
            assert all((ROOT / test.partition("::")[0]).exists() for test in tests)
