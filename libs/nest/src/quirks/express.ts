/*
 * All that is used of Express 5 and of Nest's adapter for it beneath their documented API; test/express.spec.ts holds what is assumed here
 * against those that are installed.
 */
import { tracingChannel } from 'node:diagnostics_channel';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { HttpServer } from '@nestjs/common';

type Handler = (...args: never[]) => unknown;

interface Route {
  readonly stack: readonly { readonly handle: Handler }[];
  _handlesMethod(method: string): boolean;
}

interface Layer {
  readonly route?: Route;
  readonly handle: Handler;
  match(path: string): unknown;
}

interface Express {
  (request: IncomingMessage, response: ServerResponse): void;
  readonly request: object;
  readonly router: { readonly stack: readonly Layer[]; readonly params: object };
  enabled(setting: string): boolean;
}

interface Adapter {
  readonly onRequestHook?: unknown;
  readonly onResponseHook?: unknown;
  getInstance(): Express;
  getHttpServer(): Server;
  registerParserMiddleware(): void;
}

/** Its tracing is for whoever subscribes; a request that passes no router would be missing in it. */
const TRACING = tracingChannel('express.router.request') as { readonly hasSubscribers?: boolean };

/** An Express application with the route of the door, and what stands in front of that route. */
export class ExpressFront {
  private readonly app: Express;
  private readonly harmless: ReadonlySet<string>;
  /** how many layers there were when `clear` was found out */
  private known = -1;
  private readonly clear = new Map<string, Route | undefined>();

  /** Undefined for an adapter that is not Nest's own, or a server that somebody else listens to as well. */
  static of(http: HttpServer, door: Handler): ExpressFront | undefined {
    const adapter = http as unknown as Adapter;
    const { constructor: type } = Object.getPrototypeOf(adapter);
    const [listener, ...others] = adapter.getHttpServer()?.listeners('request') ?? [];
    const alone = listener === adapter.getInstance() && others.length === 0;
    return type.name === 'ExpressAdapter' && alone ? new ExpressFront(adapter, door, type) : undefined;
  }

  private constructor(
    private readonly adapter: Adapter,
    private readonly door: Handler,
    type: new (app: object) => Adapter,
  ) {
    this.app = adapter.getInstance();
    this.harmless = harmlessIn(type);
  }

  /** @param take answers a request itself, or says no, and Express has it */
  listen(take: (request: IncomingMessage, response: ServerResponse) => boolean): void {
    const server = this.adapter.getHttpServer();
    const { app } = this;
    server.off('request', app);
    server.on('request', (request, response) => {
      if (!take(request, response)) app(request, response);
    });
  }

  /**
   * Whether Express would hand a POST of that path to the door with nothing done to it before: no middleware but body parsers, which
   * leave bodies of a sealed call alone, no route, no hook, nobody who traces.
   * @param path without anything that Express decodes
   */
  isClear(path: string): boolean {
    const { stack, params } = this.app.router;
    // `app.param('module')` adds no layer
    if ('module' in params) return false;
    if (stack.length !== this.known) {
      this.clear.clear();
      this.known = stack.length;
    }
    if (!this.clear.has(path)) this.clear.set(path, this.reach(path));
    return (
      this.clear.get(path) !== undefined &&
      this.adapter.onRequestHook === undefined &&
      this.adapter.onResponseHook === undefined &&
      TRACING.hasSubscribers !== true
    );
  }

  /** Whether answers name what made them. */
  get poweredBy(): boolean {
    return this.app.enabled('x-powered-by');
  }

  /** Makes Node's request what Express would have made of it, for guards and whoever else reads it. */
  dress(request: IncomingMessage, module: string): object {
    Object.setPrototypeOf(request, this.app.request);
    const { url = '' } = request;
    const params = Object.assign(Object.create(null), { module });
    return Object.assign(request, { baseUrl: '', originalUrl: url, params, route: this.clear.get(url) });
  }

  /** The door's route if nothing else comes before it. */
  private reach(path: string): Route | undefined {
    const { stack } = this.app.router;
    let hooked = false;
    for (const { route, handle } of stack.filter((layer) => layer.match(path) !== false)) {
      if (route) {
        if (!route._handlesMethod('POST')) continue;
        return route.stack.some((layer) => layer.handle === this.door) ? route : undefined;
      }
      // of four parameters: for errors only
      if (handle.length > 3) continue;
      if (!this.harmless.has(handle.toString())) return undefined;
      // the hooks of another adapter of the same Express application cannot be seen
      if (handle.name === '' && hooked) return undefined;
      hooked ||= handle.name === '';
    }
    return undefined;
  }
}

/**
 * The texts of what Nest's adapter itself puts in front of all routes: the layer that runs its hooks, and the parsers of JSON and forms.
 * They are told by their text, since each is a new function; what wraps one of them (as tracing does) is another.
 */
function harmlessIn(ExpressAdapter: new (app: object) => Adapter): ReadonlySet<string> {
  const texts = new Set<string>();
  const use = (...handlers: unknown[]) => {
    for (const handler of handlers) if (typeof handler === 'function') texts.add(handler.toString());
  };
  try {
    new ExpressAdapter({ use, router: { stack: [] } }).registerParserMiddleware();
  } catch {
    texts.clear();
  }
  return texts;
}
