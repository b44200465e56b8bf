"""The command as people type it, from an empty folder to an explained recommendation."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command import Done
from upnext import __version__
from upnext.cli import cli
from upnext.storage.bucket import Bucket

VERBS = sorted(cli.commands)
SMALL = """
[candidates.als]
embedding_size = 8
epochs = 2
[candidates.two_tower]
embedding_size = 16
epochs = 1
[ranking]  # enough steps for a ranker that an untrained one cannot beat by luck
epochs = 6
batch_size = 128
embedding_size = 16
expert_sizes = [16, 8]
[training]
threads = 1
"""


def refused(done: Done) -> str:
    """The sentence on stderr of a command that was refused."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert done.err.startswith("upnext: ")
    assert done.err.count("\n") == 1
    return done.err.removeprefix("upnext: ").strip()


def test_the_verbs() -> None:
    assert VERBS == [
        "bench", "demo", "evaluate", "explain", "import", "init", "migrate", "models", "plan", "recommend", "serve",
        "simulate", "train",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(upnext, verb: str) -> None:
    done = upnext(verb, "--help")
    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith("Usage: ")
    assert cli.commands[verb].help.splitlines()[0].rstrip(".") in " ".join(done.out.split())
    for option in cli.commands[verb].params:
        if option.param_type_name == "option":
            assert option.opts[0] in done.out


def test_version_and_help(upnext) -> None:
    assert upnext("--version").out.strip() == f"upnext, version {__version__}"
    listed = upnext("-h").out
    assert all(re.search(rf"^  {verb} ", listed, re.MULTILINE) for verb in VERBS)


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "upnext", "--version"], capture_output=True, text=True, check=True)
    assert __version__ in done.stdout


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["init"], ["train", "--nonsense"], ["serve", "--port", "99999"], ["simulate", "x", "--items", "0"]],
)
def test_what_is_not_a_command_is_refused(upnext, words: list[str]) -> None:
    done = upnext(*words)
    assert done.code == 2
    assert "Usage: " in done.err
    assert "Error: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("verb", ["list", "activate", "rollback"])
def test_every_verb_on_versions_explains_itself(upnext, verb: str) -> None:
    done = upnext("models", verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"  {verb} " in upnext("models", "--help").out
    assert "--home" in done.out


WITH_HOME = [["train"], ["evaluate"], ["recommend", "ann"], ["explain", "ann", "fox"], ["import", "x.csv"], ["serve"]]


@pytest.mark.parametrize("words", WITH_HOME, ids=lambda words: words[0])
def test_a_folder_that_is_no_home_is_refused(upnext, tmp_path: Path, words: list[str]) -> None:
    told = refused(upnext(*words, "--home", tmp_path))
    assert told.startswith(f"{tmp_path}: is no home (no upnext.toml)")
    assert "upnext init" in told


@pytest.mark.parametrize("words", WITH_HOME, ids=lambda words: words[0])
def test_a_wrong_setting_is_refused(upnext, tmp_path: Path, words: list[str]) -> None:
    upnext("init", tmp_path)
    told = refused(upnext(*words, "--home", tmp_path, "--set", "rankin.epochs=1"))
    assert told == "--set rankin.epochs: unknown key 'rankin'; did you mean 'ranking'?"


def test_init_makes_a_home_once(upnext, tmp_path: Path) -> None:
    done = upnext("init", tmp_path / "shop")
    assert done.code == 0
    assert "is ready" in done.out
    assert "upnext import --home" in done.out
    assert (tmp_path / "shop" / "upnext.toml").is_file()
    assert "is a home already" in refused(upnext("init", tmp_path / "shop"))


@pytest.mark.parametrize("verb", ["train", "evaluate"])
@pytest.mark.parametrize("until", ["yesterday", "2026-13-01", "", "05/05/2026"])
def test_a_moment_that_is_none_is_refused(upnext, tmp_path: Path, verb: str, until: str) -> None:
    upnext("init", tmp_path)
    told = refused(upnext(verb, "--home", tmp_path, "--until", until))
    assert told.startswith(f"--until {until!r}: expected an ISO date or time, such as ")


def test_an_empty_home_says_what_it_lacks(upnext, tmp_path: Path) -> None:
    upnext("init", tmp_path)
    assert "upnext import" in refused(upnext("train", "--home", tmp_path))
    assert "upnext train" in refused(upnext("evaluate", "--home", tmp_path))
    done = upnext("recommend", "ann", "--home", tmp_path)
    assert done.code == 0
    assert "no model is published" in done.out
    assert "fox" in refused(upnext("explain", "ann", "fox", "--home", tmp_path))


def test_recommendations_for_many_need_a_list_a_file_and_a_model(upnext, tmp_path: Path) -> None:
    upnext("init", tmp_path)
    words = ["recommend", "--home", tmp_path]
    assert refused(upnext(*words)).startswith("recommend for whom? Name one user id, or --users all")
    assert refused(upnext(*words, "ann", "--users", "all")).startswith("recommend for whom?")
    assert refused(upnext(*words, "--users", "all")) == "--users needs --out, the Parquet file to write"
    many = [*words, "--users", "all", "--out"]
    assert "`upnext train` makes one" in refused(upnext(*many, tmp_path / "recs.parquet"))
    assert "ends in .parquet" in refused(upnext(*many, tmp_path / "recs.csv"))
    assert list(tmp_path.glob("recs*")) == []


def test_data_is_imported_by_its_url(upnext, tmp_path: Path) -> None:
    home, url = tmp_path / "home", f"memory://{tmp_path.name}/data"
    upnext("init", home)
    Bucket(url, "").create("items.csv", b"item_id,title\na,first\n")
    done = upnext("import", "--home", home, f"{url}/items.csv")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"items\W+1\W+1\W+0\W+0", done.out)
    said = refused(upnext("import", "--home", home, f"{url}/other"))
    assert said == f"{url}/other: there is no such object, and none below it. Check the URL."
    assert sorted(path.name for path in (home / "var").iterdir()) == ["log.db"]


