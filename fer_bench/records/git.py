"""How git is called so that it only reads: it takes no lock, refreshes no index, and runs no hook and no monitor."""

import os

ONLY_READ = ("git", "--no-optional-locks", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")

# What git sets for a hook of its own repository and index, and would mislead us in another folder.
_OF_A_HOOK = ("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


def environment() -> dict[str, str]:
    """Return this process's environment, in which git finds its repository by the folder alone."""
    return {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
