"""Model versions in a folder: the contract, and what is particular to a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from upnext.storage.artifacts_folder import FolderModels
from upnext.testing.artifacts_contract import ModelsContract, publish


class TestFolderModels(ModelsContract):
    def open(self, tmp_path: Path) -> FolderModels:
        return FolderModels(tmp_path / "var" / "models")

    def get(self, models: FolderModels, name: str) -> bytes:
        return (models.directory / name).read_bytes()

    def put(self, models: FolderModels, name: str, data: bytes | None) -> None:
        path = models.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)


@pytest.fixture
def models(tmp_path: Path) -> FolderModels:
    return FolderModels(tmp_path / "var" / "models")


def test_no_draft_is_left_behind(models: FolderModels) -> None:
    publish(models)
    assert [path.name for path in models.directory.iterdir() if path.name.startswith(".")] == []


KILLED = """
import os, sys
from pathlib import Path
from upnext.storage.artifacts_folder import FolderModels
with FolderModels(Path(sys.argv[1])).draft() as draft:
    (draft / "half").write_text("written")
    os.kill(os.getpid(), 9)
"""


def test_the_draft_of_a_killed_process_is_swept_at_the_next_publish(models: FolderModels) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(models.directory)])
    assert done.returncode == -signal.SIGKILL
    leftovers = list(models.directory.glob(".draft-*"))
    assert len(leftovers) == 1
    with models.draft() as living:
        (living / "a").write_text("b")
        publish(models)
        assert not leftovers[0].exists()
        assert os.listdir(living) == ["a"]
