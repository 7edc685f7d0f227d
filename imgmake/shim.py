"""The text of a Makefile that hands everything to imgmake. Knows names, and make's way to spell them; writes nothing.

It is for GNU make 3.81 and later.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

MAKEFILES = ("GNUmakefile", "makefile", "Makefile")  # in make's own order
_MARK = "# Written by imgmake --shim"
# What make cannot be told to be a part of a target's name, or (=) takes for a variable on its command line.
_NOT_IN_A_NAME = re.compile(r"[\s;\[\\*?=]|^~")

_TEXT = r"""{mark}: imgmake makes the targets, as {pipefile} says. Edits are lost when it is written again.
# That need not be: a target that is not in the list below is handed over as well.

IMGMAKE ?= imgmake

imgmake_targets :={targets}
{left_out}
# NAME=value of make's command line are given on; their values are in the environment, where no shell reads them.
# Below another make they may be meant for others: there imgmake finds them in its environment.
ifeq ($(MAKELEVEL),0)
imgmake_given = $(foreach name,$(filter-out IMGMAKE MAKE MAKEFLAGS SHELL,$(.VARIABLES)),\
  $(if $(filter command,$(firstword $(origin $(name)))),$(name)="$${{$(name)}}"))
endif
imgmake_spelt = $(subst :,\:,$(subst %,\%,$(1)))
imgmake_quoted = $(foreach name,$(1),'$(subst ','\'',$(name))')
imgmake_run = $(strip $(IMGMAKE){options} $(imgmake_given))

# The + is for make: it lends imgmake its jobs (-j), and runs it under -n and -q as well, which imgmake heeds.
ifeq ($(words $(MAKEFILE_LIST)),1)
# All goals go to one imgmake. make asks for this file, too, and must find nothing to do.
imgmake_goals := $(filter-out $(MAKEFILE_LIST) .DEFAULT .PHONY _imgmake,$(MAKECMDGOALS))
imgmake_odd = $(strip $(foreach odd,; [ \ * ?,$(findstring $(odd),$(1))))
imgmake_goals := $(foreach name,$(imgmake_goals),$(if $(call imgmake_odd,$(name)),,$(name)))
.DEFAULT_GOAL := _imgmake
.PHONY: _imgmake
ifneq ($(strip $(if $(MAKECMDGOALS),$(imgmake_goals),default)),)
_imgmake:
	+@$(imgmake_run) $(call imgmake_quoted,$(imgmake_goals))
endif
$(call imgmake_spelt,$(imgmake_targets)): _imgmake
# What is not the first goal gets a command that does nothing, lest make says that there is nothing to be done.
$(call imgmake_spelt,$(firstword $(imgmake_goals))): _imgmake ;
$(call imgmake_spelt,$(sort $(filter-out $(firstword $(imgmake_goals)),$(imgmake_goals)))): _imgmake
	@$(if $(findstring q,$(firstword -$(MAKEFLAGS))),,:)
else
# Included by another Makefile: each target that is asked for there is an imgmake of its own, and they take turns.
$(call imgmake_spelt,$(imgmake_targets)):
	+@$(imgmake_run) $(call imgmake_quoted,$@)
endif
.PHONY: $(subst :,\:,$(imgmake_targets))
"""


def is_shim(text: str) -> bool:
    """Whether a Makefile is one of ours, which may be written over."""
    return text.startswith(_MARK)


def makefile(targets: Iterable[str], *, pipefile: str = "Pipefile.py", own: str = "Makefile") -> str:
    """A Makefile for these targets.

    pipefile: which Pipefile has them.
    own:      the Makefile's name; a target of that name is left out, since make itself asks for it.
    """
    names = list(dict.fromkeys(targets))
    left = [name for name in names if _NOT_IN_A_NAME.search(name) or name in (own, "_imgmake")]
    told = "".join(f"# Left out, since make cannot spell it: {name!r}\n" for name in left)
    return _TEXT.format(
        mark=_MARK,
        pipefile=pipefile,
        targets="".join(f" \\\n  {_escaped(name)}" for name in names if name not in left),
        left_out=told,
        options="" if pipefile == "Pipefile.py" else f" -f {_escaped(shlex.quote(pipefile))}",
    )


def _escaped(text: str) -> str:
    return text.replace("$", "$$").replace("#", r"\#")
