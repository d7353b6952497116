"""Ogg pages (RFC 3533), as far as equal samples are to give equal bytes."""

from __future__ import annotations

import struct

POLYNOMIAL = 0x04C11DB7
SERIAL = 1


def fix_serial(data: memoryview) -> None:
    """Number the one stream of an Ogg file `SERIAL`, in place: libsndfile draws the number from the clock.

    Each page (RFC 3533, section 6) holds it at byte 14, a checksum of the whole page at byte 22, and from byte 26 the
    number of its segments and their lengths.
    """
    start = 0
    while start < len(data):
        segments = data[start + 26]
        size = 27 + segments + sum(data[start + 27 : start + 27 + segments])
        page = data[start : start + size]
        page[14:18] = struct.pack("<I", SERIAL)
        page[22:26] = bytes(4)  # the checksum counts as zero in itself
        page[22:26] = struct.pack("<I", _checksum(page))
        start += size


def _checksum(page: memoryview) -> int:
    """CRC-32 of Ogg: `POLYNOMIAL`, no reflection, from 0."""
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _TABLE[crc >> 24 ^ byte]
    return crc


def _row(byte: int) -> int:
    """The checksum of one byte."""
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ (POLYNOMIAL if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


_TABLE = [_row(byte) for byte in range(256)]
