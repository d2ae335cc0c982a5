/** Loses the connection behind so many bytes. */
export function cutAt(bytes: number): TransformStream<Uint8Array, Uint8Array> {
  let came = 0;
  return new TransformStream({
    transform(piece, controller) {
      came += piece.length;
      controller.enqueue(came > bytes ? piece.subarray(0, -1_000) : piece);
      if (came > bytes) controller.error(new TypeError('connection lost'));
    },
  });
}
