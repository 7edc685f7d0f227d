"""What is said of an image beside it: in-toto statements of results and provenance, written and read; pure.

A statement is data of whoever could push it. Reading one checks its form and that it is about the digest in
question, and believes nothing else; who wrote it is for a signature to say.
"""

from __future__ import annotations

IN_TOTO = "application/vnd.in-toto+json"  # media type of a statement (in-toto attestation framework, spec/v1)
PREDICATE = "in-toto.io/predicate-type"  # annotation, as BuildKit writes it
CHECK = "io.imgmake.check"  # annotation: the target of the check
RESULT = "io.imgmake.result"  # annotation: PASSED
CONFIGURATION = "io.imgmake.configuration"  # annotation: a digest of all that counted of the check but the images
CREATED = "org.opencontainers.image.created"  # annotation: when the check ended (OCI image spec, annotations.md)

SBOMS = {
    "application/spdx+json": "SPDX",
    "text/spdx": "SPDX",
    "application/vnd.cyclonedx+json": "CycloneDX",
    "application/vnd.cyclonedx+xml": "CycloneDX",
    "application/vnd.syft+json": "Syft",
}
SIGNATURES = {
    "application/vnd.dev.cosign.artifact.sig.v1+json": "cosign",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "sigstore bundle",
    "application/vnd.cncf.notary.signature": "notation",
}
