"""Whether a Pipefile's rules rest on nothing but its text, its variables and files that are seen to be read; pure.

A run that is answered from the last one (`imgmake.settled`) does not execute the Pipefile. That is right only if
executing it again would declare the same rules. What it opens, lists and looks at is observed when it runs; this module
refuses by its text all else that could differ: clocks, chance, processes, the order of a set, and ways around this very
reading. It takes little, on purpose: what is refused costs a tenth of a second, what is taken wrongly is a lie.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
import warnings
from collections.abc import Collection, Iterator

# What may be imported: all that a module offers, or the names given here.
_MODULES: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(("collections.abc", "enum", "fnmatch", "functools", "itertools", "math", "re")),
    **dict.fromkeys(("textwrap", "tomllib", "__future__")),
    "collections": frozenset({"ChainMap", "Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"}),
    "dataclasses": frozenset({"asdict", "astuple", "dataclass", "field", "fields", "replace"}),
    "json": frozenset({"dumps", "load", "loads"}),
    "pathlib": frozenset({"Path", "PurePath", "PurePosixPath"}),
    "shlex": frozenset({"join", "quote", "split"}),
    "string": frozenset({"Template", "ascii_letters", "ascii_lowercase", "ascii_uppercase", "capwords", "digits"}),
    "sys": frozenset({"executable", "platform", "version", "version_info"}),
    "typing": frozenset(
        {"Annotated", "Any", "Callable", "ClassVar", "Final", "Iterable", "Iterator", "Literal", "Mapping"}
        | {"NamedTuple", "Optional", "Protocol", "Self", "Sequence", "TYPE_CHECKING", "TypedDict", "Union", "cast"}
    ),
}
_BUILTINS = frozenset(
    {"False", "None", "True", "NotImplemented", "Ellipsis", "__debug__", "__doc__", "__file__", "__name__"}
    | {"abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "classmethod", "complex", "dict"}
    | {"divmod", "enumerate", "filter", "float", "format", "int", "isinstance", "issubclass", "iter", "len", "list"}
    | {"map", "max", "min", "next", "oct", "open", "ord", "pow", "property", "range", "reversed", "round", "slice"}
    | {"sorted", "staticmethod", "str", "sum", "super", "tuple", "zip"}
)
# Of a path: what the C library answers, and times that a folder is not judged by. Of a module: what it uses itself.
_ATTRIBUTES = frozenset({"owner", "group", "expanduser", "home", "is_mount", "stat", "lstat"})
_ATTRIBUTES |= {"os", "sys", "builtins", "bltns", "inspect"}
_KNOWN = frozenset({"__init__", "__name__", "__doc__", "_replace", "_asdict"})
_PREFIXES = ("_", "gi_", "cr_", "ag_", "tb_", "f_")  # of frames: the way to everything
_ORDERLESS = ("set", "frozenset")
_VIEWS = ("keys", "items")  # of a dict: in its order, but two of them make a set
_TAKERS = ("extend", "fromkeys", "join", "update")  # methods that take one thing after another


def obstacle(text: str, own: Collection[str], offered: Collection[str]) -> str:
    """Why the rules of this Pipefile or module may rest on what nobody sees; empty when they cannot.

    own:     the repository's modules that were imported, by dotted name; each is asked about by itself.
    offered: the names that `from imgmake import` gives.

    >>> obstacle("from imgmake import sh", (), ("sh",)), obstacle("import time", (), ())
    ('', 'line 1: time')
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were told when it was executed
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return "line 1: it cannot be parsed"
    return next((f"line {line}: {what}" for line, what in _Reading(tree, own, offered).found()), "")


