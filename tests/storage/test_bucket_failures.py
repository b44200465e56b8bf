"""A bucket that is away, refuses, lost a part or is written to by several: the sentence, and what is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.test_artifacts_bucket import at
from upnext.errors import ArtifactError, ConfigError, StorageError, StorageUnavailable
from upnext.storage import artifacts_bucket
from upnext.storage.artifacts_bucket import CACHED, BucketModels
from upnext.storage.artifacts_folder import FolderModels
from upnext.storage.bucket import Bucket, inside
from upnext.storage.open import open_models
from upnext.testing.artifacts_contract import publish
from upnext.testing.s3_server import Server

SECRET = "not-to-be-shown"


@pytest.fixture
def memory() -> str:
    return f"memory://test-{uuid.uuid4().hex}/models"


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# -- what is named


@pytest.mark.parametrize("place", ["var/models", "/data/models", "file:///data/models"])
def test_a_path_is_a_folder(place: str, tmp_path: Path) -> None:
    models = open_models(place, tmp_path)
    assert isinstance(models, FolderModels)
    assert models.directory == tmp_path / place.removeprefix("file://")


def test_a_url_is_a_bucket_with_a_cache_in_the_home(memory: str, tmp_path: Path) -> None:
    models = open_models(memory + "/", tmp_path)
    assert isinstance(models, BucketModels)
    version = publish(models)
    assert models.place == memory
    assert models.open()[0] == tmp_path / "var" / "cache" / "models" / version


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "s4://bucket/x",
            r"storage\.models: 's4://bucket/x' has the unknown scheme 's4'; known are file://, s3://, gs",
        ),
        ("ftp://bucket/x", r"unknown scheme 'ftp'; known are file://, s3://, gs://, memory://"),
        ("s3://", r"names no bucket; expected a URL such as s3://bucket/shop"),
        ("s3://key:secret@bucket/x", r"'s3://key:\*\*\*@bucket/x' holds more than a bucket and a path.*environment"),
        ("s3://key:sec/ret@bucket/x", r"'s3://key:\*\*\*@bucket/x' holds more"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(place: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        open_models(place, tmp_path)
    assert "ret@" not in str(refused.value)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=r"storage\.models: gs:// needs packages.*pip install 'upnext\[gs\]'"):
        open_models("gs://bucket/x", tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "", "."])
def test_an_object_never_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be a file"):
        inside(tmp_path, name)


# -- what refuses, and what is away


def test_no_such_bucket(s3: Server, tmp_path: Path) -> None:
    models = at("s3://nobody-made-it/models", tmp_path)
    for ask in (models.versions, models.active, models.open, lambda: publish(models)):
        with pytest.raises(StorageError, match=r"s3://nobody-made-it/models: there is no such bucket.*make the bucket"):
            ask()
    assert files_in(tmp_path) == []


@pytest.fixture
def fresh(s3: Server) -> Iterator[None]:
    """Connections of this test's own: the library keeps one for each set of options."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def strict(s3: Server) -> Iterator[Server]:
    server = Server(checked=True)
    yield server
    server.close()


