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
- `syntax.HARNESS`: the modules that run a stage, tell about it, or measure it.

Where a definition stands does not count: moving a function to another module changes nothing.

Whatever cannot be resolved is included: all names of a module that is handed around as a value, or of `import *`; all
of the package behind a module with a `__getattr__` of its own; a text that is the name of a module.

Limits. None of this reaches a function of computed name (`getattr(module, name)` includes all of `module`, but
`getattr(thing, name)` only what `thing` is made of where it is made), classes found by `__subclasses__`, and modules
imported for nothing but what they do then. What goes through all keys of a model of the settings at once
(`model_dump`) is taken to do so for the record. The versions of other packages do not count; provenance names them.
"""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sami.provenance.syntax import Code, Module, is_harness, read_module


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
        self._uses = functools.cache(self._find_uses)
        self._node_digest = functools.cache(self._make_node_digest)

    def digest(self, stage: str, without: tuple[str, ...] = ()) -> str:
        """Digest of all that a stage reaches, in 16 hexadecimal digits.

        Args:
            stage: its name.
            without: modules ("sampling.vllm_sampler") that its settings do not let it use.
        """
        nodes = sorted({self._node_digest(node, without) for node in self.reached(stage, without)})
        return hashlib.sha256("".join(nodes).encode()).hexdigest()[:16]

    def reached(self, stage: str, without: tuple[str, ...] = ()) -> set[Node]:
        """The definitions that a stage reaches."""
        for place in without:  # one that is misspelt would leave nothing out, and nobody would notice
            if not self._module(f"{self.folder.name}.{place}"):
                raise ValueError(f"there is no module {place}")
        waiting, seen = [Node(f"{self.folder.name}.stages.{stage}", "()")], set()
        words: set[str] = set()
        optional: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node not in seen and not node.within(without):
                seen.add(node)
                words |= self._code(node).words
                optional |= self._keys_of(node)
                waiting += [Node(home, "") for home in self._homes(node.module)]
                waiting += [target for targets in self._uses(node).values() for target in targets if target.module]
            if not waiting:
                named = {key for key in optional if key.name.split(".")[1] in words}
                optional -= named
                waiting += named
        return seen

    def _homes(self, module: str) -> list[str]:
        """A module and the folders that are imported with it."""
        parts = module.split(".")
        return [home for i in range(len(parts)) if self._module(home := ".".join(parts[: i + 1]))]

    def _keys_of(self, node: Node) -> set[Node]:
        """The optional keys of a class of settings."""
        definitions = self._existing(node.module).definitions
        return {Node(node.module, name) for name in definitions if name.startswith(f"{node.name}.")}

    def _make_node_digest(self, node: Node, without: tuple[str, ...]) -> str:
        """Digest of a definition, and of what each name in it stands for."""
        uses = [
            f"{name}={self._code(target).digest if target.module else target.name}"
            for name, targets in self._uses(node).items()
            for target in targets
            if not target.within(without)
        ]
        return hashlib.sha256("\n".join([self._code(node).digest, *sorted(uses)]).encode()).hexdigest()

    def _find_uses(self, node: Node) -> dict[str, set[Node]]:
        """Name in a definition -> what it may stand for; without a module, where that is none of this package's."""
        module, code = self._existing(node.module), self._code(node)
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
        module = self._existing(name)
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
        module = self._existing(node.module)
        return {"": module.statements, "()": module.command}.get(node.name) or module.definitions[node.name]

    def _existing(self, name: str) -> Module:
        """A module that the package is known to have."""
        module = self._module(name)
        assert module is not None, f"{self.folder} has no module {name}"
        return module

    def _module(self, name: str) -> Module | None:
        """A module of the package by its full name; None where there is none."""
        if name not in self._modules:
            path = self.folder.parent.joinpath(*name.split("."))
            files = [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
            read = [read_module(file.read_bytes(), name, file.stem == "__init__") for file in files]
            self._modules[name] = next(iter(read), None)
        return self._modules[name]
