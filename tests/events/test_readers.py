"""The readers of named data sets, on small files made by hand in their formats."""

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from upnext.errors import DataError
from upnext.events.batches import Batch, Reader
from upnext.events.open import open_source
from upnext.events.readers.kuairand_history import BEIJING_MS
from upnext.events.readers.sequences import DAY_MS, LAST_EVENT_MS
from upnext.events.schema import Kind
from upnext.events.validate import validate

TYPES = ["impression", "seen", "click", "watch", "like", "share", "long_view", "follow", "comment", "hide", "rating"]
LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
NOON = 1_650_900_000_000


def good(reader: Reader) -> dict[Kind, pl.DataFrame]:
    found: dict[Kind, list[pl.DataFrame]] = {}
    for batch in reader:
        checked = validate(batch.kind, batch.frame, batch.file, TYPES)
        assert checked.rejects.is_empty(), checked.rejects.rows()
        assert batch.rejects.is_empty(), batch.rejects.rows()
        found.setdefault(batch.kind, []).append(checked.good)
    return {kind: pl.concat(frames, how="diagonal") for kind, frames in found.items()}


def rejects(batches: list[Batch]) -> list[tuple[str, int, str]]:
    return [row for batch in batches for row in batch.rejects.select("file", "line", "reason").rows()]


# -- MovieLens


@pytest.fixture
def dat(tmp_path: Path) -> Path:
    (tmp_path / "ratings.dat").write_text("1::10::5::978300760\n1::20::3.5::978300761\n2::10::1::978300762\n")
    (tmp_path / "movies.dat").write_bytes(
        "10::Amélie (2001)::Comedy|Romance\n20::Léon::Crime\n30::M (1931)::\n".encode("latin-1")
    )
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    return tmp_path


def test_movielens_dat(dat: Path) -> None:
    reader = open_source(["movielens", str(dat)])
    rows = good(reader)
    assert list(rows) == ["items", "users", "events"]
    assert rows["items"].select("item_id", "title", "categories", "attributes").rows() == [
        ("10", "Amélie", ["Comedy", "Romance"], '{"year": 2001}'),
        ("20", "Léon", ["Crime"], None),
        ("30", "M", None, '{"year": 1931}'),
    ]
    assert "published_at" not in rows["items"].columns
    assert json.loads(rows["users"]["attributes"][0]) == {"gender": "F", "age": "1", "occupation": "10"}
    assert rows["events"].select("event_type", "user_id", "item_id", "value", "happened_at").rows()[1] == (
        ("rating", "1", "20", 3.5, 978_300_761_000)
    )
    assert reader.notes == ["movies.dat: is not UTF-8, read as latin-1"]


def test_movielens_bad_lines(dat: Path) -> None:
    (dat / "ratings.dat").write_bytes(b"1::10::5::978300760\n1::10::5\n\xff::1::1::1\n1::20::x::978300760\n")
    batches = [batch for batch in open_source(["movielens", str(dat)]) if batch.kind == "events"]
    assert rejects(batches) == [
        ("ratings.dat", 3, "is not UTF-8"),
        ("ratings.dat", 2, "has 3 fields between '::', expected 4 (user_id, item_id, value, happened_at)"),
    ]
    checked = validate("events", batches[0].frame, "ratings.dat", TYPES)
    assert checked.rejects.select("line", "column").rows() == [(4, "value")]


def test_movielens_csv(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,4.0,978300760\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n11,X,(no genres listed)\n'
    )
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n")
    reader = open_source(["movielens", str(tmp_path)])
    rows = good(reader)
    assert rows["items"].select("title", "categories").rows() == [
        ("American President, The", ["Comedy", "Drama"]),
        ("X", None),
    ]
    assert rows["events"]["value"].to_list() == [4.0]
    assert reader.notes == ["left out the files tags.csv"]


