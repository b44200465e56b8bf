"""The ``upnext`` command. Each verb reads its flags, calls one function, and prints what it found.

Heavy imports happen inside the verbs, so that ``upnext --help`` is instant and ``serve`` never loads torch.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from upnext import __version__
from upnext import cli_worlds as worlds
from upnext.cli_migrate import migrate
from upnext.cli_shared import HOME, RAY, SET, Span, bars, can_be_written, console, moment, need_training
from upnext.errors import ConfigError, UpnextError
from upnext.home import Home


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="upnext")
def cli() -> None:
    """A recommender you can run, read and trust: candidates, ranking, reranking."""


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
def init(directory: Path) -> None:
    """Make DIRECTORY a home: upnext.toml, and var/ for the log and the models."""
    Home.create(directory)
    console().print(f"{directory} is ready: settings in {directory / 'upnext.toml'}.")
    console().print(f"Next: upnext import --home {directory} SOURCE", style="dim")


@cli.command("import")
@HOME
@SET
@click.option("--mapping", type=click.Path(path_type=Path), help="A TOML file that names the source's columns.")
@click.argument("source", nargs=-1, required=True)
def import_(home: Path, overrides: tuple[str, ...], mapping: Path | None, source: tuple[str, ...]) -> None:
    """Import items, users and events from SOURCE.

    SOURCE is a file or folder (CSV, JSON lines, Parquet), or a known format and a path: kuairand PATH,
    movielens PATH, sequences PATH. A path may be a URL: s3://bucket/data. Importing the same source twice adds nothing.
    """
    from upnext.events.fetched import fetched
    from upnext.events.importing import import_source
    from upnext.events.open import open_source

    opened = Home.open(home, overrides)
    with fetched(source, opened.directory / "var") as paths:
        reader = open_source(paths, mapping)
        log = opened.log()
        try:
            console().print(import_source(log, reader, opened.config.events.types, opened.rejects, bars()))
        finally:
            log.close()


@cli.command()
@HOME
@SET
@click.option("--until", help="Learn only from what was received before this moment (ISO date or time, UTC).")
@click.option("--seed", type=click.IntRange(min=0), help="Overrides training.seed.")
@click.option("--warm", is_flag=True, help="Go on from the active version, with the events since: much quicker.")
@click.option("--activate/--no-activate", default=True, help="Let it serve, unless it is worse; or only publish it.")
@click.option("--force", is_flag=True, help="Let it serve although it is worse (training.max_regression).")
@RAY
@click.option("--ray-workers", type=click.IntRange(1, 1024), help="With --ray: how many train; 2 by default.")
def train(
    home: Path,
    overrides: tuple[str, ...],
    until: str | None,
    seed: int | None,
    warm: bool,
    activate: bool,
    force: bool,
    cluster: str | None,
    ray_workers: int | None,
) -> None:
    """Fit every model on the log and publish them as one version.

    A running server takes it up by itself. A version that is worse than the active one is published, but not activated.
    """
    need_training()
    if force and not activate:
        raise ConfigError("--force and --no-activate exclude each other: give one of them")
    if ray_workers and cluster is None:
        raise ConfigError("--ray-workers is of --ray: name a cluster, or `--ray local`")
    if warm and cluster is not None:
        raise ConfigError("--warm is quick and needs no cluster: leave --ray out")
    from upnext.training.run import train as run

    opened = Home.open(home, (*overrides, *([] if seed is None else [f"training.seed={seed}"])))
    started = time.perf_counter()
    activation: Any = "always" if force else "guarded" if activate else "never"
    end = None if until is None else moment(until)
    if cluster is None:
        trained = run(opened, end, bars(), warm=warm, activation=activation)
    else:
        from upnext.distributed.cluster import need_ray

        need_ray(cluster)
        from upnext.distributed.crew import train_on_ray

        trained = train_on_ray(opened, end, bars(), activation, cluster, ray_workers or 2)
    if trained is None:
        console().print("Nothing to learn: no version was made.")
        return
    version = trained.manifest.version
    console().print(f"Published {version} after {time.perf_counter() - started:.0f} s")
    console().print(f"{'Active' if trained.active else 'Not activated'}: {trained.why}")
    if not trained.active:
        console().print(f"To let it serve anyway: upnext models activate --home {home} {version}")


@cli.group()
def models() -> None:
    """The published model versions: list them, activate one, go back to the one before.

    A running server takes a change up within a second, from a bucket within a few.
    """


@models.command("list")
@HOME
def list_(home: Path) -> None:
    """Every version with what it learned from, how good it was, and whether it is sound."""
    from upnext.terminal import versions_table

    console().print(versions_table(Home.open(home).models()))


@models.command()
@HOME
@click.argument("version")
def activate(home: Path, version: str) -> None:
    """Let VERSION serve, after its files were checked. The beginning of its name is enough."""
    found = Home.open(home).models()
    name = found.find(version)
    found.activate(name)
    console().print(f"Active: {name}")


@models.command()
@HOME
def rollback(home: Path) -> None:
    """Let the version serve that was active before; again, and the one before that."""
    name, passed = Home.open(home).models().rollback()
    for other in passed:
        console().print(f"Passed over {other}: deleted or damaged")
    console().print(f"Active: {name}")


@cli.command()
@HOME
@SET
@click.option("--until", help="Measure only what was received before this moment (ISO date or time, UTC).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to this file.")
@click.option("--report", type=click.Path(path_type=Path), help="Write an HTML report with plots to this file.")
@click.option(
    "--truth", type=click.Path(path_type=Path), help="A simulated world's folder: compare with what is really best."
)
def evaluate(
    home: Path,
    overrides: tuple[str, ...],
    until: str | None,
    json_file: Path | None,
    report: Path | None,
    truth: Path | None,
) -> None:
    """Measure the active model on what happened after its training window, stage by stage."""
    need_training()
    from upnext.evaluation.report import write_report
    from upnext.evaluation.results import to_json
    from upnext.evaluation.run import evaluate as run
    from upnext.evaluation.table import show

    opened = Home.open(home, overrides)
    can_be_written(json_file)
    can_be_written(report)
    results = run(opened, None if until is None else moment(until), truth, bars())
    show(results, console())
    if json_file is not None:
        json_file.write_text(to_json(results), encoding="utf-8")
    written = report or opened.directory / "var" / "report.html"
    write_report(results, written)
    console().print(f"Report: {written}", style="dim")


@cli.command()
@HOME
@SET
@click.option("--host", help="Overrides serving.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Overrides serving.port; 0 takes any free port.")
@click.option("--workers", type=click.IntRange(1, 64), help="Overrides serving.workers.")
@RAY
@click.option("--replicas", type=Span(), help="With --ray: how many servers; of a range as many as the load wants.")
@click.option("--shards", type=click.IntRange(1, 1024), help="With --ray: spread item vectors over so many processes.")
def serve(
    home: Path,
    overrides: tuple[str, ...],
    host: str | None,
    port: int | None,
    workers: int | None,
    cluster: str | None,
    replicas: tuple[int, int] | None,
    shards: int | None,
) -> None:
    """Answer over HTTP, until interrupted."""
    if cluster is None and (replicas or shards):
        raise ConfigError("--replicas and --shards are of --ray: name a cluster, or `--ray local`")
    if cluster is not None and workers is not None:
        raise ConfigError("--workers are processes of one machine; with --ray say --replicas")
    # One thread a request, as many requests at once as cores: FAISS reads this when it is loaded, below.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if workers is not None:
        overrides = (*overrides, f"serving.workers={workers}")
    opened = Home.open(home, overrides)
    if cluster is not None:
        from upnext.distributed.cluster import need_ray

        need_ray(cluster)
        from upnext.distributed.serving import Wanted, serve_on_ray

        least, most = replicas or (1, 1)
        wanted = Wanted(least=least, most=most, shards=shards or 0)
        serve_on_ray(opened, overrides, cluster, wanted, host, port, ready)
        return
    from upnext.serving.app import run_server, run_worker

    if (handed_down := os.environ.get("UPNEXT_WORKER")) is not None:  # this process is one of several
        run_worker(opened, *(int(number) for number in handed_down.split(",")))
        return
    settings = (f"--set={override}" for override in overrides)
    run_server(opened, host, port, ready, [sys.executable, "-m", "upnext", "serve", f"--home={home}", *settings])


@cli.command()
@HOME
@SET
@click.argument("user_id", required=False)
@click.option("-n", "--n", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@click.option("--surface", default="", help="Where it is shown, as events name it.")
@click.option("--explore", type=click.FloatRange(0, 1), help="Share of positions drawn from what few have seen.")
@click.option("--json", "as_json", is_flag=True, help="One user: print the whole answer.")
@click.option("--users", help="Many users: all, or a file (.csv or .parquet with user_id; else one id a line).")
@click.option("--out", type=click.Path(path_type=Path), help="Many users: the Parquet file to write.")
@click.option("--processes", type=click.IntRange(1, 256), help="Many users: how many work; one a core by default.")
@click.option(
    "--unknown",
    type=click.Choice(["refuse", "skip", "answer"]),
    default="refuse",
    show_default=True,
    help="Many users: what to do with ids that the home does not know.",
)
@click.option("--restart", is_flag=True, help="Many users: throw away what a stopped run left.")
@RAY
def recommend(home: Path, overrides: tuple[str, ...], user_id: str | None, as_json: bool, **wanted: Any) -> None:
    """What should USER_ID see next? Or, with --users and --out, everybody. Nothing is logged.

    A run for many that was stopped goes on where it was when the same command is given again.
    """
    n, surface, explore = wanted["n"], wanted["surface"], wanted["explore"]
    if (user_id is None) == (wanted["users"] is None):
        raise ConfigError("recommend for whom? Name one user id, or --users all (or a file) with --out")
    if user_id is not None and wanted["cluster"] is not None:
        raise ConfigError("--ray is for many users: name them with --users and --out")
    if user_id is None:
        recommend_many(Home.open(home, overrides), overrides, wanted)
        return
    from upnext.serving.engine import Engine
    from upnext.terminal import answer_table

    with Engine(Home.open(home, overrides)) as engine:
        answer = engine.recommend(user_id=user_id, n=n, surface=surface, explore=explore, log_impressions=False)
    if as_json:
        console().print_json(data=answer)
    else:
        console().print(answer_table(answer))


def recommend_many(opened: Home, overrides: tuple[str, ...], wanted: dict[str, Any]) -> None:
    from upnext.batch.run import Wanted, recommend_all
    from upnext.terminal import batch_lines

    if wanted["out"] is None:
        raise ConfigError("--users needs --out, the Parquet file to write")
    asked = Wanted(
        **{name: wanted[name] for name in ("users", "n", "surface", "unknown")}, explore=wanted["explore"] or 0
    )
    out, processes, restart = wanted["out"], wanted["processes"], wanted["restart"]
    try:
        if wanted["cluster"] is None:
            done = recommend_all(opened, asked, out, overrides, processes, restart, bars())
        else:
            from upnext.distributed.cluster import cluster, need_ray

            need_ray(wanted["cluster"])
            from upnext.distributed.batch import on_ray

            with cluster(wanted["cluster"], cpus=processes):
                work = on_ray(opened, out, overrides, processes)
                done = recommend_all(opened, asked, out, overrides, processes, restart, bars(), work)
    except KeyboardInterrupt:
        console().print("Stopped. What was done is kept: the same command goes on from there.")
        raise
    console().print(batch_lines(done))


@cli.command()
@HOME
@SET
@click.argument("user_id")
@click.argument("item_id")
def explain(home: Path, overrides: tuple[str, ...], user_id: str, item_id: str) -> None:
    """Why is ITEM_ID shown, or not shown, to USER_ID? Stage by stage."""
    from upnext.serving.engine import Engine

    with Engine(Home.open(home, overrides)) as engine:
        console().print_json(data=engine.explain(user_id=user_id, item_id=item_id))


def ready(url: str) -> None:
    console().print(f"Serving on {url} (the console; all endpoints: /docs)")


for verb in (worlds.demo, worlds.simulate, worlds.bench, worlds.plan, migrate):
    cli.add_command(verb)


def main() -> None:
    """The entry point: an UpnextError, or a file that cannot be read or written, is a sentence."""
    compiler = logging.getLogger("upnext.compiled")  # says so when it keeps a user waiting
    compiler.addHandler(logging.StreamHandler())
    compiler.setLevel(logging.INFO)
    try:
        cli(standalone_mode=False)
    except UpnextError as error:
        click.echo(f"upnext: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"upnext: {error.filename or 'input or output'}: {error.strerror or error}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
