import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { isGone, ownHostIdentity } from '../src/sessions/index.js';

describe.runIf(process.platform === 'linux')('the identity of a process', () => {
  it('knows a running and a stopped process from one that is gone', async () => {
    const own = ownHostIdentity()!;
    expect(isGone(own)).toBe(false);
    expect(isGone({ ...own, processStart: '1' })).toBe(true);

    const child = spawn('sleep', ['60']);
    const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8');
    const other = { ...own, pid: child.pid!, processStart: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]! };
    child.kill('SIGSTOP');
    await vi.waitFor(() => expect(readFileSync(`/proc/${child.pid}/stat`, 'utf8')).toContain(') T '));
    expect(isGone(other)).toBe(false);
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
    expect(isGone(other)).toBe(true);
  });
});