def test_csv_files_are_imported_once(upnext, tmp_path: Path) -> None:
    upnext("init", tmp_path / "shop")
    source = tmp_path / "csv"
    source.mkdir()
    (source / "items.csv").write_text("item_id,title,author\nfox,Red fox,ann\nowl,Barn owl,bob\n")
    (source / "users.csv").write_text("user_id\nu1\nu2\n")
    (source / "events.csv").write_text(
        "event_type,user_id,item_id,timestamp\nclick,u1,fox,1700000000\nclick,u2,owl,1700000060\nclick,u2,,1700000120\n"
    )
    first = upnext("import", "--home", tmp_path / "shop", source)
    assert first.code == 0, first
    assert re.search(r"\b2\b", first.out)
    rejects = list((tmp_path / "shop" / "var" / "rejects").rglob("*"))
    assert any("item_id" in path.read_text() for path in rejects if path.is_file())
    again = upnext("import", "--home", tmp_path / "shop", source)
    assert again.code == 0
    answer = json.loads(upnext("recommend", "u1", "--home", tmp_path / "shop", "--json").out)
    assert [row["item_id"] for row in answer["items"]] == ["owl"]
    assert answer["model_version"] is None


def test_a_source_that_is_not_there_is_refused(upnext, tmp_path: Path) -> None:
    upnext("init", tmp_path)
    assert "absent.csv" in refused(upnext("import", "--home", tmp_path, tmp_path / "absent.csv"))
    assert "absent.toml" in refused(
        upnext("import", "--home", tmp_path, "--mapping", tmp_path / "absent.toml", tmp_path)
    )


