type Turn = (task: () => void) => unknown;

/**
 * Runs a task after what the event loop has to do now: a page draws and other work goes on between two pieces. Unlike `setTimeout`
 * it is not delayed if it is asked for often.
 *
 * @example
 * await new Promise<void>((resolve) => nextTurn(resolve));
 */
export const nextTurn: Turn = (task) => {
  turn ??= (globalThis as { setImmediate?: Turn }).setImmediate ?? messageTurn();
  turn(task);
};

let turn: Turn | undefined;

/** In browsers a timer would wait for 4 ms. */
function messageTurn(): Turn {
  const { port1, port2 } = new MessageChannel();
  const tasks: (() => void)[] = [];
  (port1 as unknown as { onmessage: () => void }).onmessage = () => tasks.shift()?.();
  return (task) => {
    tasks.push(task);
    port2.postMessage(0);
  };
}
