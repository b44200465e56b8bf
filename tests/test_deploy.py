"""The files in deploy/ name what exists: verbs and flags, settings, services, volumes, ports, versions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from upnext.cli import cli
from upnext.config import Config

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))
KUBERNETES = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/upnext.yaml").read_text(encoding="utf-8")))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    else:
        yield str(value)


def commands() -> list[list[str]]:
    found = [service["command"] for service in COMPOSE["services"].values() if "command" in service]
    told = [text for text in strings([COMPOSE, KUBERNETES]) if re.search(r"\bupnext (serve|train)\b", text)]
    found += [shlex.split(match) for text in told for match in re.findall(r"\bupnext ((?:serve|train)[^;&]*)", text)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one(words: list[str]) -> None:
    verb = cli.commands[words[0]]
    verb.make_context(words[0], words[1:])  # raises for a flag that there is not, or a value that it does not take


def test_there_are_commands() -> None:
    assert {words[0] for words in commands()} == {"serve", "train"}
    assert any("--shards" in words for words in commands())


def test_every_setting_is_one() -> None:
    names = {text for text in strings([COMPOSE, KUBERNETES]) if text.startswith("UPNEXT__")}
    assert len(names) == 3
    for name in names:
        model: Any = Config
        for part in name.removeprefix("UPNEXT__").lower().split("__"):
            assert isinstance(model, type), name
            assert issubclass(model, BaseModel), name
            assert part in model.model_fields, name
            model = model.model_fields[part].annotation


def test_what_services_name_is_there() -> None:
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
        assert {entry.partition(":")[0] for entry in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    for copied in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE):
        for name in copied.split():
            assert (ROOT / name).exists(), name


def test_the_cluster_is_of_the_version_that_the_image_has() -> None:
    (cluster,) = [entry for entry in KUBERNETES if entry["kind"] == "RayCluster"]
    lock = (ROOT / "requirements-ray.lock").read_text(encoding="utf-8")
    assert f"ray=={cluster['spec']['rayVersion']}" in lock.split()


def test_no_secret_is_written_down() -> None:
    for text in ((ROOT / "deploy/compose/compose.yaml"), (ROOT / "deploy/kubernetes/upnext.yaml")):
        for line in text.read_text(encoding="utf-8").splitlines():
            if re.search(r"(api_key|password|AUTH_TOKEN)\w*\W+value:", line, re.IGNORECASE):
                raise AssertionError(line)
