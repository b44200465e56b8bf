"""Model versions in a bucket: the contract, in memory and on a server that speaks S3."""

import shutil
import uuid
from pathlib import Path

import pytest

from upnext.storage.artifacts_bucket import BucketModels
from upnext.storage.bucket import Bucket
from upnext.testing.artifacts_contract import ModelsContract


def at(url: str, cache: Path) -> BucketModels:
    return BucketModels(Bucket(url, "storage.models"), cache)


class InBucket(ModelsContract):
    url: str

    def open(self, tmp_path: Path) -> BucketModels:
        return at(f"{self.url}/shop/models", tmp_path / "cache")

    def get(self, models: BucketModels, name: str) -> bytes:
        found = Bucket(models.place, "").read(name)
        assert found is not None
        return found

    def put(self, models: BucketModels, name: str, data: bytes | None) -> None:
        bucket = Bucket(models.place, "")
        bucket.delete([name])
        if data is not None:
            assert bucket.create(name, data)
        shutil.rmtree(models._cache.directory, ignore_errors=True)  # as on a machine that has not seen it

    def pointer(self, models: BucketModels) -> str:
        return max(Bucket(models.place, "").sizes("active"))


class TestInMemory(InBucket):
    @pytest.fixture(autouse=True)
    def _on(self) -> None:
        self.url = f"memory://test-{uuid.uuid4().hex}"


class TestS3(InBucket):
    @pytest.fixture(autouse=True)
    def _on(self, bucket: str) -> None:
        self.url = bucket
