#!/usr/bin/env python3
"""Checks the vectors beside it with nothing but PROTOCOL.md and the standard library.

AES-GCM and X25519 are written out below, slow and not constant time: for checking only. ML-KEM is not: its shared
secret is taken from the vector.
"""
import base64, hashlib, hmac, json, math, pathlib, re, struct, zlib

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


class Refused(Exception):
    pass


def need(condition):
    if not condition:
        raise Refused


def unpad_first(data):
    need(len(data) >= 4)
    end = 4 + int.from_bytes(data[:4], "big")
    need(end <= len(data))
    exact = pad(data[4:end])
    need(data[: len(exact)] == exact)
    return data[4:end], data[len(exact) :]


def unpad(data):
    body, rest = unpad_first(data)
    need(not rest)
    return body


# ---- section 1.1 ----
def aead_key(block, key_size):
    return (block, bytes(12)) if key_size == 32 else (block[:16], block[16:28])


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def expand(key, info):
    return mac(key, info, b"\1")


def gcm_open(key, nonce, ad, sealed):
    need(len(sealed) >= 16)
    # counter mode is its own inverse
    plaintext = gcm_seal(key, nonce, ad, sealed[:-16])[:-16]
    need(gcm_seal(key, nonce, ad, plaintext) == sealed)
    return plaintext


# ---- section 3 ----
class State:
    def __init__(self, suite, key_size):
        self.ck = self.h = sha256(suite)
        self.k, self.key_size = b"", key_size

    def mix_hash(self, data):
        self.h = sha256(self.h, data)

    def mix_key(self, data):
        okm = hkdf(self.ck, data, b"", 64)
        self.ck, self.k = okm[:32], okm[32:]

    def mix_key_and_hash(self, data):
        okm = hkdf(self.ck, data, b"", 96)
        self.ck, self.k = okm[:32], okm[64:]
        self.mix_hash(okm[32:64])

    def encrypt_and_hash(self, plaintext):
        key, nonce = aead_key(self.k, self.key_size)
        sealed, self.k = gcm_seal(key, nonce, self.h, plaintext), b""
        self.mix_hash(sealed)
        return sealed


def encode_renewals(asked, key_of_proof):
    out = bytes([len(asked)])
    for old in asked:
        numbers = b"".join(struct.pack(">II", n["lane"], n["counter"]) + bytes.fromhex(n["digest"]) for n in old["numbers"])
        out += bytes.fromhex(old["sessionId"]) + key_of_proof(bytes.fromhex(old["key"])) + struct.pack(">H", len(old["numbers"])) + numbers
    return out


KNOWN = ["unknown", "never_ran", "ran", "result", "running"]


