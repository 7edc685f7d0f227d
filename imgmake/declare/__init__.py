"""The words of a Pipefile: constructors that act on the load under way. Knows no file system and no engine."""

from imgmake.declare.folders import default, glob, include
from imgmake.declare.kinds import check, file, image, phony, publish
from imgmake.declare.values import (
    BUILD_DATE,
    BUILD_ID,
    BUILD_TIME_EPOCH,
    BUILD_TIME_RFC_3339,
    BUILD_TIME_UTC,
    FINGERPRINT,
    SOURCE_DATE_EPOCH,
    VCS_BRANCH,
    VCS_DESCRIBE,
    VCS_REF,
    VCS_TAG,
    VCS_URL,
    semver,
    var,
)

__all__ = [
    "BUILD_DATE",
    "BUILD_ID",
    "BUILD_TIME_EPOCH",
    "BUILD_TIME_RFC_3339",
    "BUILD_TIME_UTC",
    "FINGERPRINT",
    "SOURCE_DATE_EPOCH",
    "VCS_BRANCH",
    "VCS_DESCRIBE",
    "VCS_REF",
    "VCS_TAG",
    "VCS_URL",
    "check",
    "default",
    "file",
    "glob",
    "image",
    "include",
    "phony",
    "publish",
    "semver",
    "var",
]