class Shop(NamedTuple):
    home: Path
    world: Path
    trained: Done


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A tiny world, imported and trained, by the commands alone."""
    folder = tmp_path_factory.mktemp("cli")
    home, world = folder / "shop", folder / "world"
    command = [sys.executable, "-W", "error", "-m", "upnext"]
    sizes = ["--items", "400", "--users", "150", "--impressions", "6000", "--days", "4"]

    def run(*words: str | Path) -> Done:
        done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    run("simulate", world, *sizes)
    run("init", home)
    (home / "upnext.toml").write_text(SMALL)
    run("import", "--home", home, world)
    return Shop(home, world, run("train", "--home", home, "--until", "2025-01-09", "--seed", "3"))


def test_training_says_what_it_published(shop: Shop) -> None:
    versions = [entry.name for entry in (shop.home / "var" / "models").iterdir() if entry.is_dir()]
    assert len(versions) == 1
    assert f"Published {versions[0]}" in shop.trained.out
    manifest = json.loads((shop.home / "var" / "models" / versions[0] / "manifest.json").read_text())
    assert manifest["seeds"] == {"training": 3}
    assert manifest["until_ms"] == 1_736_380_800_000
    assert {"click", "watch"} <= set(manifest["tasks"])
    assert not list((shop.home / "var" / "models").glob(".draft-*"))
    assert not list((shop.home / "var" / "models" / versions[0]).rglob("*.pkl"))


def test_evaluation_measures_every_stage(upnext, shop: Shop, tmp_path: Path) -> None:
    figures, report = tmp_path / "figures.json", tmp_path / "report.html"
    done = upnext("evaluate", "--home", shop.home, "--truth", shop.world, "--json", figures, "--report", report)
    assert done.code == 0, done.err
    results = json.loads(figures.read_text())
    stages = results["stages"]
    assert {"als", "two_tower", "because_you_watched", "trending", "union"} <= set(stages["candidates"])
    assert 0 < stages["ranking"]["click"]["auc"] < 1
    slate = stages["slate"]
    assert {"full funnel", "popularity"} <= set(slate)
    assert all(0 <= slate["full funnel"][name] <= 1 for name in ("ndcg@10", "value@10", "coverage"))
    assert results["oracle"]
    assert report.read_text().lstrip().lower().startswith("<!doctype html")
    assert "full funnel" in done.out
    assert "popularity" in done.out


def test_recommend_and_explain_agree(upnext, shop: Shop) -> None:
    done = upnext("recommend", "--home", shop.home, "u3", "-n", "5", "--json")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert len(answer["items"]) == 5
    assert [row["position"] for row in answer["items"]] == list(range(5))
    assert answer["degraded"] == []
    assert answer["model_version"]
    table = upnext("recommend", "--home", shop.home, "u3").out
    assert answer["items"][0]["item_id"] in table
    explained = json.loads(upnext("explain", "--home", shop.home, "u3", answer["items"][0]["item_id"]).out)
    assert explained["stage"] in ("shown", "reranking")
    assert explained["sources"]
    nobody = json.loads(upnext("recommend", "--home", shop.home, "nobody at all", "--json").out)
    assert "unknown user" in nobody["basis"]
    assert len(nobody["items"]) == 10


def test_unknown_items_and_too_many_are_refused_in_a_sentence(upnext, shop: Shop) -> None:
    assert "no such thing" in refused(upnext("explain", "--home", shop.home, "u3", "no such thing"))
    assert "serving.max_k" in refused(upnext("recommend", "--home", shop.home, "u3", "-n", "100000"))


def test_a_place_that_cannot_be_written_is_refused_in_a_sentence(upnext, shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    beyond = tmp_path / "file" / "figures.json"
    assert str(beyond) in refused(upnext("evaluate", "--home", shop.home, "--json", beyond))
    assert str(beyond) in refused(upnext("evaluate", "--home", shop.home, "--report", beyond))
    assert str(tmp_path / "file") in refused(upnext("simulate", tmp_path / "file" / "world", "--items", "20",
                                                    "--users", "50", "--impressions", "20"))  # fmt: skip


def test_versions_are_made_listed_activated_and_rolled_back(upnext, shop: Shop, tmp_path: Path) -> None:
    home = tmp_path / "shop"
    shutil.copytree(shop.home, home)
    (first,) = [entry.name for entry in (home / "var" / "models").iterdir() if entry.is_dir()]
    warm = upnext("train", "--home", home, "--warm", "--until", "2025-01-09T16:00")
    assert warm.code == 0, warm.err
    second = warm.out.split("Published ")[1].split()[0]
    assert re.search(rf"new events since version {first}", warm.out)
    assert "Active: " in warm.out
    listed = upnext("models", "list", "--home", home).out
    assert re.search(rf"^  +{first} .*[\d,]+ *click auc 0\.\d{{4}}", listed, re.MULTILINE)
    assert re.search(rf"^\* +{second} ", listed, re.MULTILINE)
    assert "2025-01-09 16:00" in listed
    assert "(warm)" in listed
    assert upnext("models", "rollback", "--home", home).out == f"Active: {first}\n"
    assert re.search(rf"^\* +{first} ", upnext("models", "list", "--home", home).out, re.MULTILINE)
    assert f"no other version was active before {first}" in refused(upnext("models", "rollback", "--home", home))
    assert upnext("models", "activate", "--home", home, second[:-1]).out == f"Active: {second}\n"
    for unknown in ("1999", "nonsense"):
        told = refused(upnext("models", "activate", "--home", home, unknown))
        assert f"{unknown!r}: there is no such model version" in told
        assert f"{first}, {second}" in told
    again = upnext("train", "--home", home, "--warm", "--until", "2025-01-09T16:00")
    assert again.code == 0
    assert "Nothing is new" in again.out
    assert "no version was made" in again.out


def test_a_worse_version_does_not_serve_and_the_command_says_why(upnext, shop: Shop, tmp_path: Path) -> None:
    home = tmp_path / "shop"
    shutil.copytree(shop.home, home)
    worse = ["train", "--home", home, "--set", "ranking.learning_rate=1e-9", "--set", "training.max_regression=0"]
    done = upnext(*worse)
    assert done.code == 0, done.err
    version = done.out.split("Published ")[1].split()[0]
    told = " ".join(done.out.split())
    assert "Not activated: its mean AUC is lower than the active version's by 0." in told
    assert f"upnext models activate --home {home} {version}" in told
    assert upnext("models", "activate", "--home", home, version).code == 0
    assert "exclude each other" in refused(upnext("train", "--home", home, "--force", "--no-activate"))


def test_damaged_versions_are_shown_as_damaged_and_not_activated(upnext, shop: Shop, tmp_path: Path) -> None:
    home = tmp_path / "shop"
    shutil.copytree(shop.home, home)
    models = home / "var" / "models"
    (sound,) = [entry.name for entry in models.iterdir() if entry.is_dir()]
    broken = "20250101-000000-0000"
    shutil.copytree(models / sound, models / broken)
    manifest = json.loads((models / broken / "manifest.json").read_text())
    (models / broken / "manifest.json").write_text(json.dumps({**manifest, "version": broken}))
    assert "damaged" not in upnext("models", "list", "--home", home).out.lower()
    (models / broken / "ranker" / "scorer.onnx").write_bytes(b"half written")
    (models / ".draft-left" / "ranker").mkdir(parents=True)
    listed = upnext("models", "list", "--home", home).out
    assert re.search(rf"^  +{broken} +damaged", listed, re.MULTILINE)
    assert f"{broken}/ranker/scorer.onnx: is damaged" in " ".join(listed.split())
    assert "draft" not in listed
    assert "scorer.onnx: is damaged" in refused(upnext("models", "activate", "--home", home, broken))
    assert (models / "active").read_text().split()[-1] == sound


def test_a_training_that_is_killed_leaves_nothing_that_serves(upnext, shop: Shop, tmp_path: Path) -> None:
    home = tmp_path / "shop"
    shutil.copytree(shop.home, home)
    models = home / "var" / "models"
    sound = (models / "active").read_text()
    training = subprocess.Popen(
        [sys.executable, "-m", "upnext", "train", "--home", str(home)], stdout=subprocess.DEVNULL
    )
    ends = time.monotonic() + 120
    while not list(models.glob(".draft-*/early/sources/*")):  # in the middle of writing
        assert time.monotonic() < ends
        assert training.poll() is None
        time.sleep(0.01)
    training.kill()
    assert training.wait() == -signal.SIGKILL
    assert list(models.glob(".draft-*"))
    listed = upnext("models", "list", "--home", home).out
    assert sound in listed
    assert "draft" not in listed
    answer = json.loads(upnext("recommend", "--home", home, "u3", "--json").out)
    assert answer["model_version"] == sound
    assert upnext("train", "--home", home, "--warm").code == 0
    assert not list(models.glob(".draft-*"))


def test_a_home_without_versions_says_so(upnext, tmp_path: Path) -> None:
    upnext("init", tmp_path)
    assert "no model version is published yet" in " ".join(upnext("models", "list", "--home", tmp_path).out.split())
    assert "there are: none" in refused(upnext("models", "activate", "--home", tmp_path, "2025"))
    assert "no version is active" in refused(upnext("train", "--home", tmp_path, "--warm"))


def test_a_damaged_model_is_named(upnext, shop: Shop, tmp_path: Path) -> None:
    shutil.copytree(shop.home, tmp_path / "shop")
    scorer = next((tmp_path / "shop" / "var" / "models").rglob("scorer.onnx"))
    scorer.write_bytes(scorer.read_bytes()[:-7])
    told = refused(upnext("recommend", "--home", tmp_path / "shop", "u3"))
    assert str(scorer) in told