def encode_answers(answers):
    out = struct.pack(">H", len(answers))
    for answer in answers:
        if isinstance(answer, str):
            out += bytes([KNOWN.index(answer)])
        else:
            frame = bytes.fromhex(answer["result"])
            out += b"\3" + struct.pack(">I", len(frame)) + frame
    return out


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
            key, nonce = aead_key(state.k, v["keySize"])
            same(what, operation["key"], key)
            same(what, operation["nonce"], nonce)
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
    clear = b"\2\1\0\0" + e_s + ct + b"\0\xe4"
    step("mix_hash", clear)
    step("mix_key", x25519(r["e_s"], e_c))
    step("mix_key", bytes.fromhex(next(o for o in operations if o["what"] == "KEM secret")["input"]))
    session_mac = mac(x("sessionIdKey"), b"sealwire session id", path, r["sessionRandom"])
    session_id = r["sessionRandom"] + session_mac[:6]
    same("session id", v["sessionId"], session_id)
    o = v["step2"]["options"]
    options = bytes([o["force"] | o["requirePinned"] << 1 | o["requireSecureKey"] << 2, o["minKeySize"], 0, 1, len(o["pins"])])
    options += bytes.fromhex("".join(o["pins"])).ljust(16, b"\0") + bytes.fromhex(o["incarnation"])
    options += struct.pack(">IQQH", o["maxBody"], o["age"], o["maxUpload"], o["pulse"]) + bytes(13)
    decode_server_options(options)
    same("step 2", sealed_2.hex(), step("encrypt_and_hash", r["S1"] + r["A"] + session_id + options))
    same("step 2", frames[1].hex(), clear + cookie + sealed_2)
    c, h_2 = v["cookie"], state.h
    tk = mac(bytes.fromhex(c["tk"]), x("serverPrivateKey"), bytes.fromhex(o["incarnation"]))
    same("cookie key", c["key"], tk)
    inside = (struct.pack(">Q", c["issued"]) + session_id + bytes([v["flags"], v["keySize"], 0, 0]) + (x("keyId") or bytes(8))
              + state.ck + state.h + r["C1"] + r["S1"] + e_c)
    ad = b"sealwire cookie" + bytes.fromhex(c["id"]) + path
    key = mac(tk, r["cookieSalt"])
    for what, value in (("key", key), ("nonce", bytes(12)), ("ad", ad), ("plaintext", inside)):
        same(f"cookie {what}", c["sealed"][what], value)
    same("cookie", cookie.hex(), bytes.fromhex(c["id"]) + r["cookieSalt"] + gcm_seal(key, bytes(12), ad, inside))
    same("cookie", c["cookie"], cookie)
    step("mix_key", r["S1"])

    part = {key: bytes.fromhex(v["step3"][key]) for key in ("renewals", "firstCalls", "firstKey", "firstResults")}
    renewals = encode_renewals(v["step3"]["asked"], lambda key: mac(key, b"prove", h_2)[:16])
    same("renewals", part["renewals"].hex(), renewals)
    clear = b"\3\1\0\0" + r["salt3"] + b"\0\xe4" + cookie
    step("mix_hash", clear)
    step("mix_key", r["salt3"])
    sealed_3 = step("encrypt_and_hash", r["C2"] + r["B"] + pad(renewals) + pad(part["firstCalls"]))
    same("step 3", frames[2].hex(), clear + sealed_3)
    digest = sha256(frames[2])[:16]
    same("digest of step 3", v["step3"]["digest"], digest)
    step("mix_key", r["C2"])
    same("first key", part["firstKey"].hex(), hkdf(state.ck, b"", b"sealwire first" + state.h))
    same("first results", part["firstResults"].hex(), hkdf(state.ck, b"", b"sealwire first results" + state.h))

    terms = v["step4"]["terms"]
    step("mix_hash", b"\4\1\0\0" + e_f)
    lists = bytes([len(v["step4"]["answers"])])
    for old, answers in zip(v["step3"]["asked"], v["step4"]["answers"]):
        lists += mac(bytes.fromhex(old["key"]), b"answer", state.h)[:16] + encode_answers(answers)
    same("renewal answers", v["step4"]["renewalAnswers"], lists)
    first = []
    if "firstResult" in v:
        f = v["firstResult"]
        header = b"\x11\1\0\0" + session_id + bytes(8) + digest[:8]
        same("first header", f["callHeader"], header)
        bound = bytes.fromhex(f["frame"])[:12] + header
        key, nonce = aead_key(expand(part["firstResults"], b"result" + bound), v["keySize"])
        sealed = gcm_seal(key, xor(nonce, bytes(11) + b"\1"), bound, pad(bytes.fromhex(f["payload"])))
        same("first result", f["frame"], bound[:12] + sealed)
        first = [{"result": f["frame"]}, "running"]
    same("first answers", v["step4"]["firstAnswers"], encode_answers(first))
    step("mix_key", x25519(r["e_f"], e_c))
    sealed_4 = step("encrypt_and_hash", r["S2"] + r["B"] + struct.pack(">III", terms["lane"], terms["idle"], terms["lifetime"])
                    + bytes.fromhex(terms["incarnation"]) + pad(lists) + pad(encode_answers(first)))
    same("step 4", frames[3].hex(), b"\4\1\0\0" + e_f + sealed_4)
    step("mix_key", r["S2"])
    same("secrets", ["clientToServer", "renewal", "serverToClient"], sorted(v["secrets"]))
    for secret, ikm, label in (("clientToServer", r["S2"] + r["C1"], "c2s"), ("serverToClient", r["C2"] + r["S1"], "s2c"),
                               ("renewal", b"", "renew")):
        same(secret, v["secrets"][secret], hkdf(state.ck, ikm, f"sealwire {label}".encode() + state.h))
    if "oldResult" in v:
        old = v["oldResult"]
        body = open_message("result", bytes.fromhex(old["serverToClient"]), v["keySize"], bytes.fromhex(old["frame"]), bytes.fromhex(old["callHeader"]))
        same("old result", old["reply"], body)


