/** What is used of a MessageChannel: browsers and Node type it differently. */
interface Channel {
  readonly port1: { onmessage: unknown; close(): void };
  readonly port2: { postMessage(message: unknown): void };
}

/** Lets the page draw and answer before it goes on. Unlike `setTimeout` it is not delayed when it is asked for often. */
export function oneTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel() as unknown as Channel;
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
