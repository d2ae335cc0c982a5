// One of the servers that the benchmark compares, in a process of its own: what the engine learns of one would slow the
// others down. Answers over IPC what it cost.
import 'reflect-metadata';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerQuestions } from './questions.js';

const { BENCH_SERVER: kind = '' } = process.env;
const [family] = kind.split('-');
const { start }: { start(kind: string): Promise<Server> } = await import(`./servers/${family}.js`);
const server = await start(kind);
// connections of one contender rest while the others are measured
server.keepAliveTimeout = 0;
answerQuestions();
process.send?.({ port: (server.address() as AddressInfo).port });
