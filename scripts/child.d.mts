import type { ChildProcess } from 'node:child_process';

export declare const END_WITH_PARENT: string;

export declare function end(child: ChildProcess): Promise<void>;