class _Reading:
    def __init__(self, tree: ast.Module, own: Collection[str], offered: Collection[str]) -> None:
        # What Python has of itself comes first, whatever a file of the repository is called.
        self._own = {name for name in own if name.partition(".")[0] not in sys.stdlib_module_names}
        self._tree, self._offered = tree, offered
        self._modules: dict[str, str] = {}  # the name that a module has here, and its own
        self._ours: set[str] = set()  # names that modules of the repository have here
        self._within: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(tree):
            self._within.update(dict.fromkeys(ast.iter_child_nodes(node), node))

    def found(self) -> Iterator[tuple[int, str]]:
        nodes = list(ast.walk(self._tree))
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names if not self._takes_module(alias))
            elif isinstance(node, ast.ImportFrom):
                where = "" if node.level else f"{node.module}: "
                yield from ((node.lineno, where + name) for name in self._untaken(node))
        for node in nodes:
            if isinstance(node, ast.expr) and (what := self._wrong(node)):
                yield node.lineno, what
            elif isinstance(node, ast.MatchClass):  # it takes attributes by name
                yield from ((node.lineno, name) for name in node.kwd_attrs if _is_door(name))

    # --- imports ------------------------------------------------------------------------------------------------

    def _takes_module(self, alias: ast.alias) -> bool:
        name = alias.name
        if name in self._own:
            self._ours.add(alias.asname or name.partition(".")[0])
            return True
        if "." in name and alias.asname is None:
            return False  # it binds the package around it
        self._modules[alias.asname or name] = name
        return name in _MODULES or name == "imgmake"

    def _untaken(self, node: ast.ImportFrom) -> list[str]:
        if node.level or node.module is None:
            return ["a relative import"]
        if node.module in self._own:  # what it gives may be a module that it uses
            self._ours.update(alias.asname or alias.name for alias in node.names)
            return [alias.name for alias in node.names if alias.name == "*" or alias.name in sys.stdlib_module_names]
        if node.module == "imgmake":
            return [alias.name for alias in node.names if alias.name not in (*self._offered, "*")]
        offered = _offered(node.module)
        wanted = [alias.name for alias in node.names]
        self._ours.update(a.asname or a.name for a in node.names if f"{node.module}.{a.name}" in self._own)
        return [name for name in wanted if name not in offered and f"{node.module}.{name}" not in self._own]

    # --- names --------------------------------------------------------------------------------------------------

    def _wrong(self, node: ast.expr) -> str:
        around = self._within[node]
        if isinstance(node, ast.Attribute):
            return self._wrong_attribute(node, around)
        if isinstance(node, (ast.Set, ast.SetComp)):
            return "" if self._order_is_lost(node, around) else "the order of a set"
        if isinstance(node, ast.Name):
            return self._wrong_name(node, around)
        return ""

    def _wrong_attribute(self, node: ast.Attribute, around: ast.AST) -> str:
        module = self._modules.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if module is not None:
            offered = self._offered if module == "imgmake" else _offered(module)
            return "" if node.attr in offered else f"{module}.{node.attr}"
        if node.attr in sys.stdlib_module_names and _root(node) in self._ours:
            return f"{node.attr} by way of {_root(node)}"
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        itself = own and not node.attr.startswith("__")
        if node.attr in _VIEWS and not self._order_is_kept(node, around, itself=itself):
            return "the order of a set"
        if node.attr in _KNOWN or itself:
            return ""
        return node.attr if _is_door(node.attr) else ""

    def _wrong_name(self, node: ast.Name, around: ast.AST) -> str:
        if node.id in self._modules and not isinstance(around, ast.Attribute):
            return f"{node.id} as a value"
        if node.id in _ORDERLESS:
            call = isinstance(around, ast.Call) and around.func is node
            return "" if call and self._order_is_lost(around, self._within[around]) else "the order of a set"
        unknown = hasattr(builtins, node.id) or node.id.startswith("__")
        return node.id if unknown and node.id not in _BUILTINS and not _is_error(node.id) else ""

    def _order_is_lost(self, node: ast.AST, around: ast.AST) -> bool:
        """A set's order changes from run to run: it may be sorted, counted, or asked whether it holds something."""
        if isinstance(around, ast.Call) and isinstance(
            around.func, ast.Name
        ):  # by a key, some may be as good as others
            plain = all(word.arg == "reverse" for word in around.keywords)
            return around.func.id in ("sorted", "len") and around.args[:1] == [node] and plain
        if isinstance(around, ast.Compare):
            return around.left is not node and all(isinstance(op, (ast.In, ast.NotIn)) for op in around.ops)
        return False

    def _order_is_kept(self, view: ast.Attribute, call: ast.AST, *, itself: bool) -> bool:
        """Whether a view of a dict is gone through where it is made: nothing can make a set of it then.

        itself: uncalled, it is a field of the object's own class.
        """
        if not (isinstance(call, ast.Call) and call.func is view):
            return itself
        around = self._within[call]
        if isinstance(around, ast.Call):
            by = around.func
            if isinstance(by, ast.Attribute):
                return by.attr in _TAKERS
            return isinstance(by, ast.Name) and by.id in _BUILTINS
        if isinstance(around, (ast.For, ast.comprehension)):
            return around.iter is call
        return isinstance(around, (ast.Compare, ast.Starred))


def _is_door(name: str) -> bool:
    return name in _ATTRIBUTES or name.startswith(_PREFIXES)


def _offered(module: str) -> Collection[str]:
    """The names that a module gives of itself, without the modules that it uses."""
    if module not in _MODULES:
        return ()
    given = _MODULES[module]
    if given is not None:
        return given
    found = importlib.import_module(module)
    return getattr(found, "__all__", None) or [name for name in vars(found) if not name.startswith("_")]


def _root(node: ast.expr) -> str:
    """The name at which a chain of attributes begins."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_error(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, Exception)
