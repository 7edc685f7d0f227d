"""Container registries over HTTP: what a tag holds, and how an image gets there; knows no rules.

`RegistryClient` is the door. Below it, each knowing only those after it: `push` and `copying` (what
must be sent where), `archive` (an engine's export), `repository` (the calls of the distribution
API), `transport` with `authority`, `credentials`, `endpoints` and `faults` (HTTP as docker does
it), and `manifests` (pure).
"""

from __future__ import annotations

from imgmake.registry.client import RegistryClient

__all__ = ["RegistryClient"]
