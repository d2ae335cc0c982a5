#!/usr/bin/env python3
"""Checks the vectors beside it with nothing but PROTOCOL.md and the standard library.

AES-GCM and X25519 are written out below, slow and not constant time: for checking only. ML-KEM is not: its shared
secret is taken from the vector.
"""
import base64, hashlib, hmac, json, math, pathlib, struct, zlib

HERE = pathlib.Path(__file__).parent
checks = 0


def load(name):
    return json.loads((HERE / f"{name}.json").read_text())


def same(what, expected, actual):
    global checks
    checks += 1
    actual = actual.hex() if isinstance(actual, bytes) else actual
    if expected != actual:
        raise SystemExit(f"{what}: the vector says {str(expected)[:80]}, computed {str(actual)[:80]}")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def hkdf(salt, ikm, info, length=32):
    prk, out, block, i = mac(salt, ikm), b"", b"", 1
    while len(out) < length:
        block = mac(prk, block, info, bytes([i]))
        out, i = out + block, i + 1
    return out[:length]


# ---- AES-GCM (FIPS 197, SP 800-38D) ----
def xtime(a):
    return ((a << 1) ^ 0x1B) & 0xFF if a & 0x80 else a << 1


def make_sbox():
    box, p, q = [0x63] * 256, 1, 1
    while True:
        p ^= xtime(p)
        for shift in (1, 2, 4):
            q ^= (q << shift) & 0xFF
        if q & 0x80:
            q ^= 0x09
        box[p] = q ^ 0x63
        for n in (1, 2, 3, 4):
            box[p] ^= ((q << n) | (q >> (8 - n))) & 0xFF
        if p == 1:
            return box


SBOX = make_sbox()


def round_keys(key):
    words, n, rcon = [key[i : i + 4] for i in range(0, len(key), 4)], len(key) // 4, 1
    while len(words) < 4 * (n + 7):
        word = words[-1]
        if len(words) % n == 0:
            word = bytes(SBOX[b] for b in word[1:] + word[:1])
            word, rcon = bytes([word[0] ^ rcon]) + word[1:], xtime(rcon)
        elif n == 8 and len(words) % n == 4:
            word = bytes(SBOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[-n])))
    return [b"".join(words[i : i + 4]) for i in range(0, len(words), 4)]


