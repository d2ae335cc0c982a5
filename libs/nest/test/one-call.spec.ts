import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { IncomingMessage, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { inspect } from 'node:util';
import {
  type CallHandler,
  type CanActivate,
  createParamDecorator,
  type ExecutionContext,
  type INestApplication,
  Inject,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type NestInterceptor,
  type NestMiddleware,
  type NestModule,
  Req,
  Res,
  Scope,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { ContextIdFactory, REQUEST } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { type Call, decodeReply, encodeCalls, type Outcome, type Reply } from '@sealwire/core';
import { type Injected, RemoteFunction, RemoteFunctions, remoteCall, SealwireModule } from '@sealwire/nest';
import { Observable } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RunningCall, requestView } from '../src/functions/index.js';
import { Audience } from '../src/streams/index.js';
import { PeerClient, post, serverKey, serverKeyText, urlOf } from './support.js';

// biome-ignore lint/suspicious/noExplicitAny: what guards of applications write on requests has no type
type Any = any;

/** Lets go when so many calls have come: each has then written before any reads. */
const meeting = { size: 1, come: 0, open: undefined as (() => void) | undefined, all: Promise.resolve() };

function meet(size: number): void {
  Object.assign(meeting, { size, come: 0 });
  meeting.all = new Promise((resolve) => {
    meeting.open = resolve;
  });
}

async function arrive(): Promise<void> {
  meeting.come += 1;
  if (meeting.come === meeting.size) meeting.open?.();
  await meeting.all;
}

const balances: Record<string, number> = {};
const store = new AsyncLocalStorage<string>();
const entered = new AsyncLocalStorage<string>();

const nameOf = (context: ExecutionContext) => String(remoteCall(context)?.args[0]);

/** Loads the account that the first argument names, and leaves it wherever guards leave such things. */
@Injectable()
class AccountGuard implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request: Any = context.switchToHttp().getRequest();
    const response: Any = context.switchToHttp().getResponse();
    const node = request.raw ?? request;
    const name = nameOf(context);
    request.account = name;
    request.headers['x-account'] = name;
    request.params.account = name;
    request.query = { account: name };
    node.context.account = name;
    node.bag.set('account', name);
    node.logIn(name);
    response.locals.account = name;
    response.setHeader('x-account', name);
    await arrive();
    return true;
  }
}

/** Both ways by which libraries put a call's data into an AsyncLocalStorage. */
@Injectable()
class EnteringGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    entered.enterWith(nameOf(context));
    return true;
  }
}

@Injectable()
class RunningInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) => store.run(nameOf(context), () => next.handle().subscribe(subscriber)));
  }
}

const Account = createParamDecorator((_, context) => context.switchToHttp().getRequest().account);

@RemoteFunctions('bank')
@Injectable()
class Bank {
  @RemoteFunction()
  @UseGuards(AccountGuard)
  withdraw(_name: string, amount: number, @Account() account: Injected<string>): string {
    balances[account] = (balances[account] ?? 0) - amount;
    return account;
  }

  @RemoteFunction()
  @UseGuards(AccountGuard)
  everywhere(_name: string, @Req() request: Injected<Any>, @Res() response: Injected<Any>): unknown {
    const node = request.raw ?? request;
    return {
      headers: request.headers['x-account'],
      same: node.headers === request.headers,
      params: request.params.account,
      query: request.query.account,
      user: node.user,
      context: node.context.account,
      bag: node.bag.get('account'),
      locals: response.locals.account,
      header: response.getHeader('x-account'),
      module: request.params.module,
      agent: request.headers['user-agent'],
      middleware: node.fromMiddleware,
      method: request.method,
      url: request.url,
      ip: request.ip,
      body: request.body,
      reach: (node.res ?? response) === response && node.next === undefined,
    };
  }

  @RemoteFunction()
  @UseGuards(EnteringGuard)
  @UseInterceptors(RunningInterceptor)
  async stores(_name: string): Promise<unknown> {
    await arrive();
    return [entered.getStore(), store.getStore()];
  }

  /** Enters no store of its own. */
  @RemoteFunction()
  peek(): unknown {
    return entered.getStore();
  }

  @RemoteFunction()
  aborted(name: string, @Req() request: Injected<Any>): void {
    const node = request.raw ?? request;
    const stranger = () => undefined;
    node.on('aborted', stranger).off('aborted', stranger);
    node.once('aborted', () => heard.push(name));
  }
}

/** Node's own request of the last message, and which calls heard its event. */
let outer: Any;
const heard: string[] = [];

@Injectable({ scope: Scope.REQUEST })
class Tenant {
  static made = 0;
  name: string | undefined;

  constructor() {
    Tenant.made += 1;
  }
}

