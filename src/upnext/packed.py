"""Millions of strings in a few arrays: a fraction of what Python objects take, and a file can be mapped, not read."""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from upnext.compiled import compiled
from upnext.rows import grown, mapped, write_rows
from upnext.types import Int32, Int64

UInt8 = NDArray[np.uint8]

LENGTH_BITS = 24  # of a span; the other 40 are where the text starts
LONGEST = (1 << LENGTH_BITS) - 1  # bytes
SCANNED = 100_000  # texts between two looks at the clock
FILLED = 0.6  # of the hash table, at most
STROKED = str.maketrans("øłđħŧı", "oldhti")  # what Unicode does not take apart
FOLDED = 0x20000  # letters: all that have cases or accents


class Texts(Sequence[str]):
    """Strings by position. Rows can be added and replaced while others read: they see the old text or the new.

    The bytes of a replaced text stay behind until the texts are saved.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._span: Int64 = np.zeros(0, np.int64)  # [capacity], start << LENGTH_BITS | length: changes in one write
        self._bytes: UInt8 = np.zeros(0, np.uint8)  # [capacity]
        self._size = self._used = 0
        self.put(np.arange(len(texts)), texts)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(self._size))]
        if not -self._size <= row < self._size:
            raise IndexError(f"row {row} of {self._size} texts")
        span = int(self._span[row if row >= 0 else self._size + row])
        start = span >> LENGTH_BITS
        return self._bytes[start : start + (span & LONGEST)].tobytes().decode()

    def take(self, rows: Int32 | Int64) -> list[str]:
        """The texts of these rows, which must be there."""
        return [self[row] for row in rows.tolist()]

    def containing(self, words: str, most: int, seconds: float) -> tuple[Int32, bool]:
        """Rows of up to ``most`` texts that hold ``words``, and whether all texts were looked at.

        Case and accents make no difference. It takes ``seconds`` at most, and keeps nobody from running.
        """
        fold = _folded_letters()
        wanted = np.array([fold[ord(one)] if ord(one) < len(fold) else ord(one) for one in words], np.int32)
        wanted = wanted[wanted > 0]
        if not len(wanted):
            return np.arange(min(self._size, most), dtype=np.int32), self._size <= most
        span, data, size = self._span, self._bytes, self._size
        found, filled, row = np.empty(most, np.int32), 0, 0
        until = time.monotonic() + seconds
        while row < size and filled < most and time.monotonic() < until:
            row, filled = _containing(span, data, fold, wanted, row, min(row + SCANNED, size), found, filled)
        return found[:filled], row >= size

    def put(self, rows: Int32 | Int64, texts: Sequence[str]) -> None:
        """Set the texts of distinct ``rows``; rows between the present end and a new one are empty texts.

        Raises ValueError for a text of more than LONGEST bytes.
        """
        if not len(texts):
            return
        blob, span = _joined(texts)
        first, used = self._used, self._used + len(blob)
        size = max(self._size, int(rows.max()) + 1)
        self._span, self._bytes = grown(self._span, size), grown(self._bytes, used)
        self._bytes[first:used] = blob
        self._used = used
        self._span[rows] = span + (np.int64(first) << LENGTH_BITS)  # last: whoever reads it finds the bytes there
        self._size = size

    def save(self, directory: Path, name: str, size: int) -> None:
        """Write the first ``size`` texts as they are now, one after the other."""
        span = self._span[:size].copy()
        data = self._bytes
        length = int((span & LONGEST).sum())
        packed = write_rows(directory / f"{name}_bytes.npy", np.uint8, length)
        fresh = write_rows(directory / f"{name}_span.npy", np.int64, size)
        _pack(span, data, fresh, packed)

    @classmethod
    def load(cls, directory: Path, name: str, size: int) -> Texts:
        """Map what was saved; changes stay in memory."""
        found = cls()
        found._span, found._bytes = mapped(directory / f"{name}_span.npy"), mapped(directory / f"{name}_bytes.npy")
        found._size = size
        if size:
            last = int(found._span[size - 1])
            found._used = (last >> LENGTH_BITS) + (last & LONGEST)
        return found


class PackedIds:
    """External ids <-> int32 codes like ``ids.IdMap``, for as many ids as there are items or users.

    A hash table of codes beside the packed ids: about 40 bytes an id in all. One thread adds at a time; many may read.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._texts = Texts()
        self._seed = secrets.randbits(63)  # nobody can choose ids that all fall into one place
        self._slots: Int32 = np.full(16, -1, np.int32)  # a power of two
        self.extend(ids)

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.code(id_) >= 0

    @property
    def names(self) -> Texts:
        """All ids; the position is the code. Grows as ids are added."""
        return self._texts

    def extend(self, ids: Iterable[str]) -> None:
        """Append ids; one that is known already keeps its code."""
        ids = list(ids)
        if not ids:
            return
        texts = self._texts
        blob, span = _joined(ids)
        texts._span = grown(texts._span, len(texts) + len(ids))
        texts._bytes = grown(texts._bytes, texts._used + len(blob))
        self._make_room(len(texts) + len(ids))
        done = _add(self._slots, texts._span, texts._bytes, len(texts), texts._used, span, blob, self._seed)
        texts._size, texts._used = int(done[0]), int(done[1])

    def code(self, id_: str) -> int:
        raw, slots, texts = id_.encode(), self._slots, self._texts  # the slots first: what they name is in the texts
        return int(_code(slots, texts._span, texts._bytes, len(raw), np.array(bytearray(raw), np.uint8), self._seed))

    def encode(self, ids: Sequence[str]) -> Int32:
        codes = np.empty(len(ids), np.int32)
        if len(ids):
            slots, texts = self._slots, self._texts
            blob, span = _joined(ids)
            _find(slots, texts._span, texts._bytes, span, blob, self._seed, codes)
        return codes

    def decode(self, codes: Sequence[int] | Int32) -> list[str]:
        """Raises IndexError for a code that was never given."""
        if any(code < 0 for code in codes):
            raise IndexError("a negative code has no id")
        return [self._texts[int(code)] for code in codes]

    def save(self, directory: Path, name: str, size: int) -> None:
        """Write the first ``size`` ids and their table."""
        self._texts.save(directory, name, size)
        span, data = self._texts._span, self._texts._bytes
        slots = np.lib.format.open_memmap(directory / f"{name}_slots.npy", "w+", np.int32, (_slots(size),))
        slots[:] = -1
        _fill(np.asarray(slots), span[:size], data, self._seed)
        np.save(directory / f"{name}_seed.npy", np.array([self._seed]), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path, name: str, size: int) -> PackedIds:
        """Map what was saved; ids that are added stay in memory."""
        found = cls()
        found._texts, found._slots = Texts.load(directory, name, size), mapped(directory / f"{name}_slots.npy")
        found._seed = int(np.load(directory / f"{name}_seed.npy", allow_pickle=False)[0])
        return found

    def _make_room(self, ids: int) -> None:
        if ids > FILLED * len(self._slots):
            slots = np.full(_slots(ids), -1, np.int32)
            _fill(slots, self._texts._span[: len(self._texts)], self._texts._bytes, self._seed)
            self._slots = slots


