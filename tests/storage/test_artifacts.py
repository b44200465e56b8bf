"""Model versions: whole or not at all, and damage is named."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from upnext.errors import ArtifactError
from upnext.storage.artifacts import Manifest, Models

MANIFEST = Manifest(
    upnext="0.1.0",
    first_offset=0,
    last_offset=99,
    feature_names=("age", "clicks"),
    feature_digest="abcd",
    tasks=("click",),
    metrics={"ranker": {"click": {"auc": 0.75}}},
    seeds={"training": 7},
)


def publish(models: Models, text: str = "weights") -> str:
    with models.draft() as draft:
        (draft / "ranker.onnx").write_text(text)
        (draft / "index").mkdir()
        (draft / "index" / "items.npy").write_bytes(b"\x93NUMPY" * 100)
        return models.publish(draft, MANIFEST)


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "var" / "models")


def test_nothing_is_published_at_first(models: Models) -> None:
    assert models.versions() == []
    assert models.active() is None
    with pytest.raises(ArtifactError, match="upnext train"):
        models.open()


def test_a_version_comes_back_as_published(models: Models) -> None:
    version = publish(models)
    folder, manifest = models.open()
    assert models.active() == version == manifest.version == folder.name
    assert (folder / "ranker.onnx").read_text() == "weights"
    assert set(manifest.files) == {"ranker.onnx", "index/items.npy"}
    assert manifest.files["ranker.onnx"].bytes == 7
    assert manifest.created_at > 1_600_000_000_000
    unchanged = {"version", "created_at", "files"}
    assert manifest.model_dump(exclude=unchanged) == MANIFEST.model_dump(exclude=unchanged)
    assert [path.name for path in models.directory.iterdir() if path.name.startswith(".")] == []


def test_names_sort_by_time_and_never_repeat(models: Models) -> None:
    made = [publish(models) for _ in range(5)]
    assert made == sorted(set(made)) == models.versions()


def test_names_rise_although_the_clock_goes_back(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    first = publish(models)
    monkeypatch.setattr("upnext.storage.artifacts.time.time", lambda: 1.0)
    assert publish(models) > first


def test_activate_goes_back_and_forth(models: Models) -> None:
    old, new = publish(models, "old"), publish(models, "new")
    models.activate(old)
    assert models.active() == old
    assert (models.open()[0] / "ranker.onnx").read_text() == "old"
    assert models.open(new)[1].version == new


def test_publishing_without_activating(models: Models) -> None:
    first = publish(models)
    with models.draft() as draft:
        (draft / "a").write_text("b")
        second = models.publish(draft, MANIFEST, activate=False)
    assert models.versions() == [first, second]
    assert models.active() == first


def test_prune_keeps_the_latest_and_the_active(models: Models) -> None:
    made = [publish(models) for _ in range(5)]
    models.activate(made[0])
    assert models.prune(keep=2) == made[1:3]
    assert models.versions() == [made[0], *made[3:]]
    assert models.prune(keep=2) == []
    models.open()


# -- damage


def damage_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "said"), [(damage_byte, "checksum"), (truncate, "6 bytes instead of 7"), (Path.unlink, "missing")]
)
def test_damage_is_named_with_the_way_out(models: Models, damage, said: str) -> None:
    sound, broken = publish(models), publish(models)
    damage(models.directory / broken / "ranker.onnx")
    with pytest.raises(ArtifactError, match=rf"{broken}/ranker\.onnx.*{said}.*upnext train.*{sound}"):
        models.open()
    with pytest.raises(ArtifactError, match="ranker"):
        models.activate(broken)
    models.activate(sound)
    models.open()


@pytest.mark.parametrize(
    ("content", "said"), [("", "damaged"), ("{", "damaged"), ('{"files": 3}', "damaged"), ("{}", "belongs to")]
)
def test_a_damaged_manifest_is_named(models: Models, content: str, said: str) -> None:
    version = publish(models)
    (models.directory / version / "manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match=rf"manifest\.json.*{said}"):
        models.open()


def test_a_damaged_pointer_is_named(models: Models) -> None:
    version = publish(models)
    (models.directory / "active").write_bytes(b"\xff../../etc")
    with pytest.raises(ArtifactError, match=rf"active.*no version.*{version}"):
        models.open()


@pytest.mark.parametrize("name", ["20200101-000000-0000", "../models", "latest"])
def test_an_unknown_version_is_named(models: Models, name: str) -> None:
    publish(models)
    with pytest.raises(ArtifactError, match="no such model version"):
        models.open(name)


def test_manifests_of_a_later_program_are_read(models: Models) -> None:
    path = models.directory / publish(models) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "novelty": 1}))
    models.open()


# -- drafts


def test_a_draft_is_invisible_and_goes_away(models: Models) -> None:
    with models.draft() as draft:
        (draft / "half").write_text("written")
        assert models.versions() == []
    assert not draft.exists()


def test_a_failed_draft_goes_away(models: Models) -> None:
    with pytest.raises(RuntimeError), models.draft() as draft:
        raise RuntimeError
    assert not draft.exists()


def test_an_empty_draft_and_links_are_refused(models: Models) -> None:
    with models.draft() as draft, pytest.raises(ArtifactError, match="no files"):
        models.publish(draft, MANIFEST)
    with models.draft() as draft:
        (draft / "link").symlink_to("/etc/hostname")
        with pytest.raises(ArtifactError, match="link"):
            models.publish(draft, MANIFEST)
    assert models.versions() == []


KILLED = """
import os, sys
from pathlib import Path
from upnext.storage.artifacts import Models
with Models(Path(sys.argv[1])).draft() as draft:
    (draft / "half").write_text("written")
    os.kill(os.getpid(), 9)
