import {
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  ForbiddenException,
  Get,
  Inject,
  Injectable,
  type NestInterceptor,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  ValidationPipe,
} from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import {
  type Injected,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteSession,
  RemoteTransaction,
  remoteCall,
} from '@sealwire/nest';
import { IsInt, IsString, Min } from 'class-validator';
import { map, type Observable, of } from 'rxjs';
import { EntityManager } from 'typeorm';
import { Payment } from './payment.entity';

export class PaymentDto {
  @IsString() who!: string;
  @IsInt() @Min(1) amount!: number;
}

/** As an application without ideas about remote functions has it: a refusal by its answer alone. */
@Injectable()
export class OnlyGold implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return remoteCall(context)?.args[0] === 'gold';
  }
}

/** Everything that was thrown, by name; answers nothing, as filters for a log do. */
export const seen: string[] = [];

@Catch()
export class Observer implements ExceptionFilter {
  catch(error: Error): void {
    seen.push(error.name);
  }
}

@Catch()
export class LateObserver implements ExceptionFilter {
  async catch(error: Error): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(`late ${error.name}`);
  }
}

@Catch()
class Empty implements ExceptionFilter {
  catch(): null {
    return null;
  }
}

/** Written for another transport: its answer is a stream. */
@Catch()
class Streaming implements ExceptionFilter {
  catch(): Observable<unknown> {
    return of('not for this caller');
  }
}

@Catch()
class Teapot implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().status(418).json({ message: 'short and stout' });
  }
}

@Catch()
class Substitute implements ExceptionFilter {
  async catch(): Promise<string> {
    return 'instead';
  }
}

@Injectable()
class Twice implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value) => [value, value]));
  }
}

@RemoteFunctions('payments')
@Controller('payments')
export class PaymentsController {
  @Get()
  ordinary(): string {
    return 'ordinary';
  }

  @RemoteFunction()
  add(a: number, b: number): number {
    return a + b;
  }

  @RemoteFunction()
  typed(dto: PaymentDto): { typed: boolean; who: string; when: Date; bytes: Uint8Array } {
    return { typed: dto instanceof PaymentDto, who: dto.who, when: new Date(0), bytes: new Uint8Array([1, 2]) };
  }

  @RemoteFunction()
  @UseInterceptors(Twice)
  twice(text: string): unknown {
    return text;
  }

  @RemoteFunction()
  @UseGuards(OnlyGold)
  gold(_what: string): string {
    return 'gold';
  }

  @RemoteFunction()
  @UseGuards(OnlyGold)
  @UseFilters(Observer)
  observed(_what: string): string {
    return 'gold';
  }

  @RemoteFunction()
  @UseGuards(OnlyGold)
  @UseFilters(LateObserver)
  observedLate(_what: string): string {
    return 'gold';
  }

  @RemoteFunction()
  @UseGuards(OnlyGold)
  @UseFilters(Empty)
  observedByNull(_what: string): string {
    return 'gold';
  }

  @RemoteFunction()
  @UseGuards(OnlyGold)
  @UseFilters(Streaming)
  observedByStream(_what: string): string {
    return 'gold';
  }

  @RemoteFunction()
  @UseGuards(OnlyGold)
  @UseFilters(Teapot)
  teapot(_what: string): string {
    return 'gold';
  }

  @RemoteFunction()
  @UseGuards(OnlyGold)
  @UseFilters(Substitute)
  substituted(_what: string): string {
    return 'gold';
  }

  @RemoteFunction()
  thrown(kind: string): never {
    if (kind === 'http') throw new ForbiddenException('not you');
    if (kind === 'own') throw new RemoteFunctionError('own', 'An own error.', { of: 'mine' });
    throw new Error('a secret of the server');
  }

  @RemoteFunction()
  async count(@RemoteSession() session: Injected<RemoteSession>): Promise<number> {
    const before = (await session.get<number>('count')) ?? 0;
    await session.set('count', before + 1);
    return before + 1;
  }
}

/** Needs a database. */
@RemoteFunctions('payments')
@Controller()
export class Exactly {
  @RemoteFunction({ exactlyOnce: true })
  async pay(dto: PaymentDto, @RemoteTransaction() transaction: Injected<EntityManager>): Promise<number> {
    await transaction.save(Payment, { who: dto.who, amount: dto.amount });
    if (dto.who === 'nobody') throw new RemoteFunctionError('nobody', 'Nobody is there.');
    return transaction.countBy(Payment, { who: dto.who });
  }
}

/** Made anew for each request, and a provider. */
@RemoteFunctions('payments')
@Injectable({ scope: Scope.REQUEST })
export class Addresses {
  constructor(@Inject(REQUEST) private readonly request: { readonly method: string }) {}

  @RemoteFunction()
  @UseGuards(OnlyGold)
  method(_what: string): string {
    return this.request.method;
  }
}

export const pipe = new ValidationPipe({ transform: true, whitelist: true });