@cache
def _folded_letters() -> Int32:
    """For each letter, the one it is looked for as: small and without accents; 0 = none (an accent by itself).

    One letter for one letter: those that fold into several (the German sharp s, Hangul) stay as they are.
    """
    fold = np.arange(FOLDED, dtype=np.int32)
    for code in range(1, FOLDED):
        plain = unicodedata.normalize("NFKD", chr(code)).casefold()  # what is taken apart may be capital
        parts = unicodedata.normalize("NFKD", plain).translate(STROKED)
        letters = [ord(part) for part in parts if not unicodedata.combining(part)]
        if len(letters) < 2:
            fold[code] = letters[0] if letters else 0
    return fold


def _slots(ids: int) -> int:
    """Size of the table for so many ids: a power of two."""
    return 1 << int(np.ceil(np.log2(max(ids, 8) / FILLED)))


def _joined(texts: Sequence[str]) -> tuple[UInt8, Int64]:
    """The bytes of all texts, and the span of each in them."""
    raw = [text.encode() for text in texts]
    length = np.fromiter(map(len, raw), np.int64, len(raw))
    if length.max() > LONGEST:
        long = int(length.argmax())
        raise ValueError(f"text {long} has {length[long]:,} bytes; at most {LONGEST:,} can be kept. Shorten it.")
    start = np.cumsum(length) - length
    return np.array(bytearray(b"".join(raw)), np.uint8), (start << LENGTH_BITS) | length


@compiled("uint64(uint8[::1], int64, uint64)")
def _hash(data: UInt8, span: int, seed: int) -> np.uint64:
    """FNV-1a from a seed, then the finaliser of MurmurHash3, so that the low bits depend on every byte."""
    start, value = span >> 24, np.uint64(14695981039346656037) ^ seed
    for place in range(start, start + (span & 0xFFFFFF)):
        value = (value ^ np.uint64(data[place])) * np.uint64(1099511628211)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return value ^ (value >> np.uint64(33))