# ---- sections 5.1 and 5.2 ----
def open_message(kind, secret, key_size, frame, call_header=b""):
    size, first = (36, 0x11) if kind == "call" else (12, 0x12)
    need(len(frame) >= size + 16 and frame[0] == first and frame[1] == 1 and frame[2] < 2)
    ad, chunks = frame[:size] + call_header, frame[size:]
    key, mask = aead_key(expand(secret, kind.encode() + ad), key_size)
    nonce = lambda i, last: xor(mask, bytes(7) + struct.pack(">IB", i, last))
    if frame[2] == 0:
        need(len(chunks) <= 65536 + 16)
        return unpad(gcm_open(key, nonce(0, 1), ad, chunks))
    pieces, at = [], 0
    while at < len(chunks):
        length = int.from_bytes(chunks[at : at + 3], "big")
        at += 3 + length
        last = at == len(chunks)
        need(16 + (0 if last else 1024) <= length <= 65536 + 16 and at <= len(chunks))
        pieces.append(gcm_open(key, nonce(len(pieces), last), ad, chunks[at - length : at]))
    return unpad(b"".join(pieces))


def check_messages():
    for name, v in load("messages").items():
        call, result = v["call"], v["result"]
        header, result_header = bytes.fromhex(call["header"]), bytes.fromhex(result["header"])
        number = v["number"]
        for secret, label in (("clientToServer", b"c2s"), ("serverToClient", b"s2c")):
            stepped = bytes.fromhex(v["firstEpoch"][secret])
            for _ in range(v["epoch"]):
                stepped = mac(stepped, b"sealwire next", label)
            same(f"{name}: epoch", v[secret], stepped)
        low = bytes([v["epoch"] & 255])
        same("call header", call["header"][:56], b"\x11\1\0" + low + bytes.fromhex(v["sessionId"]) + struct.pack(">II", number["lane"], number["counter"]))
        same("result header", result["header"][:8], b"\x12\1\0" + low)
        for message, label, secret, ad in ((call, b"call", "clientToServer", header), (result, b"result", "serverToClient", result_header + header)):
            key, mask = aead_key(expand(bytes.fromhex(v[secret]), label + ad), v["keySize"])
            nonce = xor(mask, bytes(11) + b"\1")
            plaintext = pad(bytes.fromhex(message["payload"]))
            for what, value in (("key", key), ("nonce", nonce), ("plaintext", plaintext)):
                same(f"{name}: {what}", message[what], value)
            same(f"{name}: frame", message["frame"], bytes.fromhex(message["header"]) + gcm_seal(key, nonce, ad, plaintext))

    v = load("message-chunked")
    header = bytes.fromhex(v["call"]["header"])
    for label, secret, ad in (("call", "clientToServer", header), ("result", "serverToClient", bytes.fromhex(v["result"]["header"]) + header)):
        m = v[label]
        key, mask = aead_key(expand(bytes.fromhex(v[secret]), label.encode() + ad), v["keySize"])
        same("key", m["key"], key)
        padded = pad(bytes(i % 251 for i in range(m["bodyLength"])))
        same("padded length", m["paddedLength"], len(padded))
        frame, chunks = bytes.fromhex(m["header"]), [padded[i : i + 65536] for i in range(0, len(padded), 65536)]
        same("chunks", len(m["chunks"]), len(chunks))
        for i, (chunk, given) in enumerate(zip(chunks, m["chunks"])):
            nonce = xor(mask, bytes(7) + struct.pack(">IB", i, i == len(chunks) - 1))
            same("nonce", given["nonce"], nonce)
            sealed = gcm_seal(key, nonce, ad, chunk)
            frame += struct.pack(">I", len(sealed))[1:] + sealed
        same(f"chunked {label}", m["frame"], frame)


