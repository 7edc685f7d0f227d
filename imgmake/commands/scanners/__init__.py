"""Vulnerability scanners: one module for each, and what their reports have in common."""

from __future__ import annotations

from imgmake.commands.scanners.grype import Grype
from imgmake.commands.scanners.model import LEVELS, SEVERITIES, UNKNOWN, Malformed, Report, Scanner, Vulnerability
from imgmake.commands.scanners.trivy import Trivy

SCANNERS: tuple[Scanner, ...] = (Grype(), Trivy())  # in the order in which they are looked for
BY_NAME = {scanner.name: scanner for scanner in SCANNERS}

__all__ = [
    "BY_NAME",
    "LEVELS",
    "SCANNERS",
    "SEVERITIES",
    "UNKNOWN",
    "Malformed",
    "Report",
    "Scanner",
    "Vulnerability",
]
