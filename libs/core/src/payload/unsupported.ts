import { SealwireError } from '../errors.js';

/** Thrown inside the encoder, without the cost of a stack; each container on the way out adds where it stood. */
export class Unsendable {
  /** outermost first: a container and the step into it */
  readonly steps: { readonly holder: object; readonly step: string }[] = [];

  constructor(
    readonly reason: string,
    readonly cause?: unknown,
  ) {}

  /** What was thrown below a step; anything else than an Unsendable came from a getter, a toJSON() or an iterator. */
  static below(thrown: unknown, holder: object, step: string): Unsendable {
    const failure = Unsendable.of(thrown);
    failure.steps.unshift({ holder, step });
    return failure;
  }

  static of(thrown: unknown): Unsendable {
    if (thrown instanceof Unsendable) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new Unsendable(`reading it threw "${message}"`, thrown);
  }
}

/**
 * A value that no payload can hold. Its code is `unsupported_value`.
 *
 * @example
 * try {
 *   encodeCalls([{ name: 'save', args: [{ lines: [() => 1] }] }]);
 * } catch (error) {
 *   if (error instanceof UnsupportedValueError) console.log(error.path, error.reason); // .lines[0] a function
 * }
 */
export class UnsupportedValueError extends SealwireError {
  /**
   * Where it stands in the value: `.lines[3]`, `.rates.get("EUR")`, `.keys[0]` for the first key of a Map, `.items[0]` for
   * the first item of a Set; empty for the value itself.
   */
  readonly path: string;
  /** such as `a function` */
  readonly reason: string;

  constructor(
    subject: string,
    thrown: unknown,
    /** index of the call in its batch */
    readonly call?: number,
    /** index of the argument in the call */
    readonly argument?: number,
  ) {
    const failure = Unsendable.of(thrown);
    const cycle = failure.steps.findIndex(({ holder }, i) =>
      failure.steps.slice(0, i).some((s) => s.holder === holder),
    );
    const reason = cycle < 0 ? failure.reason : 'a reference to what holds it';
    const path = (cycle < 0 ? failure.steps : failure.steps.slice(0, cycle)).map(({ step }) => step).join('');
    super('unsupported_value', `${subject}${path && `, at \`${path}\`,`} cannot be sent: ${reason}.`, {
      cause: failure.cause,
    });
    this.path = path;
    this.reason = reason;
  }
}

/** The step into a property. */
export function property(name: string): string {
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name) && name.length <= 40 ? `.${name}` : `[${quoted(name)}]`;
}

/** The step to what a Map holds under a key. */
export function entry(key: unknown, index: number): string {
  if (typeof key === 'string') return `.get(${quoted(key)})`;
  return typeof key === 'number' || typeof key === 'boolean' ? `.get(${key})` : `.values[${index}]`;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);
}
