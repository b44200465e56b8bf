"""Files of one's own: CSV, JSON lines, Parquet, nasty ones among them; mappings; the names of other systems."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.errors import ConfigError, DataError
from upnext.events.batches import Batch
from upnext.events.mapping import load_mapping
from upnext.events.open import open_source
from upnext.events.readers import delimited
from upnext.events.readers.delimited import read_csv
from upnext.events.schema import LINE
from upnext.events.validate import validate

NOON = 1_650_000_000_000
HEADER = "event_type,user_id,item_id,timestamp"
ROW = f"click,u,i,{NOON}"


def read(path: Path, mapping: str | None = None) -> list[Batch]:
    file = None
    if mapping is not None:
        file = path.parent / "mapping.toml"
        file.write_text(mapping)
    return list(open_source([str(path)], file))


def good(path: Path, mapping: str | None = None) -> dict[str, pl.DataFrame]:
    """The valid rows of each kind."""
    found: dict[str, list[pl.DataFrame]] = {}
    for batch in read(path, mapping):
        checked = validate(batch.kind, batch.frame, batch.file, ["click", "watch", "impression"])
        assert checked.rejects.is_empty(), checked.rejects.rows()
        found.setdefault(batch.kind, []).append(checked.good)
    return {kind: pl.concat(frames, how="diagonal") for kind, frames in found.items()}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- CSV


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}",
        f"\ufeff{HEADER}\r\n{ROW}\r\n",
        f"{HEADER}\n\n{ROW}\n\n",
        f"{HEADER}\n{ROW}\n".replace(",", ";"),
        f"{HEADER}\n{ROW}\n".replace(",", "\t"),
        f'{HEADER}\n"click","u","i",{NOON}\n',
        f'\ufeff"event_type",user_id,item_id,timestamp\r\nclick,u,i,{NOON}\r\n',
    ],
)
def test_csv_in_all_its_forms(tmp_path: Path, content: str) -> None:
    rows = good(write(tmp_path / "events.csv", content))["events"]
    assert rows.rows(named=True) == [{"event_type": "click", "user_id": "u", "item_id": "i", "happened_at": NOON}]


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    lines = [HEADER.encode(), ROW.encode(), b"click,u", b"", b"click,u,i,1,more", b"click,\xff,i,1", ROW.encode()]
    (batch,) = read(write(tmp_path / "events.csv", b"\n".join(lines) + b"\n"))
    assert batch.frame[LINE].to_list() == [2, 7]
    assert sorted(batch.rejects.select("line", "reason").rows()) == [
        (3, "has 2 fields, the first line names 4"),
        (5, "has 5 fields, the first line names 4"),
        (6, "is not UTF-8"),
    ]
    assert batch.rejects.filter(line=6)["value"].to_list() == [r"click,\xff,i,1"]


def test_every_bad_line_is_named_among_quotes(tmp_path: Path) -> None:
    content = b'item_id,title\na,"two\nlines, ""quoted"""\nb\nc,"x"y\nd,\xff\ne,fine\nf,"never closed\ng,swallowed\n'
    (batch,) = read(write(tmp_path / "items.csv", content))
    assert batch.frame.select("item_id", "title", LINE).rows() == [("a", 'two\nlines, "quoted"', 2), ("e", "fine", 7)]
    found = batch.rejects.select("line", "reason").rows()
    assert [line for line, _ in found] == [4, 5, 6, 8]
    assert "1 fields" in found[0][1]
    assert found[2][1] == "is not UTF-8"
    assert "lines 8 to 9 are left out" in found[3][1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        (b"user_id,\xff\n", "first line is not UTF-8"),
        (b"user_id,item_id,user_id\n", "'user_id'"),
        (b"user_id,,item_id\n", "''"),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"events\.csv.*{said}"):
        read(write(tmp_path / "events.csv", content))


def test_only_a_header_is_no_error(tmp_path: Path) -> None:
    assert sum(len(batch.frame) for batch in read(write(tmp_path / "events.csv", HEADER + "\n"))) == 0


def test_missing_columns_are_named_with_the_nearest_and_the_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", "event_type,user_id,itm_idd,timestamp\nclick,u,i,1\n")
    with pytest.raises(
        DataError, match=r"events\.csv: no column for 'item_id'; found are .*itm_idd.*did you mean 'itm_idd'.*mapping"
    ):
        read(path)
    path = write(tmp_path / "events.csv", "user_id,item_id,timestamp\nu,i,1\n")
    with pytest.raises(DataError, match=r'\[events\.constants\] event_type = "click"'):
        read(path)