@compiled("boolean(uint8[::1], int64, uint8[::1], int64)")
def _same(data: UInt8, span: int, others: UInt8, other: int) -> bool:
    length = span & 0xFFFFFF
    if length != other & 0xFFFFFF:
        return False
    mine, theirs = span >> 24, other >> 24
    for place in range(length):  # noqa: SIM110
        if data[mine + place] != others[theirs + place]:
            return False
    return True


@compiled("void(int32[::1], int64[::1], uint8[::1], uint64)")
def _fill(slots: Int32, span: Int64, data: UInt8, seed: int) -> None:
    """Put codes 0 .. of distinct texts into an empty table."""
    last = np.uint64(len(slots) - 1)
    for code in range(len(span)):
        slot = _hash(data, span[code], seed) & last
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & last
        slots[slot] = code


@compiled("int32(int32[::1], int64[::1], uint8[::1], int64, uint8[::1], uint64)")
def _code(slots: Int32, span: Int64, data: UInt8, wanted: int, blob: UInt8, seed: int) -> int:
    """The code of the text at the span ``wanted`` of ``blob``; -1 where there is none."""
    last = np.uint64(len(slots) - 1)
    slot = _hash(blob, wanted, seed) & last
    while slots[slot] >= 0:
        code = slots[slot]
        if code < len(span) and _same(data, span[code], blob, wanted):
            return code
        slot = (slot + np.uint64(1)) & last
    return -1


@compiled("void(int32[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], uint64, int32[::1])")
def _find(slots: Int32, span: Int64, data: UInt8, wanted: Int64, blob: UInt8, seed: int, codes: Int32) -> None:
    """The code of each wanted text into ``codes``."""
    for row in range(len(wanted)):
        codes[row] = _code(slots, span, data, wanted[row], blob, seed)


@compiled("int64[::1](int32[::1], int64[::1], uint8[::1], int64, int64, int64[::1], uint8[::1], uint64)")
def _add(slots: Int32, span: Int64, data: UInt8, size: int, used: int, wanted: Int64, blob: UInt8, seed: int) -> Int64:
    """Append the texts that are not there yet; everything has room for all of them. The new (size, used)."""
    last = np.uint64(len(slots) - 1)
    for row in range(len(wanted)):
        slot = _hash(blob, wanted[row], seed) & last
        while slots[slot] >= 0 and not _same(data, span[slots[slot]], blob, wanted[row]):
            slot = (slot + np.uint64(1)) & last
        if slots[slot] < 0:
            start, length = wanted[row] >> 24, wanted[row] & 0xFFFFFF
            data[used : used + length] = blob[start : start + length]
            span[size] = (used << 24) | length
            slots[slot] = size
            size, used = size + 1, used + length
    return np.array([size, used])


@compiled("Tuple((int32, int64))(uint8[::1], int64, int32[::1])")
def _letter(data: UInt8, place: int, fold: Int32) -> tuple[np.int32, int]:
    """The letter that starts at ``place`` of valid UTF-8, folded, and where the next one starts."""
    first = np.int32(data[place])
    if first < 0x80:
        return fold[first], place + 1
    more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
    letter = first & (0x3F >> more)
    for at in range(place + 1, place + 1 + more):
        letter = (letter << 6) | (np.int32(data[at]) & 0x3F)
    return (fold[letter] if letter < len(fold) else letter), place + 1 + more


@compiled("Tuple((int64, int64))(int64[::1], uint8[::1], int32[::1], int32[::1], int64, int64, int32[::1], int64)")
def _containing(
    span: Int64, data: UInt8, fold: Int32, wanted: Int32, row: int, end: int, found: Int32, filled: int
) -> tuple[int, int]:
    """Look at the rows from ``row`` to ``end`` until ``found`` is full; the next row, and how many were found."""
    size = len(wanted)
    while row < end and filled < len(found):
        start = span[row] >> 24
        stop = start + (span[row] & 0xFFFFFF)
        for place in range(start, stop - size + 1):
            first = data[place]
            if first & 0xC0 == 0x80 or (first < 0x80 and fold[first] != wanted[0]):
                continue  # inside a letter, or the usual end of a look
            matched, at = 0, place
            while matched < size and at < stop:
                letter, at = _letter(data, at, fold)
                if letter == wanted[matched]:
                    matched += 1
                elif letter:
                    break
            if matched == size:
                found[filled] = row
                filled += 1
                break
        row += 1
    return row, filled


@compiled("void(int64[::1], uint8[::1], int64[::1], uint8[::1])")
def _pack(span: Int64, data: UInt8, fresh: Int64, packed: UInt8) -> None:
    """Copy the texts one after the other."""
    used = 0
    for row in range(len(span)):
        start, length = span[row] >> 24, span[row] & 0xFFFFFF
        packed[used : used + length] = data[start : start + length]
        fresh[row] = (used << 24) | length
        used += length
