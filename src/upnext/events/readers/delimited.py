"""CSV -> frames of text columns. Every line that is no proper row is named; none is dropped silently."""

from __future__ import annotations

import csv
import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from upnext.errors import DataError
from upnext.events.batches import BATCH_ROWS
from upnext.events.schema import LINE
from upnext.events.validate import reject_rows

_BLOCK_BYTES = 16 << 20
_SEPARATORS = ",\t;|"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Reject = tuple[int, str, str, str]  # line, column, value, reason


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a text file: their numbers from 1, and the ones that are not UTF-8."""

    number: pl.Series
    text: pl.Series
    rejects: list[Reject]
    bytes: int


def read_csv(path: Path, file: str) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, int]]:
    """Frames of text columns and LINE, their rejects, and the bytes read; the first line names the columns."""
    header, separator = csv_header(path, file)
    if _contains(path, b'"'):
        yield from _read_quoted(path, file, header, separator)
        return
    for lines in text_blocks(path, file, skip=1):
        expected = len(header)
        fields = lines.text.str.count_matches(separator, literal=True) + 1
        good = fields == expected
        rejects = lines.rejects + _wrong_counts(lines, fields, expected)
        split = lines.text.filter(good).str.split_exact(separator, expected - 1).struct.unnest()
        frame = split.rename(dict(zip(split.columns, header, strict=True)))
        yield frame.with_columns(lines.number.filter(good).alias(LINE)), reject_rows(file, rejects), lines.bytes


def csv_header(path: Path, file: str) -> tuple[list[str], str]:
    """The column names and the separator."""
    with path.open("rb") as stream:
        start = stream.readline()
    if start.startswith(_UTF16):
        raise DataError(f"{file}: is UTF-16; save it as UTF-8")
    try:
        line = start.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: its first line is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    if not line.strip():
        raise DataError(f"{file}: is empty; expected a first line that names the columns")
    separator = max(_SEPARATORS, key=line.count)
    header = [name.strip() for name in next(csv.reader([line], delimiter=separator))]
    for name in header:
        if not name or header.count(name) > 1 or name == LINE:
            raise DataError(f"{file}: the first line must name each column once, but it has {name!r}: {line[:200]}")
    return header, separator


def text_blocks(path: Path, file: str, skip: int = 0, encoding: str = "utf-8") -> Iterator[Lines]:
    """The lines of a file in large blocks, without line ends and without blank lines."""
    first = 1
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            block += stream.readline()
            rejects: list[Reject] = []
            texts = _decoded(block.removeprefix(b"\xef\xbb\xbf") if first == 1 else block, first, encoding, rejects)
            text = pl.Series(texts, dtype=pl.String).str.strip_suffix("\r")
            number = pl.Series(range(first, first + len(text)), dtype=pl.Int64)
            kept = (text != "") & (number > skip)
            first += len(text) - (1 if block.endswith(b"\n") else 0)
            yield Lines(number.filter(kept), text.filter(kept), rejects, len(block))


def _decoded(block: bytes, first: int, encoding: str, rejects: list[Reject]) -> list[str]:
    """The lines of a block; undecodable ones are rejected and become blank."""
    try:
        return block.decode(encoding).split("\n")
    except UnicodeDecodeError:
        lines = []
        for number, line in enumerate(block.split(b"\n"), first):
            try:
                lines.append(line.decode(encoding))
            except UnicodeDecodeError:
                rejects.append((number, "", line.decode(encoding, "backslashreplace"), f"is not {encoding.upper()}"))
                lines.append("")
        return lines


def _wrong_counts(lines: Lines, fields: pl.Series, expected: int) -> list[Reject]:
    wrong = fields != expected
    rows = zip(lines.number.filter(wrong), lines.text.filter(wrong), fields.filter(wrong), strict=True)
    return [(number, "", text, _wrong_count(count, expected)) for number, text, count in rows]


def _wrong_count(count: int, expected: int) -> str:
    return f"has {count} fields, the first line names {expected}"


def _contains(path: Path, byte: bytes) -> bool:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(byte) >= 0


def _read_quoted(
    path: Path, file: str, header: list[str], separator: str
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, int]]:
    """A file with quotes: a field may hold line ends, so it is read row by row."""
    done = 0
    with path.open("rb") as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        rejects: list[Reject] = []
        rows = _quoted_rows(csv.reader(stream, delimiter=separator, strict=True), len(header), rejects)
        next(rows, None)  # the first line
        while True:
            part = list(islice(rows, BATCH_ROWS))
            end = raw.tell()
            columns = zip(*(fields for _, fields in part), strict=True) if part else ([] for _ in header)
            frame = pl.DataFrame(
                {name: pl.Series(values, dtype=pl.String) for name, values in zip(header, columns, strict=True)}
            )
            numbers = pl.Series(LINE, [number for number, _ in part], dtype=pl.Int64)
            yield frame.with_columns(numbers), reject_rows(file, rejects), end - done
            done, rejects[:] = end, []
            if len(part) < BATCH_ROWS:
                return


def _quoted_rows(reader: Iterator[list[str]], expected: int, rejects: list[Reject]) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of the proper rows; the others go to ``rejects``."""
    while True:
        line = reader.line_num + 1  # type: ignore[attr-defined]
        try:
            fields = next(reader)
            "".join(fields).encode()
        except StopIteration:
            return
        except csv.Error as error:
            upto = reader.line_num  # type: ignore[attr-defined]
            rejects.append((line, "", "", f"cannot be split ({error}); lines {line} to {upto} are left out"))
        except UnicodeEncodeError:
            shown = _shown(fields)
            rejects.append((line, "", shown, "is not UTF-8"))
        else:
            if len(fields) == expected:
                yield line, fields
            elif fields:
                rejects.append((line, "", _shown(fields), _wrong_count(len(fields), expected)))


def _shown(fields: list[str]) -> str:
    """The fields for showing, whatever bytes they hold."""
    return " | ".join(fields).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