def check_small():
    for direction, label in (("clientToServer", b"c2s"), ("serverToClient", b"s2c")):
        chain = [bytes.fromhex(secret) for secret in load("epochs")[direction]]
        for before, after in zip(chain, chain[1:]):
            same("epoch", after.hex(), mac(before, b"sealwire next", label))

    v = load("renewal")
    proofs = [[mac(bytes.fromhex(old["key"]), role, bytes.fromhex(v[h]))[:16] for role, h in ((b"prove", "h"), (b"answer", "hBeforeSealed4"))]
              for old in v["renewals"]]
    for old, (prove, answer) in zip(v["renewals"], proofs):
        same("proof", old["proof"], prove)
        same("proof of the answer", old["answerProof"], answer)
    same("renewals", v["block"], encode_renewals(v["renewals"], lambda key: mac(key, b"prove", bytes.fromhex(v["h"]))[:16]))
    same("answers", v["answerBlock"], bytes([len(proofs)]) + b"".join(answer + encode_answers(given) for (_, answer), given in zip(proofs, v["answers"])))

    v = load("call-identity")
    digest = sha256(bytes.fromhex(v["firstCallsDigest"]["frame"]))[:16]
    same("digest", v["firstCallsDigest"]["digest"], digest)
    for counter, call in enumerate(v["firstCalls"]):
        same("first calls", [0, counter, digest.hex()], [call["lane"], call["counter"], call["digest"]])
    for call in [*v["firstCalls"], *v["calls"]]:
        number = struct.pack(">II", call["lane"], call["counter"])
        named = number + bytes.fromhex(call["digest"]) + struct.pack(">I", call["index"])
        same("call identity", call["identity"], mac(bytes.fromhex(call["key"]), b"sealwire call", named)[:16])

    for length, padded in load("padding")["paddedLength"].items():
        same(f"padding of {length}", padded, len(pad(bytes(int(length)))))

    v = load("key-texts")
    for kind, fields in ((k, f) for k, f in v.items() if k != "serverKeyId"):
        raw = b"".join(bytes.fromhex(value) for name, value in fields.items() if name != "text")
        same(kind, fields["text"], key_text(kind, raw))


# ---- section 2 ----
def key_text(kind, raw):
    text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return f"{kind}.{text}.{zlib.crc32(kind.encode() + raw):08x}"


def parse_key_text(kind, text):
    parts = text.strip().split(".")
    need(len(parts) == 3 and re.fullmatch("[A-Za-z0-9_-]+", parts[1]))
    raw = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)) if len(parts[1]) % 4 != 1 else b""
    need(len(raw) == {"swk1": 40, "swe1": 36}.get(kind, 32) and key_text(kind, raw) == text.strip())


# ---- blocks of sections 3.3, 3.4, 3.5 and 4.3 ----
def decode_server_options(o):
    need(len(o) == 64 and o[0] < 8 and o[1] in (16, 32) and o[2:4] == b"\0\1" and o[4] < 5)
    need(not any(o[5 + 4 * o[4] : 21]) and not any(o[51:]) and max(int.from_bytes(o[a : a + 8], "big") for a in (33, 41)) < 2**53)


class Reader:
    def __init__(self, data):
        self.data, self.total = data, 0

    def take(self, n):
        need(n <= len(self.data))
        out, self.data = self.data[:n], self.data[n:]
        return out

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def old(self):
        count = self.number(1)
        need(count <= 4)
        return range(count)

    def counted(self):
        count = self.number(2)
        self.total += count
        need(self.total <= 256)
        return range(count)

    def answers(self):
        for _ in self.counted():
            known = self.number(1)
            need(known < 5)
            if known == 3:
                self.take(self.number(4))


def whole(read):
    def decode(data):
        reader = Reader(data)
        read(reader)
        need(not reader.data)
    return decode


@whole
def decode_renewals(r):
    for _ in r.old():
        r.take(32)
        for _ in r.counted():
            r.take(24)


@whole
def decode_renewal_answers(r):
    for _ in r.old():
        r.take(16)
        r.answers()


