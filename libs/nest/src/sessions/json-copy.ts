/** Deeper than anything sensible, and an end for what contains itself. */
const DEPTH = 100;

/**
 * A value that cannot be kept with a session, for it would come back as something else.
 *
 * @example
 * @RemoteFunctions('notes')
 * export class NotesController {
 *   @RemoteFunction()
 *   async remember(value: unknown, @RemoteSession() session: Injected<RemoteSession>): Promise<void> {
 *     try {
 *       await session.set('note', value);
 *     } catch (error) {
 *       if (error instanceof SessionValueError) throw new RemoteFunctionError('not_json', error.message);
 *       throw error;
 *     }
 *   }
 * }
 */
export class SessionValueError extends TypeError {
  override readonly name = 'SessionValueError';

  constructor(
    /** of `set` */
    readonly key: string,
    problem: string,
  ) {
    super(`Session data is JSON: ${JSON.stringify(key)} ${problem}.`);
  }
}

/**
 * A copy that any store gives back as it is. JSON.stringify would turn much into something else without a word, and
 * PostgreSQL takes no NUL and no lone surrogate.
 * @throws SessionValueError that names `key`
 */
export function jsonCopy<T>(value: T, key: string): T {
  return copy(value, key, 0) as T;
}

function copy(value: unknown, key: string, depth: number): unknown {
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value === 'string') return text(value, key);
  // -0 becomes 0, as it does in JSON
  if (typeof value === 'number' && Number.isFinite(value)) return value + 0;
  if (depth > DEPTH) throw new SessionValueError(key, 'is nested too deeply or contains itself');
  if (Array.isArray(value)) return Array.from(value, (item) => copy(item, key, depth + 1));
  if (!isPlain(value)) throw new SessionValueError(key, `holds ${nameOf(value)}`);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [text(name, key), copy(item, key, depth + 1)]));
}

function text(value: string, key: string): string {
  if (value.includes('\0')) throw new SessionValueError(key, 'holds a NUL character');
  if (/\p{Surrogate}/u.test(value)) throw new SessionValueError(key, 'holds half of a surrogate pair');
  return value;
}

function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  // of whatever realm: the prototype is the end of the chain
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function nameOf(value: unknown): string {
  if (typeof value === 'object') return `an object of class ${value?.constructor.name}`;
  return typeof value === 'number' ? String(value) : typeof value;
}
