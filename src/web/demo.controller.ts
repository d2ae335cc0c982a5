import { isIP } from 'node:net';
import {
  Body,
  type CanActivate,
  ConflictException,
  Controller,
  type ExecutionContext,
  ForbiddenException,
  Get,
  Header,
  HttpCode,
  Inject,
  Injectable,
  Post,
  Res,
  UseGuards,
} from '@nestjs/common';
import { KeyRing, SealwireSessions } from '@sealwire/nest';
import { Matches } from 'class-validator';
import type { Request, Response } from 'express';

export const DEMO = Symbol('demo');

interface Demo {
  readonly secureKey: string;
  /** where the server listens */
  readonly host: string;
}

/** What the page has of the demo's server. */
export interface DemoKeys {
  readonly notice: string;
  /** public; an application has it in its bundle */
  readonly serverKey: string;
  readonly secureKey: string;
  /** number of the process that answers: another one after a restart */
  readonly process: number;
}

class RevokeRequest {
  @Matches(/^[0-9a-f]{32}$/)
  session!: string;
}

/** Whether a host, with or without a port, is a name of this machine for itself. */
function isLoopback(host = ''): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)(:\d+)?$/i.test(host);
}

/**
 * Lets only this page in. A page of another site can neither set the header without a preflight, which nobody answers, nor hide its
 * origin; and a name of its own that it lets point to this machine is no name of this machine. A server that others reach is asked by
 * its address, or by the name that it listens on.
 */
@Injectable()
class FromThisPage implements CanActivate {
  constructor(@Inject(DEMO) private readonly demo: Demo) {}

  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<Request>();
    const { host, origin, 'sec-fetch-site': site = 'same-origin' } = headers;
    const isOwn = headers['x-sealwire-demo'] === '1' && (origin === undefined || hostOf(origin) === host);
    if (isOwn && site === 'same-origin' && this.isNameOfThisServer(host)) return true;
    throw new ForbiddenException(
      'Only the page of this server may ask that, if it was opened by an address or as localhost.',
    );
  }

  private isNameOfThisServer(host = ''): boolean {
    const { host: listens } = this.demo;
    const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
    return isLoopback(host) || (!isLoopback(listens) && (isIP(name) > 0 || name === listens));
  }
}

/** Exists in the demo only. */
@Controller('demo')
@UseGuards(FromThisPage)
export class DemoController {
  constructor(
    @Inject(DEMO) private readonly demo: Demo,
    private readonly keys: KeyRing,
    private readonly sessions: SealwireSessions,
  ) {}

  @Get()
  @Header('cache-control', 'no-store')
  async find(): Promise<DemoKeys> {
    return {
      notice: 'The demo hands out its SecureKey; a real application gives each device its own.',
      serverKey: (await this.keys.describe()).publicKey,
      secureKey: this.demo.secureKey,
      process: process.pid,
    };
  }

  /** Asks the process that started this one for another one; that is there when `GET /demo` tells another `process`. */
  @Post('restart')
  @HttpCode(202)
  restart(@Res({ passthrough: true }) response: Response): Pick<DemoKeys, 'process'> {
    if (!process.send) {
      throw new ConflictException('Nobody would start this server again: it was not started by "npm start".');
    }
    response.once('finish', () => process.send?.('restart'));
    return { process: process.pid };
  }

  @Post('revoke')
  @HttpCode(200)
  async revoke(@Body() { session }: RevokeRequest): Promise<{ readonly revoked: boolean }> {
    return { revoked: await this.sessions.revoke(session) };
  }
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