@Injectable({ scope: Scope.REQUEST })
class TenantGuard implements CanActivate {
  constructor(private readonly tenant: Tenant) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    this.tenant.name = nameOf(context);
    context.switchToHttp().getRequest().account = this.tenant.name;
    await arrive();
    return true;
  }
}

@RemoteFunctions('scoped')
@Injectable({ scope: Scope.REQUEST })
class ScopedBank {
  constructor(
    private readonly tenant: Tenant,
    @Inject(REQUEST) private readonly request: Any,
  ) {}

  @RemoteFunction()
  @UseGuards(TenantGuard)
  who(_name: string, @Req() request: Injected<Any>): unknown {
    return [
      this.tenant.name,
      this.request.account,
      request === this.request,
      new Set([1, 2].map(() => ContextIdFactory.getByRequest(request))).size === 1,
    ];
  }
}

/** Nest gives the message a scope for it. */
@Injectable({ scope: Scope.REQUEST })
class ScopedMiddleware implements NestMiddleware {
  use(request: Any, _response: unknown, next: () => void): void {
    outer = request;
    request.fromMiddleware = true;
    request.context = {};
    request.bag = new Map();
    // as passport does it
    request.logIn = function (this: Any, user: string) {
      this.user = user;
    };
    next();
  }
}

@Module({
  imports: [
    SealwireModule.forRoot({ serverKey: serverKeyText, handshakeRate: false }),
    SealwireModule.forFeature({ path: 'bank', forceEncryption: false }),
    SealwireModule.forFeature({ path: 'scoped', forceEncryption: false }),
  ],
  providers: [Bank, ScopedBank, Tenant],
})
class BankModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(ScopedMiddleware).forRoutes('{*path}');
  }
}

type Send = (app: INestApplication, module: string, calls: Call[]) => Promise<Reply | undefined>;

const clientOf = (app: INestApplication, modulePath: string) =>
  new PeerClient(urlOf(app, `/remote/${modulePath}`), { modulePath, keySize: 32, serverKey: serverKey.publicKey });

const WAYS: [string, Send][] = [
  [
    'a sealed batch',
    async (app, module, calls) => {
      const client = clientOf(app, module);
      await client.connect();
      return client.send(client.frame(calls));
    },
  ],
  ['the first calls of a client', (app, module, calls) => clientOf(app, module).connect(calls)],
  [
    'first messages of one call each',
    async (app, module, calls) => {
      const client = clientOf(app, module);
      await client.steps1and2();
      const answer = await post(client.url, client.step3Of(calls.map((call) => encodeCalls([call]))));
      client.step4(answer.body);
      const replies = client.session.firstAnswers.map((first, index) =>
        client.openFirst(first.known === 'result' ? first.frame : new Uint8Array(0), index),
      );
      return { outcomes: replies.flatMap((reply) => (reply as { outcomes: Outcome[] }).outcomes) } as Reply;
    },
  ],
  [
    'a plain CBOR batch',
    async (app, module, calls) => {
      const type = { 'content-type': 'application/cbor' };
      return decodeReply((await post(urlOf(app, `/remote/${module}`), encodeCalls(calls), type)).body);
    },
  ],
  [
    'a plain JSON batch',
    async (app, module, calls) => {
      const type = { 'content-type': 'application/json' };
      const answer = await post(urlOf(app, `/remote/${module}`), JSON.stringify({ calls }), type);
      return JSON.parse(Buffer.from(answer.body).toString());
    },
  ],
];

const valuesOf = (reply: Reply | undefined) =>
  (reply as { outcomes: Outcome[] }).outcomes.map((outcome) => (outcome.ok ? outcome.value : outcome));

