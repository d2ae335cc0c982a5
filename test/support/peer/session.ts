import type { KeySize, Reply, SessionSecrets } from '@sealwire/core';

/** A number that ran or runs. */
export interface Accepted {
  readonly digest: string;
  /** the result frame, sealed once */
  readonly frame: Promise<Uint8Array>;
  done: Uint8Array | undefined;
}

export interface PeerSession {
  readonly id: Uint8Array;
  readonly keySize: KeySize;
  readonly firstKey: Uint8Array;
  readonly firstResults: Uint8Array;
  secrets: SessionSecrets | undefined;
  lane: number;
  incarnation: Uint8Array;
  epoch: number;
  epochs: { clientToServer: Uint8Array; serverToClient: Uint8Array }[];
  ended: boolean;
  readonly accepted: Map<string, Accepted>;
  /** seals a result for a number whose frame was seen */
  readonly seals: Map<string, (reply: Reply) => Uint8Array>;
}

export interface PeerRun {
  readonly name: string;
  readonly args: readonly unknown[];
  /** identity of the call */
  readonly callId: string;
}
