// A client in a process of its own, with a proxy before the server that records what it sees. Started by scripts/start.mjs,
// which restarts the server when this process asks for it.
import { once } from 'node:events';
import { createRemote, type RemoteApi } from '@sealwire/client';
import type { PaymentsController } from '../payments/payments.controller.js';
import { startRecordingProxy } from './recording-proxy.js';
import { tellStory } from './story.js';
import { Transcript } from './transcript.js';

const {
  SEALWIRE_DEMO_URL: url = '',
  SEALWIRE_DEMO_PIN: serverKey = '',
  SEALWIRE_SECURE_KEY: secureKey = '',
} = process.env;

async function restartServer(): Promise<number> {
  process.send?.('restart');
  const [milliseconds] = await once(process, 'message');
  return milliseconds;
}

const transcript = new Transcript();
const proxy = await startRecordingProxy(url);
const payments = createRemote<RemoteApi<PaymentsController>>({
  url: `${proxy.url}/remote/payments`,
  serverKey,
  secureKey,
});
transcript.line('Remote functions, sealed end to end');
transcript.line(`client (process ${process.pid}) -> recording proxy -> server ${url}`);
transcript.line('The proxy stands where TLS ends: a CDN, a firewall, an inspecting gateway.');
try {
  await tellStory({ transcript, proxy, payments, restartServer });
} catch (error) {
  transcript.check(false, `the transcript broke off: ${error instanceof Error ? error.stack : error}`);
}
process.exitCode = transcript.end() ? 0 : 1;
payments.$close();
proxy.close();
