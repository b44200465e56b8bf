"""Two machines with model versions in one bucket: one trains, one serves, and the bucket goes away for a while."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from tests.serving.conftest import SMALL
from tests.serving.server import running
from tests.serving.test_versions import publish_copy, seconds_until, serving
from upnext.errors import StorageUnavailable
from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.storage.bucket import Bucket
from upnext.testing.s3_server import Server
from upnext.training.progress import Silent
from upnext.training.run import train


@pytest.fixture
def machines(trained: Path, bucket: str, tmp_path: Path) -> list[Home]:
    """Two homes with the same log; no versions yet but those of ``trained``, which neither looks at."""
    for name in ("one", "other"):
        shutil.copytree(trained, tmp_path / name)
        settings = tmp_path / name / "upnext.toml"
        settings.write_text(settings.read_text().replace('models = "var/models"', f'models = "{bucket}/shop"'))
    return [Home.open(tmp_path / name) for name in ("one", "other")]


def first_version(trained: Path, home: Home) -> str:
    return publish_copy(home.models(), *Home.open(trained).models().open())


def test_one_machine_trains_and_another_takes_it_from_there(machines: list[Home], upnext) -> None:
    one, other = machines
    trained = train(Home.open(one.directory, SMALL), None, Silent())
    assert trained is not None
    version, directory = trained.manifest.version, other.directory
    code, listed, _ = upnext("models", "list", "--home", directory)
    assert (code, f"*  {version}" in " ".join(listed.split(" "))) == (0, True)
    assert not (directory / "var" / "cache").exists()  # to list them, nothing is fetched
    code, told, _ = upnext("recommend", "--home", directory, "u1", "-n", 3)
    assert code == 0
    assert f"model {version}" in told
    second = publish_copy(one.models(), *one.models().open())
    assert upnext("models", "rollback", "--home", directory)[1] == f"Active: {version}\n"
    assert upnext("models", "activate", "--home", directory, second)[1] == f"Active: {second}\n"
    assert one.models().history() == [version, second]
    code, _, said = upnext("evaluate", "--home", directory)
    assert (code, "nothing was received since" in said) == (2, True)  # the model is read, and knows the whole log


def test_a_server_follows_the_bucket_and_outlives_it(
    machines: list[Home], trained: Path, s3: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machines
    first = first_version(trained, one)
    monkeypatch.setattr("upnext.storage.artifacts_bucket.BucketModels.look_s", 0.1)
    with running(other) as client:
        assert serving(client) == first
        second = publish_copy(one.models(), *one.models().open())
        seconds_until(client, second)
        kept = contents(one)
        with caplog.at_level(logging.WARNING, "upnext.serving"):
            s3.close()
            for _ in range(3):
                with pytest.raises(AssertionError):
                    seconds_until(client, "another", within=1.0)
                assert serving(client) == second
            assert client.get("/v1/models").status_code == 503
        said = [record for record in caplog.records if "goes on once the storage is back" in record.getMessage()]
        assert len(said) == 1
        assert f"{one.models().place}: cannot be reached just now" in said[0].getMessage()
        assert [record for record in caplog.records if record.exc_info] == []
        s3.start()
        restore(s3, one, kept)
        third = publish_copy(one.models(), *one.models().open(second))
        seconds_until(client, third)


def contents(home: Home) -> dict[str, bytes]:
    bucket = Bucket(home.models().place, "")
    return {name: bucket.read(name) or b"" for name in bucket.sizes()}


def restore(s3: Server, home: Home, kept: dict[str, bytes]) -> None:
    """moto forgets everything when it ends."""
    url = home.models().place
    s3.make(url.rpartition("/")[0])
    for name, data in kept.items():
        Bucket(url, "").create(name, data)


def test_a_version_that_could_not_be_fetched_is_not_given_up(
    machines: list[Home], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machines
    first_version(trained, one)
    with Engine(other) as engine:
        second = publish_copy(one.models(), *one.models().open())
        with monkeypatch.context() as patch:
            patch.setattr(Bucket, "download", away)
            with pytest.raises(StorageUnavailable):
                engine.reload()
        assert engine.reload() is True
        assert engine.funnels.version == second


def away(self: Bucket, files: object) -> None:
    raise StorageUnavailable("the bucket is away")
