"""The world, as small Protocols: what the drive may ask of it. No implementation lives here.

Every implementation maps foreign errors to those of `imgmake.errors`.
"""

from imgmake.ports.containers import Builder, BuildRequest, ContainerSpec, Engine, EngineInfo, Image, Mount
from imgmake.ports.evidence import Evidence, Finding
from imgmake.ports.journal import Damaged, Journal, TagWrite, Unfinished
from imgmake.ports.registries import Artifact, Referrer, Registry, Remote
from imgmake.ports.running import Cancel, Output, Shell, Slots, Unshared, undisturbed
from imgmake.ports.telling import Reporter
from imgmake.ports.world import (
    Clock,
    Context,
    ContextFile,
    DigestCache,
    Entry,
    Git,
    Record,
    Remembered,
    Sources,
    StateStore,
)

__all__ = [
    "Artifact",
    "BuildRequest",
    "Builder",
    "Cancel",
    "Clock",
    "ContainerSpec",
    "Context",
    "ContextFile",
    "Damaged",
    "DigestCache",
    "Engine",
    "EngineInfo",
    "Entry",
    "Evidence",
    "Finding",
    "Git",
    "Image",
    "Journal",
    "Mount",
    "Output",
    "Record",
    "Referrer",
    "Registry",
    "Remembered",
    "Remote",
    "Reporter",
    "Shell",
    "Slots",
    "Sources",
    "StateStore",
    "TagWrite",
    "Unfinished",
    "Unshared",
    "undisturbed",
]
