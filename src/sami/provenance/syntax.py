"""Syntax of a module, without what changes no result: its definitions, and the names that each of them uses.

Knows no other module; `digests` puts them together, and gives the rule.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

HARNESS = (  # modules and folders of modules
    "errors",
    "files",
    "launch",
    "metrics",
    "progress",
    "provenance",
    "settings.explain",
    "stage",
    "training.throughput",
    "training.trackers",
    "workflow",
)
LOGS = {"log", "logger", "logging", "progress"}  # names of what takes messages
DECLARATIONS = {"input", "output", "setting", "structured"}  # methods of a `Stage`


class Code(NamedTuple):
    """Some statements: the digest of their syntax tree, the names that they use, and the imports among them."""

    digest: str
    names: frozenset[str]  # with attributes: "checks.degrees"; behind "=" where they stand in a text
    words: frozenset[str]  # all names, of attributes and arguments, too, and texts that could be one
    imports: dict[str, str]  # name -> what it stands for, from the top ("sami.judging.checks")


class Module(NamedTuple):
    """A module of the package, by what its definitions and its other statements are made of."""

    imports: dict[str, str]
    stars: list[str]  # modules of which it imports everything
    definitions: dict[str, Code]  # those of optional keys of settings as CLASS.KEY
    statements: Code  # what it does when it is imported
    command: Code  # what it does when it is run


@functools.cache
def is_harness(module: str) -> bool:
    """Whether a module, by its full name, is one that changes no result."""
    inner = module.partition(".")[2]
    return any(inner == name or inner.startswith(f"{name}.") for name in HARNESS)


@functools.cache  # so that copies that differ in a file are read once
def read_module(source: bytes, name: str, is_package: bool) -> Module:
    """Parses a module.

    Args:
        source: its text.
        name: its full name.
        is_package: whether it is the `__init__` of a folder.
    """
    home = name if is_package else name.rpartition(".")[0]
    definitions: dict[str, list[ast.stmt]] = {}
    imports, stars, statements, command = {}, [], [], []

    def sort(body: Iterable[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                stars.append(_origin(node, home))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                imports.update(_imported(node, home))
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                sort(node.body)
            elif isinstance(node, ast.If) and "__main__" in ast.dump(node.test):
                command.extend(node.body)
            elif isinstance(node, ast.ClassDef) and name.split(".")[1:2] == ["settings"]:
                definitions.update(_divided(node))
            elif names := _defined(node):
                for defined in names:
                    definitions.setdefault(defined, []).append(node)
            else:  # the definitions and imports in it count with it
                statements.append(node)
                sort([part for part in ast.walk(node) if isinstance(part, ast.Import | ast.ImportFrom)])
                for part in ast.walk(node):
                    if isinstance(part, ast.stmt) and part is not node:
                        definitions.update({defined: [node] for defined in _defined(part)})

    sort(ast.parse(source).body)
    ours = {*definitions, *(key for key, origin in imports.items() if origin.split(".")[0] == name.split(".")[0])}
    statements += [
        node
        for nodes in definitions.values()
        for node in nodes
        for decorator in getattr(node, "decorator_list", [])
        if {part.id for part in ast.walk(decorator) if isinstance(part, ast.Name)} & ours
    ]

    def read(nodes: Iterable[ast.stmt]) -> Code:
        return _Reader(home, imports).read(nodes)

    return Module(
        imports, stars, {key: read(nodes) for key, nodes in definitions.items()}, read(statements), read(command)
    )


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement defines, where that is all it does."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", getattr(node, "name", None))]
    names = [part for target in targets for part in getattr(target, "elts", [target])]
    simple = isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) or type(node).__name__ == "TypeAlias"
    return [part.id for part in names] if simple and all(isinstance(part, ast.Name) for part in names) else []


def _divided(node: ast.ClassDef) -> dict[str, list[ast.stmt]]:
    """A class of settings without the keys that have a default, and each of those."""
    optional = {
        part.target.id: part
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is not None
    }
    empty: dict[str, Any] = {"bases": [], "keywords": [], "decorator_list": [], "type_params": []}
    divided: dict[str, list[ast.stmt]] = {node.name: [node]}
    for key, part in optional.items():
        divided[f"{node.name}.{key}"] = [ast.ClassDef(name=node.name, body=[part], **empty)]
    node.body = [part for part in node.body if part not in optional.values()]
    return divided


def _origin(node: ast.ImportFrom, home: str) -> str:
    """The full name of the module that something is imported from, in a module of the folder `home`."""
    if node.module and not node.level:
        return node.module
    parts = home.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _imported(node: ast.Import | ast.ImportFrom, home: str) -> dict[str, str]:
    """Name -> what an import makes it stand for."""
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name: f"{_origin(node, home)}.{alias.name}" for alias in node.names}
    tops = {alias.name.split(".")[0]: alias.name.split(".")[0] for alias in node.names if not alias.asname}
    return tops | {alias.asname: alias.name for alias in node.names if alias.asname}


def _dotted(node: ast.expr) -> str:
    """`a.b.c`, where an expression is just that; else nothing."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _is_text(node: ast.expr) -> bool:
    """Whether an expression is a text by its form: a literal, an f-string, or made of one."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod) and (_is_text(node.left) or _is_text(node.right))
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) or _is_text(node.orelse)
    if isinstance(node, ast.Call):  # "...".join(...)
        return isinstance(node.func, ast.Attribute) and _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


class _Reader:
    """Writes a syntax tree out, without what changes no result, and collects the names in it."""

    def __init__(self, home: str, imports: dict[str, str]):
        self.home, self.outer = home, imports
        self.module_name = re.compile(rf"{re.escape(home.split('.')[0])}(\.\w+)+")
        self.written: list[str] = []
        self.names: set[str] = set()
        self.words: set[str] = set()
        self.imports: dict[str, str] = {}
        self.in_class = False

    def read(self, nodes: Iterable[ast.stmt]) -> Code:
        for node in nodes:
            self._write(node)
        digest = hashlib.sha256("".join(self.written).encode("utf-8", "surrogatepass")).hexdigest()
        return Code(digest, frozenset(self.names), frozenset(self.words), self.imports)

    def _write(self, node: object) -> None:
        """Writes a node, a list of nodes or a plain value of one."""
        if isinstance(node, ast.AST):
            write = self._SPECIAL.get(type(node))
            if write is None:
                self._fields(node)
            else:
                write(self, node)
        elif isinstance(node, list):
            for part in node:
                self._write(part)
        else:
            if isinstance(node, str):
                self.words.add(node)
            self.written.append(f"{node!r} ")

    def _fields(self, node: ast.AST, **instead: Any) -> None:
        """Writes a node with its fields; some of them replaced, or left out by None."""
        self.written.append(f"({type(node).__name__}")
        for field in node._fields:
            value = instead[field] if field in instead else getattr(node, field, None)
            # Versions of Python differ in their empty fields; the other three tell of form and place alone.
            if value is not None and value != [] and field not in ("ctx", "type_comment", "kind"):
                self.written.append(field)
                self._write(value)
        self.written.append(")")

    def _nothing(self, node: ast.AST) -> None:
        pass

    def _name(self, node: ast.Name | ast.Attribute) -> None:
        if name := _dotted(node):
            self.names.add(name)
            self.words.update(name.split("."))
            self.written.append(f"({name})")
        else:
            self._fields(node)

    def _constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            if node.value.isidentifier():
                self.words.add(node.value)
            elif self.module_name.fullmatch(node.value):
                self.names.add(f"={node.value}")
        self.written.append(f"{node.value!r} ")  # 1, 2 is not 12

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.imports |= _imported(node, self.home)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outside, self.in_class = self.in_class, False
        self._fields(node, returns=None)
        self.in_class = outside

    def _class(self, node: ast.ClassDef) -> None:
        outside, self.in_class = self.in_class, True
        self._fields(node)
        self.in_class = outside

    def _argument(self, node: ast.arg) -> None:
        self.written.append(f"({node.arg})")

    def _annotated(self, node: ast.AnnAssign) -> None:
        if self.in_class:
            annotation = node.annotation
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                annotation = ast.parse(annotation.value, mode="eval").body
            self._fields(node, annotation=annotation)
        elif node.value is not None:
            self._fields(ast.Assign(targets=[node.target], value=node.value))

    def _expression(self, node: ast.Expr) -> None:
        """A statement that is an expression: a docstring, a message, or something that is done."""
        value = node.value
        tells = isinstance(value, ast.Call) and LOGS & {*_dotted(value.func).split(".")[:-1][-1:]}
        if not tells and not isinstance(value, ast.Constant):
            self._fields(node)

    def _raise(self, node: ast.Raise) -> None:
        self.written.append("(Raise")
        if isinstance(node.exc, ast.Call):
            self._call(node.exc, wording=True)
        else:
            self._write(node.exc)
        self._write(node.cause)
        self.written.append(")")

    def _assert(self, node: ast.Assert) -> None:
        self._fields(node, msg=None)

    def _call(self, node: ast.Call, wording: bool = False) -> None:
        """A call, without the texts that are wording."""
        base, *rest = _dotted(node.func).split(".")
        origin, name = self.imports.get(base) or self.outer.get(base) or base, [base, *rest][-1]
        wording = wording or name.endswith(("Error", "Warning")) or is_harness(".".join([origin, *rest]))
        declares = base == "stage" and name in DECLARATIONS
        arguments = [
            argument
            for i, argument in enumerate(node.args)
            if not (_is_text(argument) and (wording or (declares and i > 0)))
        ]
        keywords = [
            keyword
            for keyword in node.keywords
            if not (_is_text(keyword.value) and (wording or self._describes(name, keyword.arg)))
        ]
        self._fields(node, args=arguments, keywords=keywords)

    def _describes(self, function: str, keyword: str | None) -> bool:
        return keyword == "help" or (keyword == "description" and function == "Field")

    _SPECIAL: ClassVar[dict[type[ast.AST], Callable[["_Reader", Any], None]]] = {
        ast.Name: _name,
        ast.Attribute: _name,
        ast.Constant: _constant,
        ast.Import: _import,
        ast.ImportFrom: _import,
        ast.FunctionDef: _function,
        ast.AsyncFunctionDef: _function,
        ast.ClassDef: _class,
        ast.arg: _argument,
        ast.AnnAssign: _annotated,
        ast.Expr: _expression,
        ast.Raise: _raise,
        ast.Assert: _assert,
        ast.Call: _call,
        ast.Pass: _nothing,
    }