def test_lines_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 50)
    rows = [f"click,u,i{n},{NOON}" if n % 7 else "broken" for n in range(100)]
    batches = read(write(tmp_path / "events.csv", "\n".join([HEADER, *rows])))
    assert len(batches) > 10
    lines = [line for batch in batches for line in batch.frame[LINE]]
    assert lines == [n + 2 for n in range(100) if n % 7]
    assert [line for batch in batches for line in batch.rejects["line"]] == [n + 2 for n in range(0, 100, 7)]
    assert sum(batch.units for batch in batches) == (tmp_path / "events.csv").stat().st_size


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@given(rows=st.lists(st.tuples(cells, cells), max_size=12))
@settings(max_examples=60)
def test_what_a_csv_writer_wrote_is_read_back(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    frame = pl.DataFrame(
        {"a": [a for a, _ in rows], "b": [b for _, b in rows]}, schema={"a": pl.String, "b": pl.String}
    )
    frame.write_csv(path, quote_style="always")
    found = pl.concat([part for part, _, _ in read_csv(path, "x.csv")]) if rows else frame
    assert found.select("a", "b").equals(frame)


# -- JSON lines


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"item_id": "a", "title": "A", "categories": ["x"], "duration": 5, "published_at": "2022-04-15T05:20:00Z"},
        {"item_id": 7, "duration": 2.5, "published_at": NOON, "year": 1999, "deep": {"a": [1]}},
        {"item_id": "c", "vector": [1, 2.5], "available": False},
    ]
    rows = good(write(tmp_path / "items.jsonl", "\ufeff" + "\n".join(map(json.dumps, lines))))["items"]
    assert rows["item_id"].to_list() == ["a", "7", "c"]
    assert rows["duration"].to_list() == [5.0, 2.5, None]
    assert rows["published_at"].to_list() == [NOON, NOON, None]
    assert rows["categories"].to_list() == [["x"], None, None]
    assert rows["vector"].to_list() == [None, None, [1.0, 2.5]]
    assert rows["available"].to_list() == [None, None, False]
    assert json.loads(rows["attributes"][1]) == {"year": 1999, "deep": {"a": [1]}}


def test_bad_json_lines_are_named(tmp_path: Path) -> None:
    row = json.dumps({"event_type": "click", "user_id": "u", "item_id": "i", "timestamp": NOON})
    content = "\n".join([row, "{", "[1]", '{"user_id": "\\ud800"}', "", row])
    (batch,) = read(write(tmp_path / "events.jsonl", content))
    assert batch.frame[LINE].to_list() == [1, 6]
    assert batch.rejects["line"].to_list() == [2, 3, 4]


def test_huge_numbers_do_not_stop_an_import(tmp_path: Path) -> None:
    row = {"event_type": "click", "user_id": 2**80, "item_id": "i", "timestamp": NOON, "value": 10**400}
    (batch,) = read(write(tmp_path / "events.jsonl", json.dumps(row)))
    checked = validate("events", batch.frame, batch.file, ["click"])
    assert checked.rejects.select("column").rows() == [("value",)]


@pytest.mark.parametrize(("content", "said"), [("[\n{}]", "jq"), ("", "no line"), ("nonsense\n", "no line")])
def test_files_that_are_no_json_lines(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"events\.jsonl.*{said}"):
        read(write(tmp_path / "events.jsonl", content))


# -- Parquet


def test_parquet_of_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upnext.events.readers.files.BATCH_ROWS", 100)
    frame = pl.DataFrame({"n": range(1000)}).select(
        pl.lit("click").alias("event_type"),
        pl.col("n").alias("user_id"),
        pl.col("n").alias("item_id"),
        pl.from_epoch(pl.col("n") + NOON // 1000).alias("timestamp"),
    )
    frame.write_parquet(tmp_path / "events.parquet")
    rows = good(tmp_path)["events"]
    assert rows["user_id"].to_list() == [str(n) for n in range(1000)]
    assert rows["happened_at"].to_list() == [NOON + 1000 * n for n in range(1000)]
    assert [line for batch in read(tmp_path) for line in batch.frame[LINE]] == list(range(1, 1001))


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"events\.parquet.*Parquet"):
        read(write(tmp_path / "events.parquet", b"PAR1 no PAR1"))


# -- folders and kinds


