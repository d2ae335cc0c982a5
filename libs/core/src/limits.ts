/** Every limit of the protocol (PROTOCOL.md appendix B.1). Bytes unless another unit is named. */
export const LIMITS = {
  /** plaintext of one chunk */
  chunk: 65_536,
  /** plaintext of a chunk that is not the last one, at least */
  minimumChunk: 1_024,
  chunksPerMessage: 2 ** 22,
  /** plaintext of one piece of a live message: of the first one `chunk`, then twice that of the longest before it, at most this */
  piece: 262_144,
  /** what the first piece holds, and the longest: without the length of its padding */
  firstPieceBody: 65_532,
  pieceBody: 262_140,
  /** bytes of a stream in one unit of a live message */
  dataUnit: 262_144,
  /** bytes a millisecond: what comes of a piece that has not opened puts off a cut by the time that it takes at this pace */
  trickle: 1,
  /** streams of one live message */
  streams: 256,
  /** items and bytes of the streams of one message that wait for their consumers */
  streamItems: 1_024,
  streamBytes: 1_048_576,
  /** as many times of that, while the consumer of another one of these streams waits itself */
  streamsAhead: 16,
  /** characters of the name, type and version of a stream */
  streamText: 1_024,
  /** names and values under the seal of one call: how many, and their characters */
  metadata: 64,
  metadataName: 128,
  metadataValue: 8_192,
  /** milliseconds */
  deadline: 2 ** 31 - 1,
  /** padded payload of the first calls inside step 3 */
  firstCalls: 1_048_576,
  /** what a client fills of it, so that a server of a low body limit takes its step 3 */
  firstCallsSent: 65_536,
  /** a body that every server takes */
  body: 131_072,
  /** steps 1 to 4 without their first calls and results */
  handshakeFrame: 8_192,
  /** sealed results inside step 4, all together */
  finishAnswerResults: 1_048_576,
  /** what a client reads of an answer that is no frame */
  nonFrame: 4_096,
  /** old sessions named in one step 3, and call numbers named for all of them together */
  renewals: 4,
  renewalNumbers: 256,
  callsInFlight: 256,
  /** calls in one batch */
  batch: 256,
  /** characters */
  functionName: 128,
  /** nested arrays, maps and tags of a payload */
  cborDepth: 32,
  /** items of a payload: every value, key and tag is one */
  payloadItems: 131_072,
  /** keys of one map, or items of one set, that an engine may hash without a secret: numbers, bigints, texts of 1 to 10 digits */
  numericKeys: 1_024,
  /** characters of a property name, and of a text that is a key of a map or an item of a set; V8 hashes longer ones by their length alone */
  keyText: 16_383,
  /** call numbers behind the highest one that are still told apart */
  replayWindow: 4_096,
  /** how far one call number may run ahead of the highest accepted one */
  forwardJump: 2 ** 20,
  /** the highest counter of a lane */
  counter: 2 ** 32 - 2,
  callsPerEpoch: 2 ** 20,
  bytesPerEpoch: 2 ** 36,
  /** seconds */
  epochSeconds: 900,
  epochGraceSeconds: 120,
  cookieSeconds: 60,
  cookieSkewSeconds: 5,
  sessionSeconds: 43_200,
} as const;

/** Sizes of the fields that are not derived from others (PROTOCOL.md appendix A.1). */
export const SIZE = {
  key: 32,
  randomKey: 32,
  nonceNumber: 16,
  sessionId: 16,
  keyId: 8,
  serverKeyId: 4,
  options: 64,
  tag: 16,
  nonce: 12,
  salt: 8,
  incarnation: 8,
  digest: 16,
  proof: 16,
  callId: 16,
  encapsulationKey: 1_184,
  kemCiphertext: 1_088,
  kemSeed: 64,
  cookie: 228,
  terms: 20,
  runId: 16,
  callHeader: 36,
  resultHeader: 12,
  /** kind, stream, length */
  unitHead: 7,
} as const;
