import 'reflect-metadata';
import {
  type ArgumentsHost,
  BadRequestException,
  Body,
  type CallHandler,
  type CanActivate,
  Catch,
  ConflictException,
  Controller,
  createParamDecorator,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  Headers,
  type INestApplication,
  Injectable,
  type NestInterceptor,
  ParseIntPipe,
  Post,
  Req,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { parseSecureKey } from '@sealwire/core';
import {
  type Injected,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteSession,
  remoteCall,
  SealwireModule,
  type SealwireModuleOptions,
  type SealwireOptions,
} from '@sealwire/nest';
import { IsInt, IsString, Min } from 'class-validator';
import { map, type Observable } from 'rxjs';
import { PeerClient, secureKeyText, serverKey, serverKeyText, urlOf } from './support.js';

export class TransferDto {
  @IsString()
  to!: string;

  @IsInt()
  @Min(1)
  amount!: number;
}

class Teapot extends Error {}

@Catch(Teapot)
class TeapotFilter implements ExceptionFilter {
  catch(_error: Teapot, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().status(418).json({ message: 'short and stout', handle: 'here' });
  }
}

@Injectable()
class OnlyGoldGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const call = remoteCall(context);
    return call?.functionName === 'gold' && call.args[0] === 'gold';
  }
}

@Injectable()
class TwiceInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value) => [value, value]));
  }
}

const Agent = createParamDecorator((header: string, context: ExecutionContext) => {
  return context.switchToHttp().getRequest().headers[header];
});

/** What runs, for whoever counts it, and a latch for calls that must wait. */
@Injectable()
export class Ledger {
  runs = 0;
  private open: (() => void) | undefined;
  private latch: Promise<void> | undefined;
  private entered: (() => void) | undefined;

  hold(): { entered: Promise<void>; release: () => void } {
    this.latch = new Promise((resolve) => {
      this.open = resolve;
    });
    const entered = new Promise<void>((resolve) => {
      this.entered = resolve;
    });
    return { entered, release: () => this.open?.() };
  }

  async wait(): Promise<void> {
    this.entered?.();
    await this.latch;
  }
}

@RemoteFunctions('payments')
@Controller('payments')
export class PaymentsController {
  constructor(private readonly ledger: Ledger) {}

  @Get()
  ordinary(): string {
    return 'an ordinary route';
  }

  @Post('both')
  @RemoteFunction()
  both(@Body() dto: TransferDto): string {
    return `${dto.to} gets ${dto.amount}`;
  }

  @RemoteFunction()
  add(a: number, b = 0): number {
    this.ledger.runs += 1;
    return a + b;
  }

  @RemoteFunction()
  transfer(dto: TransferDto, note?: string): unknown {
    return { typed: dto instanceof TransferDto, note, ...dto };
  }

  @RemoteFunction({ name: 'renamed' })
  original(): string {
    return 'renamed';
  }

  @RemoteFunction({ idempotent: true })
  async slow(): Promise<number> {
    await this.ledger.wait();
    this.ledger.runs += 1;
    return this.ledger.runs;
  }

  @RemoteFunction()
  types(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  nothing(): void {}

  @RemoteFunction()
  unencodable(): unknown {
    return () => 1;
  }

  @RemoteFunction()
  typedError(): never {
    throw new RemoteFunctionError('funds_short', 'Not enough money.', { missing: 5n });
  }

  @RemoteFunction()
  httpError(): never {
    throw new ConflictException('taken');
  }

  @RemoteFunction()
  codedError(): never {
    throw new BadRequestException({ code: 'iban_wrong', message: 'No such IBAN.', field: 'iban' });
  }

  @RemoteFunction()
  crash(): never {
    throw new Error('secret /etc/passwd');
  }

  @RemoteFunction()
  throwString(): never {
    throw 'secret';
  }

  @RemoteFunction()
  @UseFilters(TeapotFilter)
  teapot(): never {
    throw new Teapot();
  }

  @RemoteFunction()
  @UseGuards(OnlyGoldGuard)
  gold(metal: string): string {
    return metal;
  }

  @RemoteFunction()
  @UseInterceptors(TwiceInterceptor)
  twice(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  @UsePipes(ParseIntPipe)
  parsed(value: number): unknown {
    return { value, type: typeof value };
  }

  @RemoteFunction()
  injected(
    @Agent('x-agent') agent: Injected<string>,
    first: string,
    @Req() request: Injected<{ method: string }>,
    second: string,
    @Headers('x-agent') header: Injected<string>,
  ): unknown {
    return { agent, first, method: request.method, second, header };
  }

  @RemoteFunction()
  async remember(@RemoteSession() session: Injected<RemoteSession>, name: string, value: unknown): Promise<unknown> {
    const before = await session.get(name);
    await this.ledger.wait();
    await session.set(name, value);
    return before;
  }
}

@RemoteFunctions('public')
@Injectable()
export class PublicFunctions {
  constructor(private readonly ledger: Ledger) {}

  @RemoteFunction()
  rate(currency: string): unknown {
    this.ledger.runs += 1;
    return { currency, rate: 2n, bytes: Uint8Array.of(1, 2), when: new Date(0) };
  }

  @RemoteFunction({ sealedOnly: true })
  secret(): string {
    return 'sealed';
  }

  @RemoteFunction()
  nothing(): void {}

  @RemoteFunction()
  crash(): never {
    throw new Error('secret');
  }

  @RemoteFunction()
  unfit(): unknown {
    return () => 1;
  }
}

@RemoteFunctions('scoped')
@Injectable({ scope: Scope.REQUEST })
export class ScopedFunctions {
  private count = 0;

  @RemoteFunction()
  next(): number {
    this.count += 1;
    return this.count;
  }
}

export interface Setup {
  readonly options?: SealwireOptions;
  readonly payments?: Partial<SealwireModuleOptions>;
  readonly create?: (
    module: Awaited<ReturnType<ReturnType<typeof Test.createTestingModule>['compile']>>,
  ) => INestApplication;
  readonly prepare?: (app: INestApplication) => void;
}

export async function startApplication(setup: Setup = {}): Promise<INestApplication> {
  const module = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({
        serverKey: serverKeyText,
        handshakeRate: false,
        handshakeRateTotal: false,
        ...setup.options,
      }),
      SealwireModule.forFeature({ path: 'payments', secureKeys: [secureKeyText], ...setup.payments }),
      SealwireModule.forFeature({ path: 'public', forceEncryption: false }),
      SealwireModule.forFeature({ path: 'scoped', encryptionKey: 16 }),
      SealwireModule.forFeature({ path: 'plain', encryptionKey: 0 }),
    ],
    controllers: [PaymentsController],
    providers: [Ledger, PublicFunctions, ScopedFunctions],
  }).compile();
  const app = setup.create?.(module) ?? module.createNestApplication();
  app.useLogger(false);
  app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true }));
  setup.prepare?.(app);
  await app.listen(0, '127.0.0.1');
  return app;
}

export function paymentsClient(app: INestApplication, url = urlOf(app)): PeerClient {
  const secureKey = parseSecureKey(secureKeyText);
  return new PeerClient(url, { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey, secureKey });
}

export function publicClient(app: INestApplication): PeerClient {
  const url = urlOf(app, '/remote/public');
  return new PeerClient(url, { modulePath: 'public', keySize: 32, serverKey: serverKey.publicKey });
}