def test_wrong_credentials(fresh: None, strict: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", strict.environment["AWS_ENDPOINT_URL_S3"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    models = at("s3://bucket/models", tmp_path)
    for ask in (models.active, models.open, lambda: publish(models)):
        with pytest.raises(
            StorageError, match=r"s3://bucket/models: access is refused.*Check the credentials"
        ) as refused:
            ask()
        assert not isinstance(refused.value, StorageUnavailable)
        assert SECRET not in str(refused.value)


def test_no_credentials(fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match=r"access is refused.*Check the credentials"):
        at("s3://bucket/models", tmp_path).active()


def test_a_store_that_is_away_for_a_while(fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.environment["AWS_ENDPOINT_URL_S3"])
        server.make("s3://bucket")
        models = at("s3://bucket/models", tmp_path)
        publish(models)
        server.close()
        for ask in (models.active, models.versions, models.open, models.rollback, lambda: publish(models)):
            with pytest.raises(StorageUnavailable, match="s3://bucket/models: cannot be reached just now"):
                ask()
        server.start()
        server.make("s3://bucket")
        assert models.versions() == []  # it kept everything in memory
        version = publish(models)
        assert models.active() == version
    finally:
        server.close()


def test_who_has_patience_waits_for_it(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    once, away = Bucket._once, iter([True] * 3)

    def sometimes(self: Bucket, *arguments: object, absent: bool) -> object:
        if next(away, False):
            raise StorageUnavailable(f"{self.url}: is away")
        return once(self, *arguments, absent=absent)  # type: ignore[arg-type]

    monkeypatch.setattr(Bucket, "_once", sometimes)
    monkeypatch.setattr("upnext.storage.bucket.FIRST_PAUSE_S", 0.01)
    with pytest.raises(StorageUnavailable):
        at(memory, tmp_path).active()
    patient = BucketModels(Bucket(memory, "", patience_s=60), tmp_path)
    assert publish(patient) == patient.active()
    assert [record.message for record in caplog.records] == [f"tried again for up to 1 min: {memory}: is away"]


# -- damage


def test_a_short_object_is_refused_before_anything_is_fetched(memory: str, tmp_path: Path) -> None:
    version = publish(at(memory, tmp_path / "one"))
    bucket = Bucket(memory, "")
    name = f"{version}/ranker.onnx"
    bucket.delete([name])
    bucket.create(name, b"weig")
    other = at(memory, tmp_path / "other")
    with pytest.raises(ArtifactError, match=rf"{memory}/{name}: is damaged, it has 4 bytes instead of 7; train anew"):
        other.open()
    with pytest.raises(ArtifactError, match="4 bytes instead of 7"):
        other.check(version)
    assert files_in(tmp_path / "other") == []


def test_an_object_that_lies_about_its_content_is_not_kept(memory: str, tmp_path: Path) -> None:
    version = publish(at(memory, tmp_path / "one"))
    bucket = Bucket(memory, "")
    bucket.delete([f"{version}/ranker.onnx"])
    bucket.create(f"{version}/ranker.onnx", b"weightz")
    other = at(memory, tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"ranker\.onnx: is damaged, its checksum differs"):
        other.open()
    assert files_in(tmp_path / "other") == []


def test_a_damaged_copy_is_fetched_anew(memory: str, tmp_path: Path) -> None:
    models = at(memory, tmp_path)
    publish(models)
    for harm in (lambda path: path.write_text("rotten!"), Path.unlink):
        harm(models.open()[0] / "ranker.onnx")
        assert (models.open()[0] / "ranker.onnx").read_text() == "weights"


def test_a_version_is_fetched_once(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(at(memory, tmp_path / "one"))
    fetched: list[object] = []
    download = Bucket.download
    monkeypatch.setattr(Bucket, "download", lambda self, files: (fetched.append(files), download(self, files)))
    threads = [threading.Thread(target=at(memory, tmp_path / "other").open) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1


def test_the_copies_used_last_are_kept(memory: str, tmp_path: Path) -> None:
    made = [publish(at(memory, tmp_path / "one")) for _ in range(CACHED + 3)]
    assert FolderModels(tmp_path / "one").versions() == made[-CACHED:]
    other = at(memory, tmp_path / "other")
    for version in (made[0], made[1], made[2], made[0], made[3]):
        other.open(version)
        time.sleep(0.01)  # the time of use is the time of a folder
    assert FolderModels(tmp_path / "other").versions() == [made[0], made[2], made[3]]


# -- several at once, and those who do not come back

KILLED = """
import os, sys
from pathlib import Path
from upnext.storage.bucket import Bucket
from upnext.testing.artifacts_contract import publish
from upnext.storage.artifacts_bucket import BucketModels
step, url, cache = sys.argv[1:]
real = getattr(Bucket, step)
def dying(self, *arguments):
    if step == "upload":
        real(self, dict(list(arguments[0].items())[:1]))
    elif not arguments[0].endswith("manifest.json"):
        return real(self, *arguments)
    os.kill(os.getpid(), 9)
setattr(Bucket, step, dying)
publish(BucketModels(Bucket(url, ""), Path(cache)), "never seen")
"""


@pytest.mark.parametrize("step", ["upload", "create"])
def test_killed_in_the_middle_of_publishing(
    step: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first file, and after the last one but before the manifest."""
    models = at(f"{bucket}/models", tmp_path / "one")
    first = publish(models)
    done = subprocess.run([sys.executable, "-c", KILLED, step, models.place, str(tmp_path / "other")])
    assert done.returncode == -signal.SIGKILL
    everything = Bucket(models.place, "").sizes()
    (left,) = {name.partition("/")[0] for name in everything} - {first, "active"}
    assert f"{left}/claim" in everything
    assert models.versions() == models.history() == [first]
    models.open()
    second = publish(models)
    assert models.versions() == [first, second]
    assert any(name.startswith(left) for name in Bucket(models.place, "").sizes())  # it might still be at work
    monkeypatch.setattr(artifacts_bucket, "_ABANDONED", 0)
    third = publish(models)
    assert not any(name.startswith(left) for name in Bucket(models.place, "").sizes())
    assert models.versions() == [first, second, third]
    assert models.rollback() == (second, [])


def test_machines_that_publish_at_once(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one clock that stands still, so that all want the same name; no activation is lost."""
    monkeypatch.setattr("upnext.storage.artifacts_bucket.next_moment", lambda latest: 1_700_000_000 * 65_536)
    made: list[str] = []
    texts = [f"weights of {n}" for n in range(6)]
    machines = [at(f"{bucket}/models", tmp_path / f"machine-{n}") for n in range(6)]

    def one(machine: BucketModels, text: str) -> None:
        made.append(publish(machine, text))

    threads = [threading.Thread(target=one, args=pair) for pair in zip(machines, texts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = at(f"{bucket}/models", tmp_path / "reader")
    assert sorted(made) == reader.versions() == sorted(reader.history())
    assert sorted((reader.open(name)[0] / "ranker.onnx").read_text() for name in made) == texts
    assert reader.active() == reader.history()[-1]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["publish", "activate", "rollback", "prune"]))))
def test_two_machines_see_what_one_folder_would_show(steps: list[tuple[int, str]], tmp_path: Path) -> None:
    """Whatever they do in turns, history, pointer and the number of versions are those of a folder."""
    here = tmp_path / uuid.uuid4().hex
    url = f"memory://{here.name}/models"
    machines, folder = [at(url, here / "a"), at(url, here / "b")], FolderModels(here / "folder")
    names: dict[str, str] = {}
    for which, step in steps:
        both = (machines[which], folder)
        if step == "publish":
            there, plain = (publish(models) for models in both)
            names[there] = plain
        elif step == "activate" and machines[which].versions():
            for models in both:
                models.activate(models.versions()[0])
        elif step == "rollback":
            outcomes = [outcome(models.rollback) for models in both]
            assert outcomes[0] == outcomes[1]
        elif step == "prune":
            assert [names[name] for name in machines[which].prune(2)] == folder.prune(2)
        for machine in machines:
            assert [names[name] for name in machine.history()] == folder.history()
            assert [names[name] for name in machine.versions()] == folder.versions()


def outcome(call: object) -> str:
    try:
        call()  # type: ignore[operator]
    except ArtifactError:
        return "refused"
    return "done"


def test_a_move_that_was_sent_twice_counts_once(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first try was lost, as when a connection breaks; the second finds the object there."""
    models = at(memory, tmp_path)
    first, second, third = (publish(models) for _ in range(3))
    create = Bucket.create
    monkeypatch.setattr(
        Bucket, "create", lambda self, *arguments: (create(self, *arguments), create(self, *arguments))[1]
    )
    assert models.rollback() == (second, [])
    assert models.history() == [first, second]
    models.activate(third)
    assert models.history() == [first, second, third]
