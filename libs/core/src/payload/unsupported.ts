import { SealwireError } from '../errors.js';

/** Thrown inside the encoder, without the cost of a stack; each container on the way out adds where it stood. */
export class Unsendable {
  /** outermost first: a container, and the name or index of what is in it */
  readonly steps: { readonly holder: object; readonly place: string | number }[] = [];

  constructor(
    readonly reason: string,
    readonly cause?: unknown,
  ) {}

  /** Anything else than an Unsendable came from a getter, a toJSON() or an iterator. */
  static of(thrown: unknown): Unsendable {
    if (thrown instanceof Unsendable) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new Unsendable(`reading it threw "${message}"`, thrown);
  }

  static below(thrown: unknown, holder: object, place: string | number): Unsendable {
    const failure = Unsendable.of(thrown);
    failure.steps.unshift({ holder, place });
    return failure;
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
    const { steps, reason, cause } = Unsendable.of(thrown);
    const cycle = steps.findIndex(({ holder }, i) => steps.slice(0, i).some((outer) => outer.holder === holder));
    const path = (cycle < 0 ? steps : steps.slice(0, cycle)).map(step).join('');
    const why = cycle < 0 ? reason : 'a reference to what holds it';
    super('unsupported_value', `${subject}${path && `, at \`${path}\`,`} cannot be sent: ${why}.`, { cause });
    this.path = path;
    this.reason = why;
  }
}

/** A Map counts its keys and values in one row. */
function step({ holder, place }: Unsendable['steps'][number]): string {
  if (typeof place === 'string')
    return /^[\p{ID_Start}$_][\p{ID_Continue}$]{0,39}$/u.test(place) ? `.${place}` : `[${quoted(place)}]`;
  if (holder instanceof Set) return `.items[${place}]`;
  if (!(holder instanceof Map)) return `[${place}]`;
  const index = Math.floor(place / 2);
  if (place % 2 === 0) return `.keys[${index}]`;
  const key: unknown = [...holder.keys()][index];
  if (typeof key === 'string') return `.get(${quoted(key)})`;
  return typeof key === 'number' || typeof key === 'boolean' ? `.get(${key})` : `.values[${index}]`;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);
}