describe.each([
  ['Express', (): undefined => undefined],
  ['Fastify', () => new FastifyAdapter()],
] as const)('each call of a message on %s', (_platform, adapter) => {
  let app: INestApplication;

  beforeAll(async () => {
    const module = await Test.createTestingModule({ imports: [BankModule] }).compile();
    const platformAdapter = adapter();
    app = platformAdapter ? module.createNestApplication(platformAdapter) : module.createNestApplication();
    app.useLogger(false);
    await app.listen(0, '127.0.0.1');
  });
  afterAll(() => app.close());
  beforeEach(() => meet(2));

  describe.each(WAYS)('in %s', (way, send) => {
    const both = (module: string, name: string, ...rest: unknown[]) =>
      send(app, module, [
        { name, args: ['mine', ...rest] },
        { name, args: ['victim', ...rest] },
      ]).then(valuesOf);

    it('takes from its own account', async () => {
      Object.assign(balances, { mine: 1000, victim: 1000 });
      const calls = [
        { name: 'withdraw', args: ['mine', 100] },
        { name: 'withdraw', args: ['victim', 1] },
      ];
      expect(valuesOf(await send(app, 'bank', calls))).toEqual(['mine', 'victim']);
      expect(balances).toMatchObject({ mine: 900, victim: 999 });
    });

    it('finds what its guard wrote, wherever it did, and what the message brought', async () => {
      const [mine, victim] = await both('bank', 'everywhere');
      const common = { same: true, module: 'bank', middleware: true, method: 'POST', url: '/remote/bank', reach: true };
      const brought = { ...common, ip: '127.0.0.1' };
      const written = (name: string) =>
        Object.fromEntries(
          ['headers', 'params', 'query', 'user', 'context', 'bag', 'locals', 'header'].map((place) => [place, name]),
        );
      expect(mine).toMatchObject({ ...brought, ...written('mine') });
      expect(victim).toMatchObject({ ...brought, ...written('victim') });
      expect((mine as { body?: unknown }).body).toBeUndefined();
    });

    it('has its own store in an AsyncLocalStorage', async () => {
      expect(await both('bank', 'stores')).toEqual([
        ['mine', 'mine'],
        ['victim', 'victim'],
      ]);
    });

    it('is not in a store that the call before it entered', async () => {
      meet(1);
      const calls = [
        { name: 'stores', args: ['mine'] },
        { name: 'peek', args: [] },
      ];
      const nothing = way === 'a plain JSON batch' ? null : undefined;
      expect(valuesOf(await send(app, 'bank', calls))).toEqual([['mine', 'mine'], nothing]);
    });

    it('has its own REQUEST scope, one for guard and function', async () => {
      const made = Tenant.made;
      expect(await both('scoped', 'who')).toEqual([
        ['mine', 'mine', true, true],
        ['victim', 'victim', true, true],
      ]);
      expect(Tenant.made).toBe(made + 2);
    });
  });

  it('hears the events of its message', async () => {
    const client = clientOf(app, 'bank');
    await client.connect();
    await client.send(client.frame(['mine', 'victim'].map((name) => ({ name: 'aborted', args: [name] }))));
    heard.length = 0;
    outer.emit('aborted');
    expect(heard).toEqual(['mine', 'victim']);
  });
});

describe('a view of a request', () => {
  const made = () => {
    const message: Any = new IncomingMessage(new Socket());
    Object.assign(message, { user: { name: 'ann' }, params: { id: '1' }, query: { a: '1' }, body: 'of the message' });
    message.headers = { authorization: 'secret' };
    return { message, view: requestView(message, {}) as Any };
  };

  it('is what it shows: by its class, its keys and its copies', () => {
    const { view } = made();
    expect(view).toBeInstanceOf(IncomingMessage);
    expect('user' in view && 'headers' in view).toBe(true);
    expect(Object.keys(view)).toEqual(expect.arrayContaining(['user', 'params', 'res']));
    const { user, params, body } = { ...view };
    expect({ user, params, body }).toEqual({ user: { name: 'ann' }, params: { id: '1' }, body: undefined });
    expect(JSON.parse(JSON.stringify({ ...view, socket: undefined, _readableState: undefined })).user.name).toBe('ann');
  });

  it('takes writes, definitions and deletions for itself', () => {
    const { message, view } = made();
    view.user = 'bob';
    view.headers.authorization = 'other';
    view.params.id = '2';
    Object.defineProperty(view, 'tenant', { value: 't' });
    delete view.query;
    expect([view.user, view.headers.authorization, view.params.id, view.tenant, view.query]).toEqual([
      'bob',
      'other',
      '2',
      't',
      undefined,
    ]);
    expect([
      message.user.name,
      message.headers.authorization,
      message.params.id,
      message.tenant,
      message.query,
    ]).toEqual(['ann', 'secret', '1', undefined, { a: '1' }]);
    delete view.user;
    expect([view.user, message.user.name]).toEqual([undefined, 'ann']);
  });
});

it('a call in a log shows neither its transaction nor the request that brought it', () => {
  const request = { ip: '127.0.0.1', token: 'secret' };
  const arrival = { node: {} as IncomingMessage, answer: {} as ServerResponse, request };
  const of = { transaction: { password: 'secret' }, session: undefined, arrival, origin: 'A.b' };
  const sent = { metadata: { authorization: 'secret' } };
  const audience = () => new Audience(1);
  const inside = { ...of, sent, resumable: false, audience, progress: () => undefined };
  const call = new RunningCall('bank', 'withdraw', [1], inside);
  expect(call.transaction).toBe(inside.transaction);
  expect(inspect(call, { depth: null, showHidden: true })).not.toContain('secret');
  expect(JSON.stringify(call)).toBe('{"module":"bank","functionName":"withdraw","args":[1]}');
});