def test_a_folder_gives_items_then_users_then_events(tmp_path: Path) -> None:
    write(tmp_path / "events-2.csv", f"{HEADER}\nclick,u,b,{NOON}\n")
    write(tmp_path / "events-1.csv", f"{HEADER}\nclick,u,a,{NOON}\n")
    write(tmp_path / "users.jsonl", '{"user_id": "u", "age": 3}')
    pl.DataFrame({"item_id": ["a"], "year": [1999]}).write_parquet(tmp_path / "items.parquet")
    write(tmp_path / "notes.txt", "x")
    reader = open_source([str(tmp_path)])
    assert [(batch.kind, batch.file) for batch in reader] == [
        ("items", "items.parquet"),
        ("users", "users.jsonl"),
        ("events", "events-1.csv"),
        ("events", "events-2.csv"),
    ]
    assert reader.notes == ["left out the files notes.txt"]
    rows = good(tmp_path)
    assert rows["items"]["attributes"].to_list() == ['{"year": 1999}']
    assert rows["users"]["attributes"].to_list() == ['{"age": 3}']


@pytest.mark.parametrize(("header", "kind"), [(HEADER, "events"), ("item_id,title", "items"), ("user_id,age", "users")])
def test_one_file_is_known_by_its_columns(tmp_path: Path, header: str, kind: str) -> None:
    row = ",".join(["1"] * (header.count(",") + 1))
    assert [batch.kind for batch in read(write(tmp_path / "data.csv", f"{header}\n{row}\n"))] == [kind]


def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.csv: cannot tell.*found the columns a, b.*mapping"):
        read(write(tmp_path / "data.csv", "a,b\n1,2\n"))
    with pytest.raises(DataError, match="unknown ending; known are"):
        read(write(tmp_path / "data.xlsx", "x"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found nothing"):
        read(tmp_path / "empty")


# -- names of other systems


def test_gorse(tmp_path: Path) -> None:
    write(
        tmp_path / "feedback.csv",
        "feedback_type,user_id,item_id,value,time_stamp\nclick,u,a,0,2022-04-15 05:20:00+00:00\n",
    )
    write(
        tmp_path / "items.jsonl",
        json.dumps(
            {
                "ItemId": "a",
                "IsHidden": True,
                "Categories": ["x"],
                "Labels": {"k": 1},
                "Timestamp": "2022-04-15T05:20:00Z",
                "Comment": "A",
            }
        ),
    )
    write(tmp_path / "users.jsonl", json.dumps({"UserId": "u", "Labels": ["l"]}))
    reader = open_source([str(tmp_path)])
    batches = {batch.kind: batch for batch in reader}
    item = validate("items", batches["items"].frame, "f", []).good.row(0, named=True)
    assert (item["item_id"], item["available"], item["categories"], item["title"]) == ("a", False, ["x"], "A")
    assert item["published_at"] == NOON
    assert json.loads(item["attributes"]) == {"Labels": {"k": 1}}
    event = validate("events", batches["events"].frame, "f", ["click"]).good.row(0, named=True)
    assert (event["event_type"], event["user_id"], event["item_id"], event["happened_at"]) == ("click", "u", "a", NOON)
    user = validate("users", batches["users"].frame, "f", []).good.row(0, named=True)
    assert json.loads(user["attributes"]) == {"Labels": ["l"]}


def test_gorse_labels_may_be_categories_or_an_object(tmp_path: Path) -> None:
    rows = good(write(tmp_path / "items.csv", "item_id,labels\na,x|y\n"))["items"]
    assert rows["categories"].to_list() == [["x", "y"]]
    rows = good(write(tmp_path / "items.jsonl", '{"ItemId": "a", "Labels": {"k": ["x"]}}'))["items"]
    assert rows.select("attributes").rows() == [('{"Labels": {"k": ["x"]}}',)]


def test_amazon_personalize(tmp_path: Path) -> None:
    write(
        tmp_path / "interactions.csv",
        f"USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE,IMPRESSION,DEVICE\nu,b,{NOON // 1000},click,3.5,a|b,tv\n",
    )
    write(tmp_path / "items.csv", f"ITEM_ID,CREATION_TIMESTAMP,GENRES,PRICE\na,{NOON // 1000},x|y,9\n")
    write(tmp_path / "users.csv", "USER_ID,AGE\nu,30\n")
    rows = good(tmp_path)
    assert rows["events"].select("event_type", "item_id", "position", "value", "happened_at").rows() == [
        ("impression", "a", 0, None, NOON),
        ("impression", "b", 1, None, NOON),
        ("click", "b", None, 3.5, NOON),
    ]
    assert rows["items"].select("published_at", "categories", "attributes").rows() == [
        (NOON, ["x", "y"], '{"PRICE": "9"}')
    ]
    reader = open_source([str(tmp_path)])
    list(reader)
    assert reader.notes == ["interactions.csv: left out the columns DEVICE"]


def test_metarank(tmp_path: Path) -> None:
    lines = [
        {
            "event": "item",
            "id": "1",
            "timestamp": str(NOON),
            "item": "a",
            "fields": [
                {"name": "title", "value": "A"},
                {"name": "genres", "value": ["x"]},
                {"name": "pop", "value": 2},
            ],
        },
        {"event": "user", "id": "2", "timestamp": str(NOON), "user": "u", "fields": [{"name": "age", "value": 3}]},
        {
            "event": "ranking",
            "id": "r1",
            "timestamp": str(NOON),
            "user": "u",
            "session": "s",
            "fields": [],
            "items": [{"id": "a"}, {"id": "b", "fields": []}],
        },
        {
            "event": "interaction",
            "id": "c1",
            "ranking": "r1",
            "timestamp": str(NOON + 1),
            "user": "u",
            "session": "s",
            "type": "click",
            "item": "b",
            "fields": [],
        },
    ]
    rows = good(write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, lines))))
    assert rows["items"].select("item_id", "title", "categories", "attributes").rows() == [
        ("a", "A", ["x"], '{"pop": 2}')
    ]
    assert rows["users"].select("user_id", "attributes").rows() == [("u", '{"age": 3}')]
    columns = ("event_type", "item_id", "recommendation_id", "position", "session_id", "happened_at")
    assert rows["events"].select(columns).rows() == [
        ("impression", "a", "r1", 0, "s", NOON),
        ("impression", "b", "r1", 1, "s", NOON),
        ("click", "b", "r1", None, "s", NOON + 1),
    ]


