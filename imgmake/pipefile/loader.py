"""Executes Pipefiles: in their own folder, with the modules beside them, and with nothing left behind."""

from __future__ import annotations

import importlib
import os
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType

from imgmake.declare.collector import Collector
from imgmake.declare.complaints import did_you_mean
from imgmake.errors import PipefileError, Place
from imgmake.model import Rule
from imgmake.pipefile import blame, patterns

NAME = "Pipefile.py"
_NOTHING: dict[str, object] = {}
_MODULE = "Pipefile"
_PACKAGE = f"{Path(__file__).parents[1]}/"
_FOREIGN = ("/site-packages/", "/dist-packages/", f"{Path(os.__file__).parent}/")


class Loader:
    """One load's eyes and hands; what `imgmake.declare.collector.Loader` promises.

    pipefiles: those executed, from the root, in the order they began.
    modules:   files of the repository's modules that they imported, from the root.
    whole:     no Pipefile raised an exception, so all that should be declared is.
    """

    def __init__(self, root: Path, collector: Collector) -> None:
        self.root = root
        self._prefix = f"{root}/".replace("//", "/")
        self.pipefiles: list[str] = []
        self.modules: set[str] = set()
        self.whole = True
        self._collector = collector
        self._owned: dict[str, bool] = {}
        self._sources: dict[str, Sequence[str]] = {}
        self._foreign: dict[str, ModuleType] = {}  # of `sys.modules`, what is known not to be the user's
        collector.loader = self

    # --- what declaring asks ----------------------------------------------------------------------------------

    def include(self, given: Sequence[str]) -> Mapping[str, Rule]:
        before = len(self._collector.rules)
        for pattern in given:
            found = [self._pipefile(path) for path in self.glob([pattern])]
            if not found:
                raise PipefileError(f"include({pattern!r}) matches no Pipefile", hint=self._near(pattern))
            for path in found:
                if self._collector.spell(str(path)) not in self.pipefiles:
                    self.execute(path)
        return {rule.target: rule for rule in self._collector.rules[before:]}

    def glob(self, given: Sequence[str]) -> list[Path]:
        folder = self.root / self._collector.base
        return [Path(found) for found in sorted({f for pattern in given for f in patterns.glob(folder, pattern)})]

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path) or bool(patterns.glob(self.root, path))

    def owns(self, filename: str) -> bool:
        if filename not in self._owned:
            self._owned[filename] = self._is_users_file(filename)
        return self._owned[filename]

    def lines(self, file: str) -> Sequence[str]:
        if file not in self._sources:
            try:
                with tokenize.open(self.root / file) as source:
                    self._sources[file] = source.read().splitlines()
            except (OSError, SyntaxError, UnicodeDecodeError):
                self._sources[file] = ()
        return self._sources[file]

    def _is_users_file(self, filename: str) -> bool:
        """imgmake may be part of the very repository that it builds; its own frames are still not the user's."""
        inside = filename.startswith(self._prefix) and not filename.startswith(_PACKAGE)
        venv = sys.prefix != sys.base_prefix and filename.startswith(f"{sys.prefix}/")
        return inside and not venv and not any(part in filename for part in _FOREIGN)

    # --- executing --------------------------------------------------------------------------------------------

    @contextmanager
    def untouched_process(self) -> Iterator[None]:
        """Put back, at the end, what executing Pipefiles changes in the process."""
        here, path, writes = Path.cwd(), list(sys.path), sys.dont_write_bytecode
        # Bytecode beside the user's modules would be an untracked file in somebody's build context.
        sys.dont_write_bytecode = True
        # A module may be younger than the listing of its folder that the import system remembers.
        importlib.invalidate_caches()
        try:
            yield
        finally:
            os.chdir(here)
            sys.path[:] = path
            sys.dont_write_bytecode = writes

    def execute(self, path: Path) -> None:
        """Run one Pipefile; whatever it raises becomes a problem of the load, told in its own lines."""
        name = self._collector.spell(str(path))
        self.pipefiles.append(name)
        with self._inside(path.parent):
            try:
                exec(self._compiled(path, name), self._module(path).__dict__)  # noqa: S102 (a Pipefile is a program)
            except (Exception, SystemExit) as error:  # noqa: BLE001 (a program may raise anything)
                self.whole = False
                problem = blame.translate(error, self.owns, self._collector.spell)
                self._collector.complain(problem, Place(name, 0))

    def _compiled(self, path: Path, name: str) -> CodeType:
        try:
            source = path.read_bytes()
        except OSError as error:
            raise PipefileError(f"it cannot be read: {error.strerror}", place=Place(name, 0)) from error
        return compile(source, str(path), "exec", dont_inherit=True)

    def _module(self, path: Path) -> ModuleType:
        # Dataclasses and others look their module up by its name, so it has to be where modules are.
        module = ModuleType(_MODULE)
        module.__file__ = str(path)
        sys.modules[_MODULE] = module
        return module

    @contextmanager
    def _inside(self, folder: Path) -> Iterator[None]:
        """Work in a Pipefile's folder, with modules beside it importable, and with none of another Pipefile's."""
        outer, cwd, path = self._collector.base, Path.cwd(), list(sys.path)
        self._collector.base = "" if folder == self.root else str(folder.relative_to(self.root))
        others = self._take_modules()
        sys.path.insert(0, str(folder))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(cwd)
            sys.path[:] = path
            files = (vars(module).get("__file__") for module in self._take_modules().values())
            self.modules.update(self._collector.spell(file) for file in files if file)
            self.modules.difference_update(self.pipefiles)
            sys.modules.update(others)
            self._collector.base = outer

    def _take_modules(self) -> dict[str, ModuleType]:
        """Take the user's modules out of `sys.modules`: two folders may each have their own `helpers`."""
        before, self._foreign = self._foreign, dict(sys.modules)
        new = [(name, module) for name, module in self._foreign.items() if before.get(name) is not module]
        found = {name: module for name, module in new if self._is_users(name, module)}
        for name in found:
            del sys.modules[name], self._foreign[name]
        return found

    def _is_users(self, name: str, module: object) -> bool:
        known = getattr(module, "__dict__", _NOTHING)
        file = known.get("__file__")
        if type(file) is str and file:  # nearly all of a thousand modules end here
            return name == _MODULE or (file.startswith(self._prefix) and name != "__main__" and self.owns(file))
        folders = () if file is not None or name == "__main__" else known.get("__path__") or ()
        return any(self.owns(f"{folder}/") for folder in folders)

    # --- finding what is included -----------------------------------------------------------------------------

    def _pipefile(self, found: Path) -> Path:
        path = Path(os.path.normpath(self.root / self._collector.base / found))
        path = path / NAME if path.is_dir() else path
        if not path.is_relative_to(self.root):
            raise PipefileError(f"include: {found} is outside the repository")
        if not path.is_file():
            raise PipefileError(f"include: there is no {path.relative_to(self.root)}")
        return path

    def _near(self, pattern: str) -> str:
        folder = self.root / self._collector.base
        there = patterns.glob(folder, f"**/{NAME}")
        return did_you_mean(pattern, there) or (f"there is {', '.join(there[:3])}" if there else "")