"""


def test_the_draft_of_a_killed_process_is_swept_at_the_next_publish(models: Models) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(models.directory)])
    assert done.returncode == -signal.SIGKILL
    leftovers = list(models.directory.glob(".draft-*"))
    assert len(leftovers) == 1
    with models.draft() as living:
        (living / "a").write_text("b")
        publish(models)
        assert not leftovers[0].exists()
        assert os.listdir(living) == ["a"]


def test_publishing_at_the_same_time(models: Models) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(publish(models))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == models.versions()
    assert len(set(made)) == 8
    assert models.active() == models.versions()[-1]
    for version in made:
        models.open(version)


# -- going back


def test_rolling_back_twice_goes_further_back(models: Models) -> None:
    first, second, third = (publish(models) for _ in range(3))
    assert models.history() == [first, second, third]
    assert models.rollback() == (second, [])
    assert models.rollback() == (first, [])
    assert models.active() == first
    with pytest.raises(ArtifactError, match=f"no other version was active before {first}.*models activate.*{third}"):
        models.rollback()
    assert models.active() == first
    models.activate(third)
    assert models.rollback() == (first, [])


def test_activating_the_active_version_is_no_step_of_the_history(models: Models) -> None:
    first, second = publish(models), publish(models)
    models.activate(second)
    models.activate(second)
    assert models.history() == [first, second]
    models.activate(first)
    assert models.history() == [first, second, first]
    assert models.rollback() == (second, [])
    assert models.rollback() == (first, [])


def test_a_version_that_was_only_published_is_not_rolled_back_to(models: Models) -> None:
    first = publish(models)
    with models.draft() as draft:
        (draft / "a").write_text("b")
        models.publish(draft, MANIFEST, activate=False)
    third = publish(models)
    assert models.history() == [first, third]
    assert models.rollback() == (first, [])


def test_a_rollback_passes_over_what_is_damaged_or_gone_and_says_so(models: Models) -> None:
    sound, broken, gone, last = (publish(models) for _ in range(4))
    damage_byte(models.directory / broken / "ranker.onnx")
    shutil.rmtree(models.directory / gone)
    assert models.rollback() == (sound, [gone, broken])
    assert models.history() == [sound]
    models.activate(last)
    damage_byte(models.directory / sound / "ranker.onnx")
    with pytest.raises(ArtifactError, match=f"before {last}; {sound}: deleted or damaged"):
        models.rollback()
    assert models.active() == last


def test_a_home_without_versions_cannot_go_back(models: Models) -> None:
    with pytest.raises(ArtifactError, match="no other version was active before any"):
        models.rollback()


def test_the_history_is_bounded(models: Models) -> None:
    first, second = publish(models), publish(models)
    for _ in range(80):
        models.activate(first)
        models.activate(second)
    assert len(models.history()) == 100
    assert models.active() == second


def test_a_damaged_pointer_is_mended_by_activating(models: Models) -> None:
    first, second = publish(models), publish(models)
    (models.directory / "active").write_text(f"{second}\nnonsense")
    with pytest.raises(ArtifactError, match="'nonsense', which is no version"):
        models.active()
    models.activate(first)
    assert models.history() == [first]


def test_prune_keeps_what_a_rollback_would_go_back_to(models: Models) -> None:
    first, second = publish(models), publish(models)
    refused = []
    for _ in range(3):
        with models.draft() as draft:
            (draft / "a").write_text("b")
            refused.append(models.publish(draft, MANIFEST, activate=False))
    assert models.prune(keep=1) == refused[:2]
    assert models.versions() == [first, second, refused[2]]
    assert models.rollback() == (first, [])


def test_the_beginning_of_a_name_is_enough_when_it_is_unique(models: Models) -> None:
    names = ["20250101-000000-aaaa", "20250101-000000-aaab", "20250102-000000-0000"]
    for name in names:
        (models.directory / name).mkdir(parents=True)
        (models.directory / name / "manifest.json").write_text("{}")
    assert models.find("20250102") == names[2]
    assert models.find(names[0]) == names[0]
    with pytest.raises(ArtifactError, match=f"may be any of {names[0]}, {names[1]}; write more"):
        models.find("20250101")
    for unknown in ("2024", "", "../.."):
        with pytest.raises(ArtifactError, match=f"no such model version; there are: {', '.join(names)}"):
            models.find(unknown)
