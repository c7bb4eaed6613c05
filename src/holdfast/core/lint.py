"""A lint over workflow bodies: what may differ when a body is executed again against its journal.

Looked at are the functions decorated as workflows, what stands inside them, and the functions of the same module that
they use. Steps may do anything. ``# holdfast: allow[rule]`` on a line, or alone on the line above, says that what it
does is meant.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from holdfast.core.lint_rules import MUTATING, OWN_RULES, READS_IN_ORDER, RULES, SET_METHODS, find_rule

Function = ast.FunctionDef | ast.AsyncFunctionDef

_ALLOW: Final = re.compile(r"#\s*holdfast:\s*allow\[([^\]]*)\]")
_STEPS: Final = frozenset({"step", "transaction", "compensate", "compensate_with"})


class Finding(Struct, frozen=True, kw_only=True, order=True):
    """A place of a workflow's body that may not be repeatable."""

    file: str
    line: int
    rule: str
    """One of ``RULES``: what ``allow[...]`` names."""
    name: str
    """What was called or used."""
    workflow: str
    """The workflow, or the function that it uses."""
    instead: str
    """What to write."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.name} in {self.workflow!r}: {self.instead}"


def lint_source(text: str, file: str, *, lines: frozenset[int] = frozenset()) -> list[Finding]:
    """What is found in one module, in the order of its lines.

    Args:
        text: the module's source. Raises SyntaxError if it is none.
        file: what findings call it.
        lines: where workflows begin that no decorator shows, as a code object's first line says.
    """
    tree = ast.parse(text, file)
    module = _Module(tree)
    findings: set[Finding] = set()
    allowed = _allowed_rules(text)
    for function in module.reach(lines):
        for node, rule, name in _Body(module, function).look():
            line = getattr(node, "lineno", function.lineno)
            if rule not in allowed.get(line, ()):
                instead = RULES[rule]
                findings.add(
                    Finding(file=file, line=line, rule=rule, name=name, workflow=function.name, instead=instead)
                )
    findings |= _unknown_rules(allowed, file)
    return sorted(findings)


def _allowed_rules(text: str) -> dict[int, set[str]]:
    allowed: dict[int, set[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        found = _ALLOW.search(token.string) if token.type == tokenize.COMMENT else None
        if found is not None:
            rules = {rule.strip() for rule in found.group(1).split(",")}
            alone = token.line.lstrip().startswith("#")
            allowed.setdefault(token.start[0] + alone, set()).update(rules)
    return allowed


def _unknown_rules(allowed: dict[int, set[str]], file: str) -> set[Finding]:
    known = ", ".join(sorted(set(RULES) - OWN_RULES))
    return {
        Finding(
            file=file, line=line, rule="allow", name=f"allow[{rule}]", workflow="", instead=f"the rules are {known}"
        )
        for line, rules in allowed.items()
        for rule in rules
        if rule not in RULES
    }


class _Module:
    """What a module's names stand for."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.imports: dict[str, str] = {}
        for node in ast.walk(tree):
            self.imports |= imported_names(node)
        self.functions = {node.name: node for node in tree.body if isinstance(node, Function)}
        self.mutable = _mutable_globals(tree)

    def reach(self, lines: frozenset[int]) -> list[Function]:
        """The workflows, and the module's functions that they use, each once."""
        found: list[Function] = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, Function) and (_decorated(node, {"workflow"}) or _first_line(node) in lines)
        ]
        for function in found:  # it grows while we go
            for node in walk_body(function):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    used = self.functions.get(node.id)
                    if used is not None and used not in found and not _decorated(used, _STEPS):
                        found.append(used)
        return found


def _first_line(function: Function) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def _decorated(function: Function, names: set[str] | frozenset[str]) -> bool:
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Attribute) and called.attr in names:
            return True
    return False


def imported_names(node: ast.AST) -> dict[str, str]:
    """What an import statement binds, each with the full name of what it stands for."""
    match node:
        case ast.Import(names=names):
            tops = {alias.asname or alias.name.split(".")[0]: alias for alias in names}
            return {name: alias.name if alias.asname else name for name, alias in tops.items()}
        case ast.ImportFrom(module=str(module), names=names):
            return {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
        case _:
            return {}


def walk_body(function: Function) -> Iterator[ast.AST]:
    """All that is executed as part of a function: inner functions too, but for steps, and no decorators."""
    left: list[ast.AST] = list(reversed(function.body))
    while left:
        node = left.pop()
        yield node
        if isinstance(node, Function):
            if not _decorated(node, _STEPS):
                left.extend(reversed(node.body))
        else:
            left.extend(reversed(list(ast.iter_child_nodes(node))))


def _mutable_globals(tree: ast.Module) -> set[str]:
    """The module's lists, dicts and sets that some function of it changes, and names that one rebinds."""
    made: set[str] = set()
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_mutable(value):
                made.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if _is_mutable(value):
                made.add(name)
            case _:
                pass
    changed: set[str] = set()
    for function in ast.walk(tree):
        if isinstance(function, Function):
            local = _bound_names(function)
            for part in walk_body(function):
                changed |= {name for name in changed_names(part) if name not in local and name in made}
                if isinstance(part, ast.Global):
                    changed |= set(part.names)
    return changed


def _is_mutable(value: ast.expr) -> bool:
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(value=ast.Name(id=name))):
            return name in {"list", "dict", "set", "defaultdict", "deque", "Counter", "OrderedDict", "bytearray"}
        case _:
            return False


