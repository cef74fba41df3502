"""The mutations of a source: each a small change that some test should notice.

A mutation replaces one piece of the text, so that what survives can be shown as a diff of the file itself.

Left alone by rule, because no test should notice: docstrings and other bare strings, annotations, imports, decorators
and base classes (declarations, which the type checkers hold), `__slots__`, `__all__`, `__repr__`, protocols, type
variables and aliases, the first argument of `cast`, and the wording of what is raised. Within an f-string nothing is
changed but the whole.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SWAPS: dict[type[ast.AST], tuple[Callable[[], Any], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.Div,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
"""Operator -> what stands in its place: the boundary beside it, and its opposite."""

NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "heappop": "list.pop"}
"""Called by this name -> called by that one."""

UNREAD = {"__slots__", "__all__"}
UNTOLD = {"__repr__"}
DECLARING = {"TypeVar", "ParamSpec", "Protocol", "TypeAlias"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Mutation(NamedTuple):
    """Bytes *start* to *end* of the source become *text*."""

    start: int
    end: int
    text: str

    def of(self, source: str) -> str:
        """Return the mutated source."""
        whole = source.encode()
        return (whole[: self.start] + self.text.encode() + whole[self.end :]).decode()


def mutations_of(source: str) -> list[Mutation]:
    """Return each mutation of a source once, in the order of the text."""
    found = dict.fromkeys(_Finder(source).within(ast.parse(source)))
    return sorted(one for one in found if _makes_sense(one.of(source)))


def _makes_sense(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


class _Finder:
    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._lines = [0]
        for line in self._source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    # --- which parts ---

    def within(self, node: ast.AST) -> Iterator[Mutation]:
        """Yield the mutations of a node and of all that is below it."""
        if _left_alone(node):
            return
        yield from self._of(node)
        for child in _parts(node):
            yield from self.within(child)

    def _of(self, node: ast.AST) -> Iterator[Mutation]:
        match node:
            case ast.stmt():
                yield from self._of_statement(node)
            case ast.Compare() | ast.BoolOp() | ast.BinOp():
                yield from self._of_operators(node)
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                yield self._in_place_of(node, f"({ast.unparse(node.operand)})")
            case ast.IfExp():
                yield from self._of_test(node.test)
            case ast.comprehension():
                for test in node.ifs:
                    yield from self._of_test(test)
            case ast.Constant() | ast.JoinedStr():
                yield from self._of_literal(node)
            case ast.Call():
                yield from self._of_call(node)
            case ast.Lambda():
                yield self._in_place_of(node.body, "None")
            case _:
                pass

    # --- statements ---

    def _of_statement(self, node: ast.stmt) -> Iterator[Mutation]:
        match node:
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield self._in_place_of(value, "None")
            case ast.Raise() | ast.Delete() | ast.Expr() | ast.AugAssign():
                yield self._in_place_of(node, "pass")
            case ast.Assign() if any(isinstance(one, ast.Attribute | ast.Subscript) for one in node.targets):
                yield self._in_place_of(node, "pass")
            case ast.Assign() if not isinstance(node.value, ast.Constant):
                yield self._in_place_of(node.value, "None")
            case ast.Continue():
                yield self._in_place_of(node, "break")
            case ast.Break():
                yield self._in_place_of(node, "continue")
            case ast.If() | ast.While() | ast.Assert():
                yield from self._of_test(node.test)
            case _:
                pass
        if isinstance(node, ast.AugAssign):
            yield from self._of_added(node)

    def _of_added(self, node: ast.AugAssign) -> Iterator[Mutation]:
        for other in SWAPS.get(type(node.op), ()):
            changed = ast.AugAssign(target=node.target, op=other(), value=node.value)
            yield self._in_place_of(node, ast.unparse(changed))
        yield self._in_place_of(node, f"{ast.unparse(node.target)} = {ast.unparse(node.value)}")

    def _of_test(self, test: ast.expr) -> Iterator[Mutation]:
        # A comparison is turned round by its operator, a negation by leaving it out.
        if not isinstance(test, ast.Compare) and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            yield self._in_place_of(test, f"(not ({ast.unparse(test)}))")

    # --- expressions ---

    def _of_operators(self, node: ast.Compare | ast.BoolOp | ast.BinOp) -> Iterator[Mutation]:
        operators = node.ops if isinstance(node, ast.Compare) else [node.op]
        for number, operator in enumerate(operators):
            for other in SWAPS.get(type(operator), ()):
                changed = ast.parse(ast.unparse(node), mode="eval").body
                if isinstance(changed, ast.Compare):
                    changed.ops[number] = other()
                elif isinstance(changed, ast.BoolOp | ast.BinOp):
                    changed.op = other()
                yield self._in_place_of(node, f"({ast.unparse(changed)})")

    def _of_literal(self, node: ast.Constant | ast.JoinedStr) -> Iterator[Mutation]:
        match node:
            case ast.JoinedStr():
                yield self._in_place_of(node, '"XX"')
            case ast.Constant(value=bool() as value):
                yield self._in_place_of(node, repr(not value))
            case ast.Constant(value=int() | float() as value):
                yield self._in_place_of(node, repr(value + 1))
            case ast.Constant(value=str() as value):
                yield self._in_place_of(node, repr("XX" + value))
            case ast.Constant(value=bytes() as value):
                yield self._in_place_of(node, repr(b"XX" + value))
            case _:
                pass

    def _of_call(self, node: ast.Call) -> Iterator[Mutation]:
        if isinstance(node.func, ast.Name) and node.func.id in NAMES:
            yield self._in_place_of(node.func, NAMES[node.func.id])
        given = [one for one in node.args if not isinstance(one, ast.Starred)]
        given += [one.value for one in node.keywords if one.arg is not None]
        skipped = 1 if _called(node) == "cast" else 0
        for one in given[skipped:]:
            if not isinstance(one, ast.Constant | ast.JoinedStr):
                yield self._in_place_of(one, "None")

    def _in_place_of(self, node: ast.AST, text: str) -> Mutation:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._lines[node.lineno - 1] + node.col_offset
        return Mutation(start, self._lines[node.end_lineno - 1] + node.end_col_offset, text)


def _called(node: ast.AST | None) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name in UNTOLD
        case ast.ClassDef():
            return any("Protocol" in ast.unparse(base) for base in node.bases)
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in UNREAD or _called(node.value) in DECLARING
        case ast.AnnAssign():
            return "TypeAlias" in ast.unparse(node.annotation)
        case _:
            return False


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is below a node, without what only declares or words something."""
    match node:
        case ast.ClassDef():
            yield from node.body
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from (one for one in [*node.args.defaults, *node.args.kw_defaults] if one is not None)
            yield from node.body
        case ast.AnnAssign():
            yield from () if node.value is None else (node.value,)
        case ast.Raise() | ast.JoinedStr():
            return
        case ast.Call() if _called(node) == "cast":
            yield from node.args[1:]
        case ast.If() if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        case _:
            yield from ast.iter_child_nodes(node)
