"""The record of successful runs, in `.imgmake/`: transactional, versioned, locked; knows no rule and no engine.

``open_state`` opens the records, ``lock`` keeps other runs out meanwhile. The folder may be deleted at any time:
what is lost is only how much a next run can leave out. What a crash must not lose, tags that are half set, is not
there but in a folder of the user's: ``FileJournal``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imgmake.state.folder import hide, make_folder
from imgmake.state.journal import FileJournal, user_folders
from imgmake.state.locking import lock
from imgmake.state.records import SqliteState

__all__ = ["FileJournal", "SqliteState", "lock", "open_state", "user_folders"]


def open_state(folder: Path, *, read_only: bool, say: Callable[[str], None]) -> SqliteState:
    """Open the records in `folder`; a read-only store writes nothing at all and does not need the folder.

    A missing file starts anew; a damaged one is kept as `state.db.corrupt` and starts anew, with one line to `say`.
    Raises StateError when the folder cannot be used, the disk is full, or a newer imgmake wrote the records.
    """
    from imgmake.state.database import Database

    if not read_only:
        make_folder(folder)
    database = Database(folder, read_only=read_only, say=say)
    if not read_only:
        hide(folder)
    return SqliteState(database, read_only=read_only, say=say)
