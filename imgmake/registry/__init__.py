"""Container registries over HTTP: what they hold, and how images and what refers to them get there; knows no rules.

`RegistryClient` is the door. Below it, each knowing only those after it: `sending` (images of an
engine, from `archive`, its export) and `copying` (from registry to registry, with `cosign`'s tags),
`referrers` (what refers to an image) and `tagging`, `repository` (the calls of the distribution API),
`transport` with `sessions`, `authority`, `credentials`, `endpoints` and `faults` (HTTP as docker does
it), and `manifests` (pure).
"""

from __future__ import annotations

from imgmake.registry.client import RegistryClient

__all__ = ["RegistryClient"]
