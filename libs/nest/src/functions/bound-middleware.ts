import { misconfigured } from '../option-checks.js';
import type { Binding } from '../quirks/middleware.js';
import { trimmed } from '../quirks/nest.js';

/** Of messages with remote calls. */
export interface MessagePath {
  /** as `configure()` of a module names it */
  readonly named: string;
  /** where the platform serves it, below the global prefix */
  readonly served: string;
}

/**
 * Middleware that is bound to a controller class runs for its routes. Remote functions come in messages of one route of their own, for which
 * it does not run: what protects the class would leave them open, without a word.
 *
 * Middleware that is bound to paths runs for these, as it says.
 *
 * @param path of messages with calls of the function
 * @throws SealwireError `bad_configuration`
 */
export function refuseBypass(bindings: readonly Binding[], type: { name: string }, origin: string, path: MessagePath) {
  const runs = bindings.filter((it) => it.paths.some((bound) => covers(bound, path.served)) && !excludes(it, path));
  const passedBy = bindings
    .filter((it) => it.routes.some((route) => route === type) && !excludes(it, path))
    .flatMap(({ middleware }) => middleware)
    .find((middleware) => !runs.some((it) => it.middleware.includes(middleware)));
  if (!passedBy) return;
  throw misconfigured(
    `${passedBy.name || 'A middleware'} of ${type.name} would not run for ${origin}; use a guard, or bind it to the path of remote functions too, ` +
      `forRoutes(${type.name}, '${path.named}'), or let them do without it, exclude('${path.named}').`,
  );
}

function excludes({ excluded }: Binding, { named, served }: MessagePath): boolean {
  return excluded.some((path) => covers(path, named) || covers(path, served));
}

/** The rest of a path, as Express and Fastify, path-to-regexp and Nest 11 write it. */
const REST = /^(\*\w*|\{\*\w+\}|\(\.\*\))$/;

/** Whether a path with parameters and a wildcard is certain to match another, on each platform. */
function covers(pattern: string, path: string): boolean {
  const segments = split(pattern.replace(/\{\/(\*\w+)\}$/, '/$1'));
  const wanted = split(path);
  const last = segments.length - 1;
  const rest = REST.test(segments[last] ?? '');
  if (rest ? wanted.length <= last : wanted.length !== segments.length) return false;
  return segments.every((it, i) => (rest && i === last) || it === wanted[i] || /^:\w+$/.test(it));
}

function split(path: string): string[] {
  return trimmed(path).split('/');
}
