import type { ParseArgsConfig, parseArgs } from 'node:util';

export declare function readArguments<T extends NonNullable<ParseArgsConfig['options']>>(
  usage: string,
  options: T,
): ReturnType<typeof parseArgs<{ options: T }>>['values'];

export declare function refuse(sentence: string, usage: string): never;
