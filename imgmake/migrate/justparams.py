"""Parameters of a justfile's recipes as variables: one name for what is given on the command line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imgmake.migrate.translated import Odd


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name in the justfile, and in make.

    many:      whether it takes all words that are left.
    is_global: whether it is a variable of the justfile that it takes its value from.
    """

    written: str
    name: str
    default: Any
    required: bool
    many: bool
    export: bool
    is_global: bool = False


@dataclass
class Parameters:
    """Those of all recipes; the same name with the same default is one variable.

    names:    the justfile's variables, each by what make calls it.
    defaults: of these, the ones that a recipe takes as its parameter's default under the same name.
    broken:   names that could not be said, and why.
    """

    recipes: Mapping[str, Any]
    assigned: Mapping[str, Any]
    names: Mapping[str, str]
    defaults: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    _found: dict[str, list[Parameter]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken: dict[str, object] = dict.fromkeys([*self.names, *self.names.values()])
        for recipe, each in self.recipes.items():
            self._found[recipe] = [self._parameter(recipe, one, taken) for one in each["parameters"]]

    def _parameter(self, recipe: str, each: Mapping[str, Any], taken: dict[str, object]) -> Parameter:
        written, many = each["name"], each["kind"] != "singular"
        default = "" if each["kind"] == "star" and each["default"] is None else each["default"]
        required = default is None
        given = self.assigned.get(written, {}).get("value")
        if default == ["variable", written] and isinstance(given, str):
            self.defaults.add(written)
            return Parameter(written, self.names[written], default, False, many, each["export"], is_global=True)
        name = written.replace("-", "_")
        kind = repr((default, required))
        if taken.setdefault(name, kind) != kind:
            name = f"{recipe}_{name}".replace("-", "_")
            taken[name] = kind
        return Parameter(written, name, default, required, many, each["export"])

    def of(self, recipe: str) -> Sequence[Parameter]:
        """The parameters of a recipe. Raises Odd for options, which imgmake has none of."""
        for each in self.recipes[recipe]["parameters"]:
            if each.get("long") or each.get("short") or each.get("flag"):
                raise Odd(f"{each['name']} is an option of the recipe's")
        return self._found[recipe]

    def scope(self, recipe: str) -> dict[str, str]:
        """What the names of parameters stand for in a recipe."""
        return {each.written: f"$({each.name})" for each in self._found[recipe]}

    def written(self, recipe: str, scope: Mapping[str, str]) -> list[str]:
        """What each of a recipe's positional arguments is."""
        return [scope[each.written] for each in self._found[recipe]]
