"""The rules that keep the package readable: who may import whom, what is never used, how long a file may be."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import upnext
import upnext.serving

PACKAGE = Path(upnext.__file__).parent
TESTS = Path(__file__).parent
LONGEST = 400

STAGES = ("candidates", "features", "ranking", "reranking")
DATA = {"types", "ids", "errors"}
NEUTRAL = DATA | {"stages", "config", "content", "compiled", "rows", "packed", "vectors"}

# What each part below build.py may import, besides itself. Everything else may import all that is below it.
ALLOWED = {
    **dict.fromkeys(DATA, DATA),
    "stages": DATA,
    "config": DATA,
    "content": DATA | {"compiled"},
    "rows": DATA,
    "packed": DATA | {"compiled", "rows"},
    "vectors": DATA | {"compiled", "rows"},
    "compiled": set(),
    **dict.fromkeys(STAGES, NEUTRAL),
    "pace": DATA,
    "pipeline": NEUTRAL | set(STAGES) | {"pace"},
    "live": NEUTRAL | {"features", "storage.log"},
    "build": NEUTRAL | set(STAGES) | {"pipeline", "live"},
}

# Third-party packages that only some parts may import.
CONFINED = {
    "torch": ("training/", "distributed/member.py"),
    "implicit": ("training/",),
    "onnx": (),  # torch needs both to export; nothing else does
    "onnxscript": (),
    "matplotlib": ("evaluation/plots.py",),
    "fastapi": ("serving/",),
    "starlette": ("serving/",),
    "uvicorn": ("serving/",),
    "prometheus_client": ("serving/",),
    "sqlite3": ("storage/",),
    "adbc_driver_manager": ("storage/postgres_client.py",),
    "adbc_driver_postgresql": ("storage/postgres_client.py",),
    "fsspec": ("storage/bucket.py",),  # and what it takes for a service: s3fs, gcsfs
    "ray": ("distributed/",),
    "faiss": ("candidates/",),
    "numba": ("compiled.py",),
    "onnxruntime": ("candidates/", "ranking/", "training/"),
    "scipy": ("training/",),
}
HEAVY = (
    "torch",
    "implicit",
    "onnx",
    "onnxscript",
    "matplotlib",
    "scipy.sparse",
    "adbc_driver_postgresql",
    "fsspec",
    "s3fs",
    "ray",
)

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(module: ast.AST) -> Iterator[str]:
    """Every module that is imported, at the top or inside a function; ``from a import b`` gives a and a.b."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def ours(path: Path) -> set[str]:
    """Modules and folders of the package that a file imports, without the leading ``upnext.``."""
    found = {name.removeprefix("upnext.") for name in imports(tree(path)) if name.startswith("upnext.")}
    return {name for name in found if (PACKAGE / name.replace(".", "/")).is_dir() or _is_module(name)}


def _is_module(name: str) -> bool:
    return (PACKAGE / f"{name.replace('.', '/')}.py").is_file()