def test_movielens_100k(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t10\t4\t978300760\n2\t11\t1\n")
    flags = dict.fromkeys(range(19), "0") | {5: "1", 14: "1"}
    (tmp_path / "u.item").write_bytes(
        f"10|Amélie (2001)|25-Apr-2001||http://a|{'|'.join(flags.values())}\n"
        f"11|Léon (1994)|01-Jan-1994||http://b|{'|'.join('1' + '0' * 18)}\n".encode("latin-1")
    )
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n")
    (tmp_path / "u1.base").touch()
    reader = open_source(["movielens", str(tmp_path)])
    batches = list(reader)
    rows = {batch.kind: validate(batch.kind, batch.frame, batch.file, TYPES).good for batch in batches}
    assert rows["items"].select("item_id", "title", "categories", "attributes").rows() == [
        ("10", "Amélie", ["Comedy", "Romance"], '{"year": 2001}'),
        ("11", "Léon", None, '{"year": 1994}'),
    ]
    assert json.loads(rows["users"]["attributes"][0]) == {"gender": "M", "age": "24", "occupation": "technician"}
    assert rows["events"].select("user_id", "item_id", "value", "happened_at").rows() == [
        ("1", "10", 4.0, 978_300_760_000)
    ]
    assert rejects(batches) == [
        ("u.data", 2, "has 3 fields between '\\t', expected 4 (user_id, item_id, value, happened_at)")
    ]
    assert reader.notes == ["left out the files u1.base", "u.item: is not UTF-8, read as latin-1"]


def test_movietweetings_users_have_no_attributes(dat: Path) -> None:
    (dat / "users.dat").write_text("1::397291295\n")
    reader = open_source(["movielens", str(dat)])
    assert "users" not in good(reader)
    assert any("users.dat" in note for note in reader.notes)


def test_a_folder_that_is_no_movielens(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"no ratings\.dat, ratings\.csv or u\.data; found a\.txt"):
        open_source(["movielens", str(tmp_path)])
    (tmp_path / "ratings.csv").write_text("user,movie\n1,2\n")
    with pytest.raises(DataError, match="no column for 'user_id'; found are user, movie"):
        list(open_source(["movielens", str(tmp_path)]))


# -- sequences


def test_sequences(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("u1 a b a\n\nu2\tc\n")
    (tmp_path / "attributes.json").write_text('{"a": [1, 2], "c": []}')
    rows = good(open_source(["sequences", str(tmp_path)]))
    assert rows["items"].select("item_id", "categories").rows() == [("a", ["attr:1", "attr:2"]), ("c", [])]
    assert rows["events"].select("user_id", "item_id", "event_type", "happened_at").rows() == [
        ("u1", "a", "click", LAST_EVENT_MS - 2 * DAY_MS),
        ("u1", "b", "click", LAST_EVENT_MS - DAY_MS),
        ("u1", "a", "click", LAST_EVENT_MS),
        ("u2", "c", "click", LAST_EVENT_MS),
    ]


def test_a_split_at_new_year_holds_out_the_last_event_of_everybody(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(f"u{n} " + " ".join(map(str, range(n + 1))) for n in range(20)))
    events = good(open_source(["sequences", str(path)]))["events"]
    new_year = 1_577_836_800_000  # 2020-01-01T00:00Z
    late = events.filter(pl.col("happened_at") >= new_year)
    assert late.rows() == events.group_by("user_id", maintain_order=True).last().select(late.columns).rows()
    assert late.height == 20


def test_very_long_sequences_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("u " + " ".join(map(str, range(30_000))))
    (tmp_path / "test.txt").write_text("u 1")
    reader = open_source(["sequences", str(tmp_path)])
    times = good(reader)["events"]["happened_at"]
    assert (times.diff().drop_nulls() > 0).all()
    assert times.min() > 0  # type: ignore[operator]
    assert any("test.txt" in note for note in reader.notes)


def test_bad_sequences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither sequences\.txt nor train\.txt"):
        open_source(["sequences", str(tmp_path)])
    (tmp_path / "sequences.txt").write_bytes(b"lonely\nu a\n\xff b\n")
    batches = list(open_source(["sequences", str(tmp_path)]))
    assert rejects(batches) == [("sequences.txt", 3, "is not UTF-8"), ("sequences.txt", 1, "names no item")]
    (tmp_path / "attributes.json").write_text("[1]")
    with pytest.raises(DataError, match=r"attributes\.json.*object of lists"):
        list(open_source(["sequences", str(tmp_path)]))


# -- KuaiRand


def log_row(user: int, video: int, at: int, play: int = 0, duration: int = 0, tab: int = 1, **flags: int) -> str:
    names = ("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view")
    marks = ",".join(str(flags.get(name, 0)) for name in names)
    return f"{user},{video},20220425,0,{NOON + at},{marks},{play},{duration},0,0,0,0,{tab}"


@pytest.fixture
def kuairand(tmp_path: Path) -> Path:
    rows = [
        log_row(1, 5, 50, play=1500, duration=9000, is_click=1, is_like=1, long_view=1),
        log_row(2, 6, 10, tab=0),
        log_row(2, 6, 10, tab=0),
        log_row(2, 6, 10, play=5, is_hate=1, tab=0),
    ]
    (tmp_path / "log_standard_b.csv").write_text("\n".join([LOG, *rows]) + "\n")
    (tmp_path / "log_standard_a.csv").write_text(f"{LOG}\n{log_row(1, 7, 60, duration=4000, is_forward=1)}\n")
    (tmp_path / "log_random.csv").write_text(LOG)
    (tmp_path / "user_features.csv").write_text(
        "user_id,user_active_degree,follow_user_num,follow_user_num_range,register_days,onehot_feat4\n"
        '1,full_active,514,"(250,500]",7,1.0\n2,,0,0,9,\n'
    )
    (tmp_path / "video_features_basic.csv").write_text(
        "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,"
        "server_height,music_id,music_type,tag\n"
        '5,77,NORMAL,2022-04-10,Web,0.0,,720.0,1280.0,99,9.0,"20,43"\n6,78,AD,,Web,0.0,6000.0,1,1,98,,\n'
    )
    history = {
        "user_id": [1],
        "history_len": [9],
        "last_time_ms": [NOON - 100_000],
        "watch_seq": [[5, 6, 5]],
        "like_seq": [[5]],
        "long_watch_seq": [[8, 6]],
    }
    pl.DataFrame(history).write_parquet(tmp_path / "history_x.parquet")
    return tmp_path


def test_kuairand_items_and_users(kuairand: Path) -> None:
    rows = good(open_source(["kuairand", str(kuairand)]))
    assert list(rows) == ["items", "users", "events"]
    columns = ("item_id", "author", "categories", "duration", "published_at")
    assert rows["items"].select(columns).rows() == [
        ("5", "77", ["20", "43"], 9.0, 1_649_548_800_000),  # the log's duration; 2022-04-10
        ("6", "78", None, 6.0, None),
        ("7", None, None, 4.0, None),
    ]
    assert json.loads(rows["items"]["attributes"][0]) == {
        "video_type": "NORMAL",
        "upload_type": "Web",
        "music_type": "9",
        "music_id": "99",
    }
    assert [json.loads(text) for text in rows["users"]["attributes"]] == [
        {"user_active_degree": "full_active", "follow_user_num_range": "(250,500]", "onehot_feat4": "1"},
        {"follow_user_num_range": "0"},
    ]


def test_kuairand_history_lies_before_the_log(kuairand: Path) -> None:
    events = good(open_source(["kuairand", str(kuairand)]))["events"]
    last = NOON + BEIJING_MS - 100_000
    before = events.filter(pl.col("happened_at") <= last)
    assert before.select("event_type", "item_id", pl.col("happened_at") - last).rows() == [
        ("seen", "8", -3000),
        ("long_view", "8", -3000),
        ("seen", "5", -2000),
        ("like", "5", -2000),
        ("seen", "6", -1000),
        ("long_view", "6", -1000),
        ("seen", "5", 0),
    ]


def test_kuairand_history_ends_before_the_users_own_first_row(kuairand: Path) -> None:
    path = kuairand / "history_x.parquet"
    pl.read_parquet(path).with_columns(last_time_ms=pl.lit(NOON + 50)).write_parquet(path)
    events = good(open_source(["kuairand", str(kuairand)]))["events"]
    assert events.filter(event_type="seen")["happened_at"].max() == NOON + BEIJING_MS + 50 - 1000


def test_kuairand_outcomes_follow_their_impression(kuairand: Path) -> None:
    reader = open_source(["kuairand", str(kuairand)])
    batches = list(reader)
    assert sum(batch.duplicates for batch in batches) == 1
    events = good(open_source(["kuairand", str(kuairand)]))["events"].filter(pl.col("happened_at") >= NOON + BEIJING_MS)
    assert events.select("event_type", "user_id", "item_id", "value", "surface", "recommendation_id").rows() == [
        ("impression", "2", "6", None, "tab0", f"kuairand-2-{NOON + 10}"),
        ("impression", "2", "6", None, "tab0", f"kuairand-2-{NOON + 10}-2"),
        ("watch", "2", "6", 0.005, "tab0", f"kuairand-2-{NOON + 10}-2"),
        ("hide", "2", "6", None, "tab0", f"kuairand-2-{NOON + 10}-2"),
        ("impression", "1", "5", None, "tab1", f"kuairand-1-{NOON + 50}"),
        ("click", "1", "5", None, "tab1", f"kuairand-1-{NOON + 50}"),
        ("watch", "1", "5", 1.5, "tab1", f"kuairand-1-{NOON + 50}"),
        ("like", "1", "5", None, "tab1", f"kuairand-1-{NOON + 50}"),
        ("long_view", "1", "5", None, "tab1", f"kuairand-1-{NOON + 50}"),
        ("impression", "1", "7", None, "tab1", f"kuairand-1-{NOON + 60}"),
        ("share", "1", "7", None, "tab1", f"kuairand-1-{NOON + 60}"),
    ]
    assert reader.notes == ["left out the files log_random.csv"]
    assert sum(batch.units for batch in batches) == reader.total


def test_kuairand_bad_rows_and_files(kuairand: Path) -> None:
    path = kuairand / "log_standard_a.csv"
    path.write_text(f"{LOG}\n{log_row(1, 7, 60)}\n1,2,3\n{log_row(1, 8, 70).replace(',0,', ',x,', 1)}\n")
    bad = log_row(1, 9, 80).rsplit(",", 8)
    path.write_text(path.read_text() + ",".join([bad[0], "long", *bad[2:]]) + "\n")
    found = rejects(list(open_source(["kuairand", str(kuairand)])))
    assert [(file, line) for file, line, _ in found] == [("log_standard_a.csv", 3), ("log_standard_a.csv", 5)]
    assert "whole number" in found[1][2]
    path.write_text("user_id,video_id\n1,2\n")
    with pytest.raises(DataError, match=r"log_standard_a\.csv: column 'tab' is missing"):
        list(open_source(["kuairand", str(kuairand)]))
    for log in kuairand.glob("log_standard*"):
        log.unlink()
    with pytest.raises(DataError, match=r"has no log_standard\*\.csv; found history"):
        open_source(["kuairand", str(kuairand)])


# -- the real ones

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "kuairand-pure").is_dir(), reason="needs ../shared/data/kuairand-pure")
def test_the_real_kuairand() -> None:
    reader = open_source(["kuairand", str(DATA / "kuairand-pure")])
    batches = list(reader)
    assert sum(batch.duplicates for batch in batches) == 5_460
    assert sum(len(batch.rejects) for batch in batches) == 0
    types = Counter[str]()
    for batch in batches:
        if batch.kind == "events":
            types.update(dict(batch.frame["event_type"].value_counts().rows()) if len(batch.frame) else {})
    assert types["impression"] == 222_869
    assert types["share"] == 194
    history, log, *_ = (batch.frame for batch in batches if batch.kind == "events" and len(batch.frame))
    last = history.group_by("user_id").agg(pl.col("happened_at").max())
    first = log.group_by("user_id").agg(pl.col("happened_at").min())
    both = last.join(first, on="user_id")
    assert len(both) > 10_000
    assert (both["happened_at"] < both["happened_at_right"]).all()


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "movietweetings").is_dir(), reason="needs ../shared/data/movietweetings")
def test_the_real_movietweetings() -> None:
    rows = good(open_source(["movielens", str(DATA / "movietweetings")]))
    assert {kind: len(frame) for kind, frame in rows.items()} == {"items": 22_438, "events": 141_695}
