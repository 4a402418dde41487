#!/usr/bin/env python3
"""Looks for the secrets that tests gave to the program in all that is left of the tests.

usage: find-secrets.py LIST PATH...     LIST has one secret a line; fails where one of them is in a file below a PATH, compressed by gzip or not
"""

import os
import re
import sys
import zlib

LARGEST = 32 << 20


def plain(data):
    """What a file holds, as far as it can be unpacked."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return zlib.decompressobj(wbits=31).decompress(data, LARGEST)
    except zlib.error:
        return data


def files(path):
    if os.path.isfile(path):
        yield path
    for folder, _, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in names)


def main():
    with open(sys.argv[1], "rb") as lines:
        secrets = {line for line in lines.read().split(b"\n") if line}
    if not secrets:
        return 0
    pattern = re.compile(b"|".join(map(re.escape, sorted(secrets))))
    found = 0
    for path in (path for root in sys.argv[2:] for path in files(root)):
        with open(path, "rb") as file:
            data = file.read(LARGEST)
        match = pattern.search(plain(data))
        if match:
            print(f"!!! a secret of the tests, {match[0][:2].decode(errors='replace')}…, is in {path}", file=sys.stderr)
            found = 1
    return found


sys.exit(main())
