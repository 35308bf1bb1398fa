"""Digest of the code that can change what a stage writes: the part of a result's provenance that marks it out of date.

The digest covers definitions (functions, classes, assignments at the top of a module), not modules: those that the
stage's module reaches by name through the imports of this package, wherever they stand, also inside functions, in
decorators, bases and default values, through re-exports and through `module.name`. A class counts as a whole. What a
module does when it is imported, beside defining and importing (registering a function, for example), counts as soon
as anything of the module is reached; so does a definition under a decorator of this package, which may register it.

Of what is reached, the syntax tree counts, without what changes no result:
- comments, docstrings, annotations of functions and variables. Those in the body of a class stay: to pydantic and
  dataclasses they mean something;
- wording: texts (literals, f-strings and what is made of them) handed to an exception, to the harness, or to the
  declarations of a stage as their help; the messages of `assert`; `help=`, and the `description=` of a field;
- statements that only log or show progress (`log.info(...)`, `progress.update(...)`);
- keys of `settings` that have a default and whose names stand nowhere in what is reached: those are for others;
- `HARNESS`: the modules that run a stage, tell about it, or measure it.

Where a definition stands does not count: moving a function to another module changes nothing.

Whatever cannot be resolved is included: all names of a module that is handed around as a value, or of `import *`; all
of the package behind a module with a `__getattr__` of its own; a text that is the name of a module.

Limits. None of this reaches a function of computed name (`getattr(module, name)` includes all of `module`, but
`getattr(thing, name)` only what `thing` is made of where it is made), classes found by `__subclasses__`, and modules
imported for nothing but what they do then. What goes through all keys of a model of the settings at once
(`model_dump`) is taken to do so for the record. The versions of other packages do not count; provenance names them.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HARNESS = (  # modules and folders of modules
    "digests",
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


class Node(NamedTuple):
    """A definition of a module; what the module does, where the name is empty; its command, where that is "()"."""

    module: str
    name: str

    def within(self, places: tuple[str, ...]) -> bool:
        """Whether it belongs to one of some modules or definitions, named without the package."""
        path = f"{self.module}.{self.name}.".partition(".")[2]
        return any(path.startswith(f"{place}.") for place in places)


class Package:
    """The source of a package, read once.

    Args:
        folder: where it is; its name is the package's.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._modules: dict[str, Module | None] = {}
        self._uses, self._node_digest = map(functools.cache, (self._uses, self._node_digest))

    def digest(self, stage: str, without: tuple[str, ...] = ()) -> str:
        """Digest of all that a stage reaches, in 16 hexadecimal digits.

        Args:
            stage: its name.
            without: modules and definitions ("sampling.vllm_sampler") that its settings do not let it use.
        """
        nodes = sorted({self._node_digest(node, without) for node in self.reached(stage, without)})
        return hashlib.sha256("".join(nodes).encode()).hexdigest()[:16]

    def reached(self, stage: str, without: tuple[str, ...] = ()) -> set[Node]:
        """The definitions that a stage reaches."""
        waiting, seen = [Node(f"{self.folder.name}.stages.{stage}", "()")], set()
        words, optional = set(), set()
        while waiting:
            node = waiting.pop()
            if node not in seen and not node.within(without):
                seen.add(node)
                words |= self._code(node).words
                optional |= self._keys_of(node)
                waiting += [Node(home, "") for home in self._homes(node.module)]
                waiting += [target for targets in self._uses(node).values() for target in targets if target.module]
            if not waiting:
                waiting += [key for key in optional - seen if key.name.split(".")[1] in words]
        return seen

    def _homes(self, module: str) -> list[str]:
        """A module and the folders that are imported with it."""
        parts = module.split(".")
        return [home for i in range(len(parts)) if self._module(home := ".".join(parts[: i + 1]))]

    def _keys_of(self, node: Node) -> set[Node]:
        """The optional keys of a class of settings."""
        definitions = self._module(node.module).definitions
        return {Node(node.module, name) for name in definitions if name.startswith(f"{node.name}.")}

    def _node_digest(self, node: Node, without: tuple[str, ...]) -> str:
        """Digest of a definition, and of what each name in it stands for."""
        uses = [
            f"{name}={self._code(target).digest if target.module else target.name}"
            for name, targets in self._uses(node).items()
            for target in targets
            if not target.within(without)
        ]
        return hashlib.sha256("\n".join([self._code(node).digest, *sorted(uses)]).encode()).hexdigest()

    def _uses(self, node: Node) -> dict[str, set[Node]]:
        """Name in a definition -> what it may stand for; without a module, where that is none of this package's."""
        module, code = self._module(node.module), self._code(node)
        found = {}
        for name in code.names:
            base, *rest = name.removeprefix("=").split(".")
            targets = [imports[base] for imports in (code.imports, module.imports) if base in imports]
            if name.startswith("="):
                targets = [base]
            elif base in module.definitions or module.stars:
                targets.append(f"{node.module}.{base}")
            if reached := {node for target in targets for node in self._resolve([*target.split("."), *rest])}:
                found[name] = reached
        return found

    def _resolve(self, parts: list[str]) -> Iterator[Node]:
        """What a name from the top stands for."""
        if parts[0] != self.folder.name:
            yield Node("", ".".join(parts))
            return
        count = next(n for n in range(len(parts), 0, -1) if self._module(".".join(parts[:n])))
        name, rest = ".".join(parts[:count]), parts[count:]
        module = self._module(name)
        if is_harness(name):
            yield Node("", ".".join(rest))
        elif not rest:  # the module itself, as a value
            yield from self._all_of(name)
        elif rest[0] in module.definitions:
            yield Node(name, rest[0])
        elif rest[0] in module.imports:
            yield from self._resolve([*module.imports[rest[0]].split("."), *rest[1:]])
        elif module.stars:
            for star in module.stars:
                yield from self._all_of(star)
        elif "__getattr__" in module.definitions:
            for path in sorted(self.folder.rglob("*.py")):
                yield from self._all_of(".".join(path.relative_to(self.folder.parent).with_suffix("").parts))
        elif rest[0].startswith("__"):
            yield from self._all_of(name)

    def _all_of(self, name: str) -> Iterator[Node]:
        """All definitions of a module, and what it imports of this package under names of its own."""
        module = self._module(name)
        if module and not is_harness(name):
            yield from (Node(name, definition) for definition in ["", *module.definitions])

    def _code(self, node: Node) -> Code:
        module = self._module(node.module)
        return {"": module.statements, "()": module.command}.get(node.name) or module.definitions[node.name]

    def _module(self, name: str) -> Module | None:
        """A module of the package by its full name; None where there is none."""
        if name not in self._modules:
            path = self.folder.parent.joinpath(*name.split("."))
            files = [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
            read = [read_module(file.read_bytes(), name, file.stem == "__init__") for file in files]
            self._modules[name] = next(iter(read), None)
        return self._modules[name]


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
    optional = [part for part in node.body if isinstance(part, ast.AnnAssign) and part.value is not None]
    empty = {"bases": [], "keywords": [], "decorator_list": [], "type_params": []}
    keys = {part.target.id: ast.ClassDef(name=node.name, body=[part], **empty) for part in optional}
    node.body = [part for part in node.body if part not in optional]
    return {node.name: [node]} | {f"{node.name}.{key}": [part] for key, part in keys.items()}


def _origin(node: ast.ImportFrom, home: str) -> str:
    """The full name of the module that something is imported from, in a module of the folder `home`."""
    if not node.level:
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

    def _write(self, node) -> None:
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

    def _fields(self, node: ast.AST, **instead) -> None:
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

    _SPECIAL = {  # noqa: RUF012
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
