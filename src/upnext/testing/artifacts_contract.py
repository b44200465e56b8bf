"""What every place of model versions must do, as a pytest class: say how to open one, and how to reach behind it.

class TestMine(ModelsContract):
    def open(self, tmp_path): return MyModels(tmp_path)
    def put(self, models, name, data): ...
    def get(self, models, name): ...
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from upnext.errors import ArtifactError
from upnext.storage.artifacts import ACTIVE, MANIFEST, Manifest, Models

LEARNED = Manifest(
    upnext="0.1.0",
    first_offset=0,
    last_offset=99,
    feature_names=("age", "clicks"),
    feature_digest="abcd",
    tasks=("click",),
    metrics={"ranker": {"click": {"auc": 0.75}}},
    seeds={"training": 7},
)

Damage = Callable[[bytes], bytes | None]


def publish(models: Models, text: str = "weights") -> str:
    """A small version, in a folder and a folder below."""
    with models.draft() as draft:
        (draft / "ranker.onnx").write_text(text)
        (draft / "index").mkdir()
        (draft / "index" / "items.npy").write_bytes(b"\x93NUMPY" * 100)
        return models.publish(draft, LEARNED)


def flipped(data: bytes) -> bytes:
    """One bit of it."""
    return data[:3] + bytes([data[3] ^ 1]) + data[4:]


def cut_short(data: bytes) -> bytes:
    return data[:-1]


def gone(data: bytes) -> None:
    return None


class ModelsContract:
    def open(self, tmp_path: Path) -> Models:
        """Those in ``tmp_path``: new ones, or what is there."""
        raise NotImplementedError

    def get(self, models: Models, name: str) -> bytes:
        """A stored file, such as 20261122-155500-1a2b/ranker.onnx."""
        raise NotImplementedError

    def put(self, models: Models, name: str, data: bytes | None) -> None:
        """Store it behind the back of ``models``, or delete it. Nothing remembers what was there."""
        raise NotImplementedError

    def pointer(self, models: Models) -> str:
        """The name of the file that says which version is active."""
        return ACTIVE

    def damage(self, models: Models, name: str, damage: Damage) -> None:
        self.put(models, name, damage(self.get(models, name)))

    @pytest.fixture
    def models(self, tmp_path: Path) -> Models:
        return self.open(tmp_path)

    def test_nothing_is_published_at_first(self, models: Models) -> None:
        assert models.versions() == []
        assert models.active() is None
        with pytest.raises(ArtifactError, match="upnext train"):
            models.open()

    def test_a_version_comes_back_as_published(self, models: Models) -> None:
        version = publish(models)
        folder, manifest = models.open()
        assert models.active() == version == manifest.version == folder.name
        assert (folder / "ranker.onnx").read_text() == "weights"
        assert set(manifest.files) == {"ranker.onnx", "index/items.npy"}
        assert manifest.files["ranker.onnx"].bytes == 7
        assert manifest.created_at > 1_600_000_000_000
        unchanged = {"version", "created_at", "files"}
        assert manifest.model_dump(exclude=unchanged) == LEARNED.model_dump(exclude=unchanged)

    def test_names_sort_by_time_and_never_repeat(self, models: Models) -> None:
        made = [publish(models) for _ in range(5)]
        assert made == sorted(set(made)) == models.versions()

    def test_names_rise_although_the_clock_goes_back(self, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
        first = publish(models)
        monkeypatch.setattr("upnext.storage.artifacts.time.time", lambda: 1.0)
        assert publish(models) > first

    def test_activate_goes_back_and_forth(self, models: Models) -> None:
        old, new = publish(models, "old"), publish(models, "new")
        models.activate(old)
        assert models.active() == old
        assert (models.open()[0] / "ranker.onnx").read_text() == "old"
        assert models.open(new)[1].version == new

    def test_publishing_without_activating(self, models: Models) -> None:
        first = publish(models)
        with models.draft() as draft:
            (draft / "a").write_text("b")
            second = models.publish(draft, LEARNED, activate=False)
        assert models.versions() == [first, second]
        assert models.active() == first

    def test_prune_keeps_the_latest_and_the_active(self, models: Models) -> None:
        made = [publish(models) for _ in range(5)]
        models.activate(made[0])
        assert models.prune(keep=2) == made[1:3]
        assert models.versions() == [made[0], *made[3:]]
        assert models.prune(keep=2) == []
        models.open()

    # damage

    @pytest.mark.parametrize(
        ("damage", "said"), [(flipped, "checksum"), (cut_short, "6 bytes instead of 7"), (gone, "missing")]
    )
    def test_damage_is_named_with_the_way_out(self, models: Models, damage: Damage, said: str) -> None:
        sound, broken = publish(models), publish(models)
        self.damage(models, f"{broken}/ranker.onnx", damage)
        with pytest.raises(ArtifactError, match=rf"{broken}/ranker\.onnx.*{said}.*upnext train.*{sound}"):
            models.open()
        with pytest.raises(ArtifactError, match="ranker"):
            models.activate(broken)
        models.activate(sound)
        models.open()

    @pytest.mark.parametrize(
        ("content", "said"), [("", "damaged"), ("{", "damaged"), ('{"files": 3}', "damaged"), ("{}", "belongs to")]
    )
    def test_a_damaged_manifest_is_named(self, models: Models, content: str, said: str) -> None:
        version = publish(models)
        self.damage(models, f"{version}/{MANIFEST}", lambda data: content.encode())
        with pytest.raises(ArtifactError, match=rf"manifest\.json.*{said}"):
            models.open()

    def test_a_damaged_pointer_is_named(self, models: Models) -> None:
        version = publish(models)
        self.damage(models, self.pointer(models), lambda data: b"\xff../../etc")
        with pytest.raises(ArtifactError, match=rf"active.*no version.*{version}"):
            models.open()

    @pytest.mark.parametrize("name", ["20200101-000000-0000", "../models", "latest"])
    def test_an_unknown_version_is_named(self, models: Models, name: str) -> None:
        publish(models)
        with pytest.raises(ArtifactError, match="no such model version"):
            models.open(name)

    def test_manifests_of_a_later_program_are_read(self, models: Models) -> None:
        name = f"{publish(models)}/{MANIFEST}"
        self.damage(models, name, lambda data: json.dumps({**json.loads(data), "novelty": 1}).encode())
        models.open()

    # drafts

    def test_a_draft_is_invisible_and_goes_away(self, models: Models) -> None:
        with models.draft() as draft:
            (draft / "half").write_text("written")
            assert models.versions() == []
        assert not draft.exists()

    def test_a_failed_draft_goes_away(self, models: Models) -> None:
        with pytest.raises(RuntimeError), models.draft() as draft:
            raise RuntimeError
        assert not draft.exists()

    def test_an_empty_draft_and_links_are_refused(self, models: Models) -> None:
        with models.draft() as draft, pytest.raises(ArtifactError, match="no files"):
            models.publish(draft, LEARNED)
        with models.draft() as draft:
            (draft / "link").symlink_to("/etc/hostname")
            with pytest.raises(ArtifactError, match="link"):
                models.publish(draft, LEARNED)
        assert models.versions() == []

    def test_publishing_at_the_same_time(self, models: Models) -> None:
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

    def test_publishing_while_others_give_up_their_drafts(self, models: Models) -> None:
        over = threading.Event()

        def give_up() -> None:
            while not over.is_set():
                with models.draft():
                    pass

        others = [threading.Thread(target=give_up) for _ in range(2)]
        for thread in others:
            thread.start()
        try:
            made = [publish(models) for _ in range(20)]
        finally:
            over.set()
            for thread in others:
                thread.join()
        assert models.versions() == made

    # going back

    def test_rolling_back_twice_goes_further_back(self, models: Models) -> None:
        first, second, third = (publish(models) for _ in range(3))
        assert models.history() == [first, second, third]
        assert models.rollback() == (second, [])
        assert models.rollback() == (first, [])
        assert models.active() == first
        with pytest.raises(
            ArtifactError, match=f"no other version was active before {first}.*models activate.*{third}"
        ):
            models.rollback()
        assert models.active() == first
        models.activate(third)
        assert models.rollback() == (first, [])

    def test_activating_the_active_version_is_no_step_of_the_history(self, models: Models) -> None:
        first, second = publish(models), publish(models)
        models.activate(second)
        models.activate(second)
        assert models.history() == [first, second]
        models.activate(first)
        assert models.history() == [first, second, first]
        assert models.rollback() == (second, [])
        assert models.rollback() == (first, [])

    def test_a_version_that_was_only_published_is_not_rolled_back_to(self, models: Models) -> None:
        first = publish(models)
        with models.draft() as draft:
            (draft / "a").write_text("b")
            models.publish(draft, LEARNED, activate=False)
        third = publish(models)
        assert models.history() == [first, third]
        assert models.rollback() == (first, [])

    def test_a_rollback_passes_over_what_is_damaged_or_gone_and_says_so(self, models: Models) -> None:
        sound, broken, deleted, last = (publish(models) for _ in range(4))
        self.damage(models, f"{broken}/ranker.onnx", flipped)
        models.delete(deleted)
        assert models.rollback() == (sound, [deleted, broken])
        assert models.history() == [sound]
        models.activate(last)
        self.damage(models, f"{sound}/ranker.onnx", flipped)
        with pytest.raises(ArtifactError, match=f"before {last}; {sound}: deleted or damaged"):
            models.rollback()
        assert models.active() == last

    def test_a_home_without_versions_cannot_go_back(self, models: Models) -> None:
        with pytest.raises(ArtifactError, match="no other version was active before any"):
            models.rollback()

    def test_the_history_is_bounded(self, models: Models) -> None:
        first, second = publish(models), publish(models)
        for _ in range(80):
            models.activate(first)
            models.activate(second)
        assert len(models.history()) == 100
        assert models.active() == second

    def test_a_damaged_pointer_is_mended_by_activating(self, models: Models) -> None:
        first, second = publish(models), publish(models)
        self.damage(models, self.pointer(models), lambda data: f"{second}\nnonsense".encode())
        with pytest.raises(ArtifactError, match="'nonsense', which is no version"):
            models.active()
        models.activate(first)
        assert models.history() == [first]

    def test_prune_keeps_what_a_rollback_would_go_back_to(self, models: Models) -> None:
        first, second = publish(models), publish(models)
        refused = []
        for _ in range(3):
            with models.draft() as draft:
                (draft / "a").write_text("b")
                refused.append(models.publish(draft, LEARNED, activate=False))
        assert models.prune(keep=1) == refused[:2]
        assert models.versions() == [first, second, refused[2]]
        assert models.rollback() == (first, [])

    def test_the_beginning_of_a_name_is_enough_when_it_is_unique(self, models: Models) -> None:
        names = ["20250101-000000-aaaa", "20250101-000000-aaab", "20250102-000000-0000"]
        for name in names:
            self.put(models, f"{name}/{MANIFEST}", b"{}")
        assert models.find("20250102") == names[2]
        assert models.find(names[0]) == names[0]
        with pytest.raises(ArtifactError, match=f"may be any of {names[0]}, {names[1]}; write more"):
            models.find("20250101")
        for unknown in ("2024", "", "../.."):
            with pytest.raises(ArtifactError, match=f"no such model version; there are: {', '.join(names)}"):
                models.find(unknown)