def changed_names(node: ast.AST) -> Iterator[str]:
    """The names whose object a node changes."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in MUTATING:
            yield name
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            yield name
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name
        case _:
            pass


def _bound_names(function: Function) -> set[str]:
    """The names that are the function's own: parameters and what it assigns, but for its imports and globals."""
    own: set[str] = set()
    outside: set[str] = set()
    nodes: list[ast.AST] = [function.args, *walk_body(function)]
    for node in nodes:
        match node:
            case ast.arguments():
                own |= {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                own.add(node.name)
                own |= {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
            case ast.Name(id=name, ctx=ast.Store()):
                own.add(name)
            case ast.Lambda():
                own |= {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
            case ast.Global(names=names):
                outside |= set(names)
            case _:
                pass
    return own - outside


class _Body:
    """One function, looked through."""

    def __init__(self, module: _Module, function: Function) -> None:
        self.module = module
        self.function = function
        self.nodes = list(walk_body(function))
        self.own = _bound_names(function)
        self.sets = self._set_names()

    def look(self) -> Iterator[tuple[ast.AST, str, str]]:
        """Every place with its rule and what stands there."""
        yield from self._look_at_continuing()
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield from self._look_at_call(node)
            elif isinstance(node, ast.Attribute) and self.full_name(node) == "os.environ":
                yield node, "environment", "os.environ"
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and self._is_set(node.iter):
                yield node.iter, "unordered", "iteration over a set"
            elif isinstance(node, ast.Global):
                yield node, "global", f"global {', '.join(node.names)}"
            elif isinstance(node, ast.Name) and node.id in self.module.mutable and node.id not in self.own:
                yield node, "global", node.id

    def _look_at_continuing(self) -> Iterator[tuple[ast.AST, str, str]]:
        """Clauses that catch everything around a call by which the run is to end."""
        for node in self.nodes:
            if not isinstance(node, ast.Try) or not any(self._continues(part) for part in _parts(node.body)):
                continue
            for clause in node.handlers:
                catches_all = clause.type is None or self.full_name(clause.type) == "BaseException"
                if catches_all and not any(isinstance(part, ast.Raise) for part in _parts(clause.body)):
                    yield clause, "swallowed", "a clause that catches hf.continue_as_new()"

    def _continues(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and self.full_name(node.func) == "holdfast.continue_as_new"

    def _look_at_call(self, call: ast.Call) -> Iterator[tuple[ast.AST, str, str]]:
        name = self.full_name(call.func)
        rule = find_rule(name)
        seeded = name == "random.Random" and call.args
        if rule is not None and not seeded:
            yield call, rule, f"{name}()"
        if isinstance(call.func, ast.Attribute) and call.func.attr == "run_in_executor":
            yield call, "task", "run_in_executor()"
        if name in READS_IN_ORDER:
            yield from ((each, "unordered", f"{name}() of a set") for each in call.args if self._is_set(each))
        for each in call.args:
            if isinstance(each, ast.Starred) and self._is_set(each.value):
                yield each, "unordered", "the items of a set as arguments"

    def full_name(self, node: ast.expr) -> str:
        """``datetime.datetime.now`` for ``datetime.now``, by the module's imports; a builtin's own name; else empty."""
        match node:
            case ast.Name(id=name):
                if name in self.own or name in self.module.functions:
                    return ""
                return self.module.imports.get(name, name)
            case ast.Attribute(value=value, attr=attr):
                owner = self.full_name(value)
                return f"{owner}.{attr}" if owner else ""
            case ast.Call(func=func):
                return self.full_name(func)
            case _:
                return ""

    def _set_names(self) -> set[str]:
        """Variables that hold a set and nothing else."""
        self.sets = set[str]()
        others: set[str] = set()
        for node in self.nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if self._is_set(value):
                    self.sets.add(name)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if self._is_set(value):
                    self.sets.add(name)
                case ast.Assign(targets=targets):
                    others |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
                case _:
                    pass
        return self.sets - others

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                return name in self.sets
            case ast.Call(func=ast.Name(id=name)):
                return name in {"set", "frozenset"} and name not in self.own
            case ast.Call(func=ast.Attribute(value=value, attr=attr)):
                return attr in SET_METHODS and self._is_set(value)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self._is_set(left) or self._is_set(right) or (_is_view(left) and _is_view(right))
            case _:
                return False


def _parts(body: list[ast.stmt]) -> Iterator[ast.AST]:
    return (part for statement in body for part in ast.walk(statement))


def _is_view(node: ast.expr) -> bool:
    """The keys or items of a dict: in order by themselves, but a set once they are combined."""
    match node:
        case ast.Call(func=ast.Attribute(attr="keys" | "items"), args=[]):
            return True
        case _:
            return False
