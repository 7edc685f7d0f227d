"""Dockerfiles: parsed by BuildKit's parser, expanded and analysed; pure, no file is opened and no engine asked."""

from imgmake.dockerfile.analysis import analyse, declared
from imgmake.dockerfile.model import Analysis, ContextRead, ImageUse
from imgmake.dockerfile.parser import Dockerfile, Instruction, Stage, parse
from imgmake.dockerfile.pins import pin
from imgmake.dockerfile.scope import PROXIES

__all__ = [
    "PROXIES",
    "Analysis",
    "ContextRead",
    "Dockerfile",
    "ImageUse",
    "Instruction",
    "Stage",
    "analyse",
    "declared",
    "parse",
    "pin",
]
