/** One sending of a call that is to run exactly once. */
export interface ExactlyOnceCall {
  readonly module: string;
  /** that sent it, its id in hexadecimal; undefined for a plain call. Sessions take turns */
  readonly session: string | undefined;
  /** 16 bytes (PROTOCOL.md section 6.4) */
  readonly callId: Uint8Array;
  /** the incarnation that a resend names, undefined for a first sending */
  readonly claimed: Uint8Array | undefined;
  /** of the function */
  readonly name: string;
  /** SHA-256 of the encoded `[name, args]`, 32 bytes */
  readonly digest: Uint8Array;
}

/**
 * Runs a call in a transaction with its outcome, under (module, call identity), so that it happens exactly once however often
 * it is sent. Only a store with transactions offers it.
 *
 * @example
 * import { ExactlyOnce, type ExactlyOnceCall } from '@sealwire/nest/ports';
 *
 * type Run = Parameters<ExactlyOnce['run']>[1];
 *
 * export class TracedExactlyOnce extends ExactlyOnce {
 *   constructor(private readonly inner: ExactlyOnce) {
 *     super();
 *   }
 *
 *   async run(call: ExactlyOnceCall, run: Run): Promise<Uint8Array> {
 *     console.log(`${call.name} of ${call.module}`);
 *     return this.inner.run(call, run);
 *   }
 * }
 */
export abstract class ExactlyOnce {
  /**
   * @param run gets the transaction's handle (an EntityManager with TypeORM) and answers the encoded outcome; what it throws
   *   rolls everything back and stores nothing; after a deadlock or a failed serialization it is run again. `thrown` is what the
   *   function threw and a filter answered: an error by which the database ended the transaction counts as if `run` had thrown it
   * @returns the encoded outcome, the stored one if the identity already has it
   * @throws SealwireError `outcome_unknown` if `claimed` is another incarnation, `number_conflict` if the identity is
   *   another function's or of other arguments, `busy` if the transaction may not have been committed
   */
  abstract run(
    call: ExactlyOnceCall,
    run: (
      transaction: unknown,
    ) => Promise<{ readonly outcome: Uint8Array; readonly rollback: boolean; readonly thrown?: unknown }>,
  ): Promise<Uint8Array>;
}
