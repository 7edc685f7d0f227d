"""The command, and ``python -m imgmake``: the last answer as long as it holds, else the face. Decides nothing."""

import os
import sys

from imgmake import settled


def main() -> int:
    """The console script; the exit code."""
    try:
        said = settled.answer(sys.argv[1:])
        if said is not None and _told(said):
            return 0
        from imgmake.cli import main as face

        return face()
    except KeyboardInterrupt:  # while the face is still being loaded
        os.write(2, b"imgmake: interrupted\n")
        return 130


def _told(said: bytes) -> bool:
    """Whether the words could be written, all at once; the face knows what to do about a reader that is gone."""
    try:
        return os.write(1, said) == len(said) if said else True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