def part(path: Path) -> str:
    """The folder, or the module at the top of the package, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def within(name: str, allowed: set[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


@pytest.mark.parametrize("path", [path for path in FILES if part(path) in ALLOWED], ids=str)
def test_imports_go_down_the_funnel(path: Path) -> None:
    mine = part(path)
    wrong = {name for name in ours(path) if not within(name, ALLOWED[mine] | {mine})}
    assert not wrong, f"{path} imports {sorted(wrong)}; {mine} may import {sorted(ALLOWED[mine])}"


def test_every_part_of_the_funnel_was_checked() -> None:
    assert ALLOWED.keys() <= {part(path) for path in FILES}
    assert {"candidates.merge", "stages", "types"} <= ours(PACKAGE / "pipeline.py")
    assert {"storage.log", "features.state"} <= ours(PACKAGE / "live.py")


def test_only_build_makes_a_funnel_out_of_stages() -> None:
    """Sources, filters and rerankers are put together in one place; training and evaluation read their formats."""
    stages = ("candidates.", "reranking.", "ranking.")
    users = {
        f"{part(path)} -> {name}"
        for path in FILES
        for name in ours(path)
        if name.startswith(stages) and part(path) not in (*STAGES, "build", "pipeline", "training", "evaluation")
    }
    assert users <= {
        "serving -> candidates.because_you_watched",  # which item of the history a proposal rests on
        "xray -> reranking.order",  # an item's place before reranking
        "distributed -> ranking.multi_task",  # what a ranker's shape is, and its histories, as a job's files hold them
        "distributed -> ranking.tokens",
        "distributed -> candidates.spread",  # item vectors of several processes are put together there
        "bench -> candidates.index",  # of how many cells an index of so many items is made
    }


@pytest.mark.parametrize(
    ("mine", "never"),
    [
        ("serving", {"batch", "bench", "training", "evaluation", "simulation", "testing", "cli", "demo"}),
        ("training", {"batch", "bench", "serving", "simulation", "cli", "demo"}),
        ("evaluation", {"batch", "bench", "serving", "cli", "demo"}),
        ("batch", {"bench", "evaluation", "simulation", "testing", "cli", "demo"}),
        ("bench", {"batch", "evaluation", "training", "testing", "cli", "demo"}),
        ("storage", {"live", "build", "pipeline", "serving", "training", "events", "home", "bench", *STAGES}),
        ("simulation", {"live", "build", "pipeline", "serving", "events", "home", "bench", *STAGES}),
        ("events", {"live", "build", "pipeline", "serving", "evaluation", "home", "bench", *STAGES}),
        ("home", {"live", "build", "pipeline", "serving", "training", "evaluation", "bench"}),
    ],
)
def test_the_parts_around_the_funnel_stay_apart(mine: str, never: set[str]) -> None:
    wrong = {
        f"{path.relative_to(PACKAGE)} -> {name}"
        for path in FILES
        if part(path) == mine
        for name in ours(path)
        if within(name, never)
    }
    assert not wrong


@pytest.mark.parametrize(("package", "places"), CONFINED.items())
def test_a_third_party_package_stays_where_it_belongs(package: str, places: tuple[str, ...]) -> None:
    users = {name for name, path in zip(NAMES, FILES, strict=True) if package in roots(path)}
    assert bool(users) == bool(places), f"{package}: the rule has no object"
    assert {name for name in users if not name.startswith(places)} == set()


@cache
def roots(path: Path) -> set[str]:
    """What a file imports from outside, but for the question whether training is installed."""
    kept = [node for node in tree(path).body if getattr(node, "name", None) != "need_training"]
    return {name.partition(".")[0] for name in imports(ast.Module(kept, []))}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_that_runs_what_it_reads(path: Path) -> None:
    module = tree(path)
    assert not roots(path) & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "torch.load", "torch.save", "__import__"), called
            flags = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert flags.get("shell") != "True", called
            if called in ("np.load", "np.save", "numpy.load", "numpy.save"):
                assert flags.get("allow_pickle") == "False", f"{path}:{node.lineno}: {called}"
            assert flags.get("allow_pickle", "False") == "False", f"{path}:{node.lineno}: {called}"


def test_serving_never_loads_what_only_training_needs() -> None:
    serving = [f"upnext.serving.{entry.name}" for entry in pkgutil.iter_modules(upnext.serving.__path__)]
    assert {"upnext.serving.app", "upnext.serving.engine"} <= set(serving)
    program = "\n".join(
        [
            "import importlib, sys",
            f"for name in {[*serving, 'upnext.cli', 'upnext.build', 'upnext.home', 'upnext.terminal']!r}:",
            "    importlib.import_module(name)",
            f"print(sorted(name for name in {HEAVY!r} if name in sys.modules))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_command_line_starts_without_the_heavy_parts() -> None:
    """``upnext --help`` is instant: numpy, polars and the server are imported by the verbs that need them."""
    program = (
        "import sys, upnext.cli; print([n for n in ('torch', 'faiss', 'onnxruntime', 'fastapi') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_files_stay_short_enough_to_read() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in zip(NAMES, FILES, strict=True)}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}
    assert sorted(lines.values())[len(lines) // 2] <= 150


def test_every_file_says_what_it_is() -> None:
    for name, path in zip(NAMES, FILES, strict=True):
        words = ast.get_docstring(tree(path))
        assert words or path.name == "__init__.py", f"{name} has no docstring"
        lines = [line for line in (words or "").splitlines() if line]
        assert len(lines) <= 7, f"{name}: the docstring is an essay; docs/ is the place for those"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_every_test_file_can_fail(path: Path) -> None:
    module = tree_of_test(path)
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(module))
    called = [ast.unparse(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)]
    checks = any(name.startswith(("np.testing.assert", "pytest.raises")) for name in called)
    contract = any(name.startswith("upnext.testing.") for name in imports(module))
    assert asserts or checks or contract
    assert "skip" not in called


def tree_of_test(path: Path) -> ast.Module:
    module = tree(path)
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.level:
            node.level, node.module = 0, f"tests.{node.module}"
    return module