# -- mapping files

MAPPING = """
[events]
file = "plays.csv"
columns = { item_id = "song", happened_at = "at" }
constants = { event_type = "watch", surface = "radio" }
context = ["device"]
"""


def test_a_mapping(tmp_path: Path) -> None:
    write(tmp_path / "plays.csv", f"listener_user,user,song,at,device,extra\nx,u,s1,{NOON},tv,1\n")
    for path in (tmp_path, tmp_path / "plays.csv"):
        rows = good(path, MAPPING)["events"] if path.is_dir() else None
        if rows is None:
            (tmp_path / "mapping.toml").write_text(MAPPING)
            (batch,) = open_source([str(path)], tmp_path / "mapping.toml")
            rows = validate("events", batch.frame, "f", ["watch"]).good
        assert rows.row(0, named=True) == {
            "event_type": "watch",
            "user_id": "u",
            "item_id": "s1",
            "happened_at": NOON,
            "surface": "radio",
            "context": '{"device": "tv"}',
        }


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("[event]\n", "'event' is no section; did you mean 'events'"),
        ("[events]\nfil = 'x'\n", "unknown key 'fil'; did you mean 'file'"),
        ("[events]\nevent_type = 'x'\n", r"\[events.constants\]"),
        ("[events.columns]\nitem = 'x'\n", "'item' is no column of events; did you mean 'item"),
        ("[events.columns]\nitem_id = 3\n", "wrong type"),
        ("[events]\nfile = 3\n", "wrong type"),
        ("[users]\ncontext = []\n", "unknown key 'context'"),
        ("[events\n", "not valid TOML"),
    ],
)
def test_bad_mappings_are_explained(tmp_path: Path, mapping: str, said: str) -> None:
    path = write(tmp_path / "mapping.toml", mapping)
    with pytest.raises(ConfigError, match=rf"mapping\.toml.*{said}"):
        load_mapping(path)


def test_a_mapping_that_does_not_fit_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", f"{HEADER}\n{ROW}\n")
    with pytest.raises(DataError, match="names the column 'songs', which is not there; known are"):
        read(path, "[events.columns]\nitem_id = 'songs'\n")
    with pytest.raises(DataError, match=r"gone\.csv: there is no such file"):
        read(tmp_path, "[events]\nfile = 'gone.csv'\n")


# -- what the command was given


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "got nothing; expected PATH"),
        (["kuairand"], "expected PATH"),
        (["kuairnd", "x"], "did you mean 'kuairand'"),
        (["netflix", "x"], "known are kuairand, movielens, sequences"),
        (["a", "b", "c"], "got a b c"),
    ],
)
def test_wrong_calls_are_explained(args: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_source(args)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "events.csv", HEADER)
    with pytest.raises(DataError, match=r"did you mean .*/events\.csv"):
        open_source([str(tmp_path / "evnts.csv")])
    with pytest.raises(DataError, match="no such file"):
        open_source(["kuairand", str(tmp_path / "nowhere" / "at" / "all")])
    with pytest.raises(ConfigError, match="mapping is for files of your own"):
        open_source(["movielens", str(tmp_path)], tmp_path / "mapping.toml")
