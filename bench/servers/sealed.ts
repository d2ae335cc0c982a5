import type { Server } from 'node:http';
import { Module } from '@nestjs/common';
import { SealwireModule } from '@sealwire/nest';
import { EchoController } from './echo.js';
import { GuardedController } from './guarded.js';
import { onExpress, onFastify } from './nest.js';
import { StreamingController } from './streaming.js';

const { BENCH_SERVER_KEY: serverKey = '', BENCH_SECURE_KEY: secureKey = '' } = process.env;

const MANY = 1_000_000;
const sealwire = [
  SealwireModule.forRoot({
    serverKey,
    handshakeRate: false,
    handshakeRateTotal: false,
    maxBody: 4 * 2 ** 20,
    hotSessions: MANY,
  }),
  SealwireModule.forFeature({ path: 'bench', secureKeys: [secureKey], maxSessions: MANY, maxSessionsPerKey: MANY }),
];

@Module({ imports: sealwire, controllers: [EchoController] })
class SealedModule {}

@Module({ imports: sealwire, controllers: [GuardedController] })
class SealedGuardedModule {}

@Module({ imports: sealwire, controllers: [StreamingController] })
class SealedStreamsModule {}

const KINDS: Readonly<Record<string, () => Promise<{ getHttpServer(): Server }>>> = {
  'sealed-express': () => onExpress(SealedModule),
  'sealed-guarded': () => onExpress(SealedGuardedModule),
  'sealed-streams': () => onExpress(SealedStreamsModule),
  'sealed-fastify': () => onFastify(SealedModule),
};

/** The same controllers with Sealwire; their JSON routes are there too. */
export async function start(kind: string): Promise<Server> {
  const app = await KINDS[kind]?.();
  if (!app) throw new Error(`there is no server '${kind}'`);
  return app.getHttpServer();
}
