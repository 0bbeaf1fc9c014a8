"""Git repositories of tests."""

import os
import subprocess
from pathlib import Path


def git(folder, *arguments):
    who = ("-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def contents(folder):
    """Return each path below a folder, with the bytes of a file, where a link leads, or that it is a folder."""

    def content(path):
        if path.is_symlink():
            return os.readlink(path)
        return "a folder" if path.is_dir() else path.read_bytes()

    return {str(path.relative_to(folder)): content(path) for path in Path(folder).rglob("*")}
