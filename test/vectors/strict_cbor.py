"""Reads the payloads beside it by the rules of PROTOCOL.md section 5.5, with nothing but the standard library."""
import json, math, pathlib, struct, sys

HERE = pathlib.Path(__file__).parent
DEPTH, ITEMS, NUMERIC, KEY_TEXT = 32, 131072, 1024, 16383


class Refused(Exception):
    pass


def need(condition):
    if not condition:
        raise Refused


class Reader:
    def __init__(self, data):
        self.data, self.at, self.items = data, 0, 1

    def take(self, length):
        need(self.at + length <= len(self.data))
        self.at += length
        return self.data[self.at - length : self.at]

    def head(self):
        first = self.take(1)[0]
        major, minor = first >> 5, first & 31
        if minor < 24 or major == 7:
            return major, minor
        need(minor < 28)
        value = int.from_bytes(self.take(1 << (minor - 24)), "big")
        need(value >= {24: 24, 25: 2**8, 26: 2**16, 27: 2**32}[minor] and value < 2**53)
        return major, value

    def open(self, items, depth):
        self.items += items
        need(items <= len(self.data) - self.at and self.items <= ITEMS and depth < DEPTH)

    def item(self, depth=0):
        major, value = self.head()
        if major == 0:
            return ("number", value)
        if major == 1:
            need(value < 2**53 - 1)
            return ("number", -1 - value)
        if major == 2:
            return ("bytes", bytes(self.take(value)))
        if major == 3:
            return ("text", self.text(value))
        if major == 4:
            self.open(value, depth)
            return ("array", [self.item(depth + 1) for _ in range(value)])
        if major == 5:
            self.open(2 * value, depth)
            return ("object", self.object(value, depth + 1))
        if major == 6:
            self.open(1, depth)
            return self.tagged(value, depth + 1)
        return self.simple(value)

    def text(self, length):
        try:
            return bytes(self.take(length)).decode()
        except UnicodeDecodeError:
            raise Refused

    def object(self, length, depth):
        found = {}
        for _ in range(length):
            major, size = self.head()
            need(major == 3)
            name = self.text(size)
            need(name not in found and name != "__proto__" and units(name) <= KEY_TEXT)
            found[name] = self.item(depth)
        return found

    def tagged(self, tag, depth):
        if tag == 1:
            kind, seconds = self.item(depth)
            need(kind == "number" and not (seconds == 0 and math.copysign(1, seconds) < 0))
            if not math.isnan(seconds):
                need(abs(seconds) <= 8.64e12)
                need(round(seconds * 1000) / 1000 == seconds or milliseconds(seconds) / 1000 == seconds)
            return ("date", seconds)
        if tag in (2, 3):
            major, length = self.head()
            need(major == 2)
            raw = bytes(self.take(length))
            need(raw[:1] != b"\0")
            value = int.from_bytes(raw, "big")
            return ("bigint", value if tag == 2 else -1 - value)
        need(tag in (258, 259))
        major, length = self.head()
        need(major == (4 if tag == 258 else 5))
        self.open(length * (tag - 257), depth)
        seen, numeric, entries = set(), 0, []
        for _ in range(length):
            kind, key = self.item(depth + 1)
            numeric += kind in ("number", "bigint") or kind == "text" and 0 < len(key) <= 10 and key.isascii() and key.isdigit()
            need(numeric <= NUMERIC)
            if kind in ("number", "bigint", "text", "simple"):
                need(kind != "text" or units(key) <= KEY_TEXT)
                need(kind != "number" or key != 0 or math.copysign(1, key) > 0)
                scalar = (kind, "NaN" if key != key else key)
                need(scalar not in seen)
                seen.add(scalar)
            entries.append(((kind, key), self.item(depth + 1) if tag == 259 else None))
        return ("set" if tag == 258 else "map", entries)

    def simple(self, minor):
        if minor in (20, 21, 22, 23):
            return ("simple", minor)
        need(minor in (25, 26, 27))
        size = 1 << (minor - 24)
        raw = bytes(self.take(size))
        value = struct.unpack({2: ">e", 4: ">f", 8: ">d"}[size], raw)[0]
        need(raw == shortest(value))
        return ("number", value)


def shortest(value):
    if math.isnan(value):
        return b"\x7e\0"
    negative_zero = value == 0 and math.copysign(1, value) < 0
    need(negative_zero or not (math.isfinite(value) and value == int(value) and abs(value) < 2**53))
    for form in (">e", ">f"):
        try:
            raw = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, raw)[0] == value:
            return raw
    return struct.pack(">d", value)


def milliseconds(seconds):
    whole = math.trunc(seconds)
    return whole * 1000 + round((seconds - whole) * 1000)


def units(text):
    return len(text.encode("utf-16-be")) // 2


def refused(hexadecimal):
    reader = Reader(bytes.fromhex(hexadecimal))
    try:
        reader.item()
        need(reader.at == len(reader.data))
    except Refused:
        return True
    return False


bad = {**json.loads((HERE / "payloads-refused.json").read_text())}
good = json.loads((HERE / "payloads.json").read_text())
for name, text in bad.items():
    if not refused(text):
        sys.exit(f"{name}: taken")
taken = {**good["values"], **good["calls"], **good["replies"]}
for name, text in taken.items():
    if refused(text):
        sys.exit(f"{name}: refused")
print(f"{len(bad)} payloads refused, {len(taken)} taken")