@whole
def decode_first_calls(r):
    for _ in r.counted():
        r.take(r.number(4))


def check_refused():
    v = load("refused")
    decoders = {
        "keyTexts": lambda text: parse_key_text(v["keyTexts"]["kind"], text),
        "padding": unpad, "serverOptions": decode_server_options, "renewals": decode_renewals,
        "renewalAnswers": decode_renewal_answers, "firstCalls": decode_first_calls, "firstAnswers": whole(Reader.answers),
        "messages": lambda frame: open_message("call", bytes.fromhex(v["messages"]["clientToServer"]), v["messages"]["keySize"], frame),
    }
    same("kinds of refusals", sorted(decoders), sorted(v))
    for kind, decode in decoders.items():
        for expected in ("taken", "refused"):
            for name, value in v[kind][expected].items():
                try:
                    decode(value if kind == "keyTexts" else bytes.fromhex(value))
                    outcome = "taken"
                except Refused:
                    outcome = "refused"
                same(f"{kind}: {name}", expected, outcome)


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


def arrays(levels, value):
    return [arrays(levels - 1, value)] if levels else value


def check_payloads():
    v = load("payloads")
    item = lambda text: cbor(bytes.fromhex(text))
    big = lambda n, tag=2: ("tag", tag, n.to_bytes((n.bit_length() + 7) // 8, "big"))
    expected = {
        "undefined": "undefined", "null": None, "true": True, "0": 0, "-1": -1, "9007199254740991": 2**53 - 1, "1.5": 1.5,
        "-0": -0.0, "Infinity": math.inf, "9007199254740993n": big(2**53 + 1), "0n": big(0), "-256n": big(255, 3), '"é"': "é",
        "Uint8Array [1, 2, 3]": b"\1\2\3", "[1, [2], {}]": [1, [2], {}], "{ b: 1, a: 2 }": {"b": 1, "a": 2},
        'new Date("2024-02-29T12:00:00Z")': ("tag", 1, 1709208000), "new Date(1500)": ("tag", 1, 1.5),
        'new Map([[1, "one"]])': ("tag", 259, {1: "one"}), 'new Set(["a", "b"])': ("tag", 258, ["a", "b"]),
        "{} in 31 arrays": arrays(31, {}), "1.5 in 32 arrays": arrays(32, 1.5),
        "new Date(0) in 31 arrays": arrays(31, ("tag", 1, 0)), "18446744073709551616n in 31 arrays": arrays(31, big(2**64)),
        "new Set() in 30 arrays": arrays(30, ("tag", 258, [])), "new Map() in 30 arrays": arrays(30, ("tag", 259, {})),
    }
    same("values", sorted([*expected, "NaN"]), sorted(v["values"]))
    for name, value in expected.items():
        same(name, (value, len(v["values"][name]) // 2), item(v["values"][name]))
    same("NaN", True, math.isnan(item(v["values"]["NaN"])[0]))
    resend = [bytes.fromhex(v["resend"][key]) for key in ("callId", "incarnation")]
    same("calls", [[["balance", ["alice"]]], [["balance", ["alice"], ("tag", 259, dict(enumerate(resend)))]], [["$stop", [bytes.fromhex(v["run"]), 0, 2]]]], [item(text)[0] for text in v["calls"].values()])
    same("replies", [
        [0, [0, big(1250)]], [0, [1, "not_found", "No such account."]], [0, [1, "conflict", "Taken.", {"status": 409}]],
        [1, "running"], [2, b"\x12\1"], [1, "lane_moved", 1700000060, "never_ran", resend[1]],
    ], [item(text)[0] for text in v["replies"].values()])


# ---- section 8 ----
def open_live(label, secret, key_size, header, call_header, chunks):
    size, first = (36, 0x11) if label == b"call" else (12, 0x12)
    need(len(header) == size and header[:3] == bytes([first, 1, 3]))
    ad, bodies, at, last, most = header + call_header, [], 0, False, 65536
    key, mask = aead_key(expand(secret, label + ad), key_size)
    while at < len(chunks):
        need(not last and at + 3 <= len(chunks))
        head = int.from_bytes(chunks[at : at + 3], "big")
        length, last, at = head & 0x7FFFFF, head >> 23, at + 3 + (head & 0x7FFFFF)
        need(80 <= length <= most + 16 and at <= len(chunks))
        most = max(most, min(262144, 2 * (length - 16)))
        nonce = xor(mask, bytes(7) + struct.pack(">IB", len(bodies), last))
        bodies.append(unpad(gcm_open(key, nonce, ad, chunks[at - length : at])))
    need(last)
    return bodies


def encode_unit(kind, stream, data):
    return struct.pack(">BHI", kind, stream, len(data)) + data


def references(value):
    if isinstance(value, tuple) and value[1] == 27:
        yield value[2]
    else:
        inside = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value[2]] if isinstance(value, tuple) else []
        for item in inside:
            yield from references(item)


INFO = {"resumable": {"items", "bytes", "file"}, "version": {"bytes", "file"}, "offset": {"bytes", "file"},
        "name": {"file"}, "type": {"file"}, "size": {"file"}, "modified": {"file"}}


def announce(streams, value):
    for kind, k, *info in references(value):
        info = info[0] if info else {}
        need(isinstance(info, dict) and kind in ("items", "bytes", "file") and 0 <= k < 65536 and k not in streams)
        need(all(name in INFO and kind in INFO[name] for name in info) and (kind != "file" or {"name", "type"} <= set(info)))
        streams[k] = [kind, info.get("offset", 0), info.get("size")]


def read_live_call(body, limit):
    """The units of a call, whose streams are announced in its payload and end once."""
    streams, first = {}, True
    while body:
        need(len(body) >= 7)
        kind, stream, length = struct.unpack(">BHI", body[:7])
        data, body = body[7 : 7 + length], body[7 + length :]
        need(len(data) == length <= (262144 if kind == 2 else limit) and (length > 0) == (kind not in (4, 7)) and (kind == 0) == first)
        need(kind in (0, 2, 3, 4, 5, 7) and (stream == 0 or kind not in (0, 7)))
        if first:
            announce(streams, cbor(data)[0])
        elif kind != 7:
            need(stream in streams and kind != (2 if streams[stream][0] == "items" else 3))
            _, at, size = streams[stream]
            at = streams[stream][1] = at + (length if kind == 2 else 0)
            need(size is None or at <= size and (kind != 4 or at == size))
            if kind in (4, 5):
                del streams[stream]
        first = False
    need(not first and not streams)


def read_live_result(body, limit, calls):
    """The units of a result: its run, outcomes that announce streams, and what the streams bring; or a status."""
    streams, known, settled, first, ended = {}, set(), set(), True, False
    while body:
        need(not ended and len(body) >= 7)
        kind, stream, length = struct.unpack(">BHI", body[:7])
        data, body = body[7 : 7 + length], body[7 + length :]
        need(len(data) == length <= (262144 if kind == 2 else limit) and (length > 0) == (kind not in (4, 7)) and (kind == 9) == first)
        need(1 <= kind <= 9 and (stream == 0 or kind not in (7, 8, 9)) and (kind != 9 or length == 16))
        if kind in (1, 6):
            need(stream < calls and stream not in settled)
        if kind == 1:
            settled.add(stream)
            found = {}
            announce(found, cbor(data)[0])
            need(not known & set(found))
            known |= set(found)
            streams.update(found)
        elif kind == 8:
            need(cbor(data)[0] in ([1, "session_ended"], [1, "busy"]))
            ended = True
        elif kind in (2, 3, 4, 5):
            need(stream in streams and kind != (2 if streams[stream][0] == "items" else 3))
            if kind in (4, 5):
                del streams[stream]
        first = False
    need(not first and (ended or len(settled) == calls and not streams))


def complete(text):
    """The items of a sequence that stands whole in an ordinary result of one call."""
    (_, (_, value)) = cbor(bytes.fromhex(text))[0]
    tag, parts = value[1:]
    need(tag == 27)
    need(isinstance(parts, list) and len(parts) == 2 and parts[0] == "items" and isinstance(parts[1], list))
    need(all(isinstance(item, bytes) and item for item in parts[1]))
    return parts[1]


def check_live():
    v = load("live")
    for label, secret in ((b"result", "serverToClient"), (b"call", "clientToServer")):
        m = v[label.decode()]
        header, call_header = bytes.fromhex(m["header"]), bytes.fromhex(m.get("callHeader", ""))
        key, mask = aead_key(expand(bytes.fromhex(m[secret]), label + header + call_header), m["keySize"])
        frame, bodies = header, []
        for i, piece in enumerate(m["pieces"]):
            last = i == len(m["pieces"]) - 1
            bodies.append(b"".join(encode_unit(u["kind"], u["stream"], bytes.fromhex(u["bytes"])) for u in piece["units"]))
            nonce = xor(mask, bytes(7) + struct.pack(">IB", i, last))
            sealed = gcm_seal(key, nonce, header + call_header, pad(bodies[-1]))
            for what, value in (("key", key), ("nonce", nonce), ("plaintext", pad(bodies[-1])), ("sealed", sealed)):
                same(f"live {label.decode()}: {what}", piece[what], value)
            frame += (len(sealed) | last << 23).to_bytes(3, "big") + sealed
            if i == 0:
                same("live digest", m["digest"], sha256(frame)[:16])
        same(f"live {label.decode()}", m["frame"], frame)
        opened = open_live(label, bytes.fromhex(m[secret]), m["keySize"], header, call_header, frame[len(header) :])
        same("live bodies", [body.hex() for body in bodies], [body.hex() for body in opened])
    read_live_call(b"".join(bodies), 1000)
    units = [(u["kind"], u["stream"], bytes.fromhex(u["bytes"])) for p in v["result"]["pieces"] for u in p["units"]]
    same("kinds", [9, 6, 1, 3, 2, 7, 4, 5, 1, 3, 4], [kind for kind, _, _ in units])
    values = [cbor(data)[0] for kind, _, data in units if kind in (1, 3, 5, 6)]
    same("values", [
        "half", [0, {"items": ("tag", 27, ["items", 0]), "bytes": ("tag", 27, ["bytes", 1, {"version": "v1", "offset": 100}])}],
        ("tag", 2, b"\4\xe2"), ["late", "Too late.", {"status": 504}], [0, ("tag", 27, ["items", 2, {"resumable": True}])], ["a", {"cents": 5}],
    ], values)
    same("status", [1, "session_ended"], cbor(bytes.fromhex(v["status"]))[0])
    same("complete", [("tag", 2, b"\4\xe2"), {"cents": 5}], [cbor(item)[0] for item in complete(v["complete"])])
    run, resend = units[0][2], load("payloads")["resend"]
    again = {0: bytes.fromhex(resend["callId"]), 1: bytes.fromhex(resend["incarnation"])}
    same("options", [again, {2: [run, 7]}, {2: [run, 103, "v1"]}, {3: 500, 4: {"authorization": "Bearer x"}}],
         [cbor(bytes.fromhex(text))[0][0][2][2] for text in v["options"].values()])

    v = load("live-refused")
    for expected in ("taken", "refused"):
        for name, text in v[expected].items():
            frame = bytes.fromhex(text)
            try:
                bodies = open_live(b"call", bytes.fromhex(v["clientToServer"]), v["keySize"], frame[:36], b"", frame[36:])
                read_live_call(b"".join(bodies), v["unitLimit"])
                outcome = "taken"
            except Refused:
                outcome = "refused"
            same(f"live: {name}", expected, outcome)
        for name, text in v["results"][expected].items():
            try:
                read_live_result(bytes.fromhex(text), v["unitLimit"], v["results"]["calls"])
                outcome = "taken"
            except Refused:
                outcome = "refused"
            same(f"live result: {name}", expected, outcome)
        for name, text in v["ordinary"][expected].items():
            try:
                complete(text)
                outcome = "taken"
            except Refused:
                outcome = "refused"
            same(f"ordinary: {name}", expected, outcome)


for path in sorted(HERE.glob("handshake-*.json")):
    check_handshake(path.stem)
check_messages()
check_live()
check_small()
check_payloads()
check_refused()
print(f"{checks} values agree")
