"""The container engine: images by reference or ID, containers to their end. Knows no rule and no registry."""

from imgmake.engine.client import DockerEngine

__all__ = ["DockerEngine"]