def aes(keys, block):
    s = [a ^ b for a, b in zip(block, keys[0])]
    for number, key in enumerate(keys[1:], 1):
        s = [SBOX[s[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if number < len(keys) - 1:
            mixed = []
            for c in range(0, 16, 4):
                col, total = s[c : c + 4], s[c] ^ s[c + 1] ^ s[c + 2] ^ s[c + 3]
                mixed += [col[i] ^ total ^ xtime(col[i] ^ col[(i + 1) % 4]) for i in range(4)]
            s = mixed
        s = [a ^ b for a, b in zip(s, key)]
    return bytes(s)


def ghash(h, data):
    table, v = [], int.from_bytes(h, "big")
    for _ in range(128):
        table.append(v)
        v = (v >> 1) ^ (0xE1 << 120 if v & 1 else 0)
    y = 0
    for i in range(0, len(data), 16):
        x, y = y ^ int.from_bytes(data[i : i + 16], "big"), 0
        for bit in range(128):
            if x >> (127 - bit) & 1:
                y ^= table[bit]
    return y.to_bytes(16, "big")


def zero_padded(data):
    return data + bytes(-len(data) % 16)


def gcm_seal(key, nonce, ad, plaintext):
    keys, out = round_keys(key), b""
    for i in range(0, len(plaintext), 16):
        stream = aes(keys, nonce + struct.pack(">I", 2 + i // 16))
        out += bytes(a ^ b for a, b in zip(plaintext[i : i + 16], stream))
    lengths = struct.pack(">QQ", 8 * len(ad), 8 * len(out))
    digest = ghash(aes(keys, bytes(16)), zero_padded(ad) + zero_padded(out) + lengths)
    return out + bytes(a ^ b for a, b in zip(digest, aes(keys, nonce + struct.pack(">I", 1))))


# ---- X25519 (RFC 7748) ----
def x25519(scalar, point=(9).to_bytes(32, "little")):
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little") & ~(1 << 255) & ~7 | (1 << 254)
    x1 = int.from_bytes(point, "little") & ~(1 << 255)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % p, b * b % p, d * a % p, c * b % p
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


# ---- PROTOCOL.md section 5.3 ----
def pad(body):
    length, out = 4 + len(body), struct.pack(">I", len(body)) + body
    if length <= 64:
        return out + bytes(64 - length)
    exponent = length.bit_length() - 1
    unit = 1 << exponent - exponent.bit_length()
    return out + bytes(-length % unit)


# ---- section 3 ----
class State:
    def __init__(self, suite, key_size):
        self.ck = self.h = sha256(suite)
        self.k, self.key_size = b"", key_size

    def mix_hash(self, data):
        self.h = sha256(self.h, data)

    def mix_key(self, data):
        okm = hkdf(self.ck, data, b"", 64)
        self.ck, self.k = okm[:32], okm[32 : 32 + self.key_size]

    def mix_key_and_hash(self, data):
        okm = hkdf(self.ck, data, b"", 96)
        self.ck, self.k = okm[:32], okm[64 : 64 + self.key_size]
        self.mix_hash(okm[32:64])

    def encrypt_and_hash(self, plaintext):
        sealed, self.k = gcm_seal(self.k, bytes(12), self.h, plaintext), b""
        self.mix_hash(sealed)
        return sealed


def check_handshake(name):
    v = load(name)
    r = {key: bytes.fromhex(value) for key, value in v["random"].items()}
    x = lambda key: bytes.fromhex(v[key])
    state = State(v["suite"].encode(), v["keySize"])
    pinned = v["flags"] & 1
    e_c, e_s, e_f = (x25519(r[key]) for key in ("e_c", "e_s", "e_f"))
    frames = [bytes.fromhex(v[f"step{i}"]["frame"]) for i in (1, 2, 3, 4)]
    cookie_length = struct.unpack(">H", frames[1][1124:1126])[0]
    cookie, sealed_2 = frames[1][1126 : 1126 + cookie_length], frames[1][1126 + cookie_length :]
    clear = frames[0][:1232]
    same("clear fields", clear[:48].hex(), bytes([1, 1, v["flags"], v["keySize"]])
         + (x("serverKeyId") if pinned else bytes(4)) + (x("keyId") or bytes(8)) + e_c)
    same("server key id", v["serverKeyId"], sha256(x("serverPublicKey"))[:4])
    same("server public key", v["serverPublicKey"], x25519(x("serverPrivateKey")))

    operations = [o for part in ("prologue", "step1", "step2", "step3", "step4") for o in v[part]["operations"]]
    steps = iter(operations)

    def step(method, data):
        operation = next(steps)
        what = f"{name}: {operation['what']}"
        same(what, operation["input"], data)
        if "key" in operation:
            same(what, operation["key"], state.k)
            same(what, operation["ad"], state.h)
        out = getattr(state, method)(data)
        if out is not None:
            same(what, operation["sealed"], out)
        for field in ("h", "ck", "k"):
            same(what, operation[field], getattr(state, field))
        return out

    path = v["modulePath"].encode()
    step("mix_hash", b"\1" + struct.pack(">H", len(path)) + path + bytes([v["keySize"], v["flags"]]))
    step("mix_hash", x("serverPublicKey") if pinned else bytes(32))
    step("mix_key_and_hash", x("secureKey"))
    step("mix_hash", clear)
    step("mix_key", e_c)
    if pinned:
        step("mix_key", x25519(x("serverPrivateKey"), e_c))
    same("step 1", frames[0].hex(), clear + step("encrypt_and_hash", r["C1"] + r["A"] + bytes(64)))
    step("mix_key", r["C1"])

    ct = frames[1][36:1124]
    step("mix_hash", b"\2\1" + e_s + ct)
    step("mix_key", x25519(r["e_s"], e_c))
    step("mix_key", bytes.fromhex(next(o for o in operations if o["what"] == "KEM secret")["input"]))
    options = bytes([1 | (4 if v["flags"] & 2 else 0), 16, 0, 1, 1]) + x("serverKeyId") + bytes(12)
    options += bytes.fromhex(v["step4"]["terms"]["incarnation"]) + bytes(35)
    same("step 2", sealed_2.hex(), step("encrypt_and_hash", r["S1"] + r["A"] + r["sessionId"] + options))
    same("step 2", frames[1].hex(), b"\2\1\0\0" + e_s + ct + b"\0\xe4" + cookie + sealed_2)
    c = v["cookie"]
    tk = mac(bytes.fromhex(c["tk"]), x("serverPrivateKey"))
    inside = (struct.pack(">Q", c["issued"]) + r["sessionId"] + bytes([v["flags"], v["keySize"], 0, 0]) + (x("keyId") or bytes(8))
              + state.ck + state.h + r["C1"] + r["S1"] + e_c)
    ad = b"sealwire cookie" + bytes.fromhex(c["id"]) + path
    same("cookie", cookie.hex(), bytes.fromhex(c["id"]) + r["cookieNonce"] + gcm_seal(tk, r["cookieNonce"], ad, inside))
    step("mix_key", r["S1"])

    step("mix_hash", b"\3\1" + cookie)
    part = {key: bytes.fromhex(v["step3"][key]) for key in ("renewals", "firstCalls", "firstKey")}
    sealed_3 = step("encrypt_and_hash", r["C2"] + r["B"] + part["renewals"] + pad(part["firstCalls"]))
    same("step 3", frames[2].hex(), b"\3\1\0\0\0\xe4" + cookie + sealed_3)
    step("mix_key", r["C2"])
    same("first key", part["firstKey"].hex(), hkdf(state.ck, b"", b"sealwire first" + state.h))

    terms = v["step4"]["terms"]
    step("mix_hash", b"\4\1" + e_f)
    step("mix_key", x25519(r["e_f"], e_c))
    sealed_4 = step("encrypt_and_hash", r["S2"] + r["B"] + struct.pack(">III", terms["lane"], terms["idle"], terms["lifetime"])
                    + bytes.fromhex(terms["incarnation"] + v["step4"]["renewalAnswers"]) + pad(bytes.fromhex(v["step4"]["firstReply"])))
    same("step 4", frames[3].hex(), b"\4\1\0\0" + e_f + sealed_4)
    step("mix_key", r["S2"])
    for secret, ikm, label in (("clientToServer", r["S2"] + r["C1"], "c2s"), ("serverToClient", r["C2"] + r["S1"], "s2c"),
                               ("renewal", b"", "renew"), ("exporter", b"", "exporter")):
        same(secret, v["secrets"][secret], hkdf(state.ck, ikm, f"sealwire {label}".encode() + state.h))


def expand(key, info, length):
    return mac(key, info, b"\1")[:length]


def check_messages():
    for v in load("messages").values():
        call, result = v["call"], v["result"]
        header, result_header = bytes.fromhex(call["header"]), bytes.fromhex(result["header"])
        number = v["number"]
        same("call header", call["header"][:56], b"\x11\1\0\0" + bytes.fromhex(v["sessionId"]) + struct.pack(">II", number["lane"], number["counter"]))
        for message, label, secret, ad in ((call, b"call", "clientToServer", header), (result, b"result", "serverToClient", result_header + header)):
            key = expand(bytes.fromhex(v[secret]), label + ad, v["keySize"])
            same("message key", message["key"], key)
            plaintext = pad(bytes.fromhex(message["payload"]))
            same("plaintext", message["plaintext"], plaintext)
            same("nonce", message["nonce"], bytes(11) + b"\1")
            same("frame", message["frame"], bytes.fromhex(message["header"]) + gcm_seal(key, bytes(11) + b"\1", ad, plaintext))

    v = load("message-three-chunks")
    header = bytes.fromhex(v["header"])
    key = expand(bytes.fromhex(v["clientToServer"]), b"call" + header, v["keySize"])
    padded = pad(bytes(i % 251 for i in range(v["bodyLength"])))
    same("padded length", v["paddedLength"], len(padded))
    frame, chunks = header, [padded[i : i + 65536] for i in range(0, len(padded), 65536)]
    for i, chunk in enumerate(chunks):
        sealed = gcm_seal(key, bytes(7) + struct.pack(">IB", i, i == len(chunks) - 1), header, chunk)
        frame += struct.pack(">I", len(sealed))[1:] + sealed
    same("three chunks", v["frame"], frame)


def check_small():
    for direction, label in (("clientToServer", b"c2s"), ("serverToClient", b"s2c")):
        chain = [bytes.fromhex(secret) for secret in load("epochs")[direction]]
        for before, after in zip(chain, chain[1:]):
            same("epoch", after.hex(), mac(before, b"sealwire next", label))

    v = load("renewal")
    proof = mac(bytes.fromhex(v["renewalKey"]), b"prove", bytes.fromhex(v["h"]))[:16]
    same("proof", v["proof"], proof)
    numbers = b"".join(struct.pack(">II", n["lane"], n["counter"]) + bytes.fromhex(n["digest"]) for n in v["numbers"])
    same("renewals", v["block"], b"\1" + bytes.fromhex(v["sessionId"]) + proof + struct.pack(">H", len(v["numbers"])) + numbers)
    reply = bytes.fromhex(v["answers"][0][1]["result"])
    same("answers", v["answerBlock"], b"\1\0\2\2\3" + struct.pack(">I", len(reply)) + reply)

    v = load("call-identity")
    for call in [v["firstCalls"], *v["calls"]]:
        number = struct.pack(">II", call["lane"], call["counter"])
        named = number + bytes.fromhex(call["digest"]) + struct.pack(">I", call["index"])
        same("call identity", call["identity"], mac(bytes.fromhex(call["key"]), b"sealwire call", named)[:16])
    digest = sha256(bytes.fromhex(v["firstCallsDigest"]["frame"]))[:16]
    same("digest", v["firstCallsDigest"]["digest"], digest)
    same("first frame", v["firstCalls"]["digest"], digest)

    for length, padded in load("padding")["paddedLength"].items():
        same(f"padding of {length}", padded, len(pad(bytes(int(length)))))

    v = load("key-texts")
    for kind, fields in ((k, f) for k, f in v.items() if k != "serverKeyId"):
        raw = b"".join(bytes.fromhex(value) for name, value in fields.items() if name != "text")
        text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        same(kind, fields["text"], f"{kind}.{text}.{zlib.crc32(kind.encode() + raw):08x}")


# ---- section 5.5: enough of CBOR to read the payloads back ----
def cbor(data, at=0):
    major, minor = data[at] >> 5, data[at] & 31
    at += 1
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(minor, 0)
    raw, at = data[at : at + size], at + size
    value = int.from_bytes(raw, "big") if size else minor
    if major == 7:
        return (struct.unpack({2: ">e", 4: ">f", 8: ">d"}[size], raw)[0] if size > 1 else {20: False, 21: True, 22: None, 23: "undefined"}[value]), at
    if major < 2:
        return (-1 - value if major else value), at
    if major < 4:
        return (data[at : at + value] if major == 2 else data[at : at + value].decode()), at + value
    items = []
    for _ in range({4: value, 5: 2 * value, 6: 1}[major]):
        item, at = cbor(data, at)
        items.append(item)
    return (items if major == 4 else dict(zip(items[::2], items[1::2])) if major == 5 else ("tag", value, items[0])), at


def check_payloads():
    v = load("payloads")
    whole = lambda text: cbor(bytes.fromhex(text))
    big = lambda n, tag=2: ("tag", tag, n.to_bytes((n.bit_length() + 7) // 8, "big"))
    expected = {
        "undefined": "undefined", "null": None, "true": True, "0": 0, "-1": -1, "9007199254740991": 2**53 - 1, "1.5": 1.5,
        "-0": -0.0, "Infinity": math.inf, "9007199254740993n": big(2**53 + 1), "0n": big(0), "-256n": big(255, 3), '"é"': "é",
        "Uint8Array [1, 2, 3]": b"\1\2\3", "[1, [2], {}]": [1, [2], {}], "{ b: 1, a: 2 }": {"b": 1, "a": 2},
        'new Date("2024-02-29T12:00:00Z")': ("tag", 1, 1709208000), "new Date(1500)": ("tag", 1, 1.5),
        'new Map([[1, "one"]])': ("tag", 259, {1: "one"}), 'new Set(["a", "b"])': ("tag", 258, ["a", "b"]),
    }
    same("values", sorted([*expected, "NaN"]), sorted(v["values"]))
    for name, value in expected.items():
        same(name, (value, len(v["values"][name]) // 2), whole(v["values"][name]))
    same("NaN", True, math.isnan(whole(v["values"]["NaN"])[0]))
    resend = [bytes.fromhex(v["resend"][key]) for key in ("callId", "incarnation")]
    same("calls", [[["balance", ["alice"]]], [["balance", ["alice"], *resend]]], [whole(text)[0] for text in v["calls"].values()])
    same("replies", [
        [0, [0, big(1250)]], [0, [1, "not_found", "No such account."]], [0, [1, "conflict", "Taken.", {"status": 409}]],
        [1, "running"], [1, "lane_moved", 1700000060, "never_ran", resend[1]],
    ], [whole(text)[0] for text in v["replies"].values()])


for path in sorted(HERE.glob("handshake-*.json")):
    check_handshake(path.stem)
check_messages()
check_small()
check_payloads()
print(f"{checks} values agree")
