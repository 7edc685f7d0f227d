"""make for image pipelines: everything that a Pipefile imports, and nothing heavy.

```python
from imgmake import BUILD_ID, check, default, image, lint, phony, structure_test

check("lint", lint("Dockerfile"))
app = image("app", "lint", tags=f"acme/app:{BUILD_ID}")
check("test", structure_test(app, "structure-tests.yaml"))
phony("all", app, "test")
default("all")
```
"""

TYPE_CHECKING = False  # what `typing` says too, whose import would take longer than all else here
if TYPE_CHECKING:
    # From each one's own module: of the package, a type checker takes some for the modules of the same name.
    from imgmake.commands.extract import extract
    from imgmake.commands.lint import lint
    from imgmake.commands.run import run
    from imgmake.commands.sbom import sbom
    from imgmake.commands.scan import scan
    from imgmake.commands.sh import sh
    from imgmake.commands.structure_test import structure_test
    from imgmake.commands.tag import tag
    from imgmake.declare import (
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
        check,
        default,
        file,
        glob,
        image,
        include,
        phony,
        publish,
        semver,
        var,
    )
    from imgmake.variables import ARCH, PLATFORM

__version__ = "0.1.0"

__all__ = [
    "ARCH",
    "BUILD_DATE",
    "BUILD_ID",
    "BUILD_TIME_EPOCH",
    "BUILD_TIME_RFC_3339",
    "BUILD_TIME_UTC",
    "FINGERPRINT",
    "PLATFORM",
    "SOURCE_DATE_EPOCH",
    "VCS_BRANCH",
    "VCS_DESCRIBE",
    "VCS_REF",
    "VCS_TAG",
    "VCS_URL",
    "check",
    "default",
    "extract",
    "file",
    "glob",
    "image",
    "include",
    "lint",
    "phony",
    "publish",
    "run",
    "sbom",
    "scan",
    "semver",
    "sh",
    "structure_test",
    "tag",
    "var",
]


def __getattr__(name: str) -> object:
    """Each name when it is first asked for: a run that `imgmake.settled` answers needs none of them."""
    if name in __all__:
        from imgmake import commands, declare, variables

        for home in (declare, commands, variables):
            if hasattr(home, name):
                globals()[name] = getattr(home, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
