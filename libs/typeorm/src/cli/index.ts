import { parseArgs } from 'node:util';
import { thrownText } from '@sealwire/core';
import { type Command, UsageError } from './command.js';
import { decode, purge, revoke, sessions } from './commands.js';
import { keygen, keys, rotate } from './key-commands.js';

const COMMANDS: Readonly<Record<string, Command>> = {
  keygen,
  keys,
  sessions,
  revoke,
  rotate,
  purge,
  decode,
};

interface Output {
  out(text: string): void;
  error(text: string): void;
}

/** @returns the exit code: 0 done, 1 failed, 2 called in a way that is not known */
export async function run(
  [name, ...rest]: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  { out, error }: Output,
): Promise<number> {
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    out(helpOf(Object.values(COMMANDS)));
    return name === undefined ? 2 : 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) {
    error(`There is no command "${name}".\n\n${helpOf(Object.values(COMMANDS))}`);
    return 2;
  }
  try {
    const { values, positionals } = parse(command, rest);
    if (values.help) {
      out(helpOf([command]));
      return 0;
    }
    const { text, value, exitCode = 0 } = await command.run({ words: positionals, options: values, env });
    out(values.json ? JSON.stringify(value) : text);
    return exitCode;
  } catch (problem) {
    error(problem instanceof Error ? messageOf(problem) : thrownText(problem));
    if (!(problem instanceof UsageError)) return 1;
    error(`\n${helpOf([command])}`);
    return 2;
  }
}

function parse(command: Command, args: string[]) {
  const options = { ...command.options, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const;
  try {
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
    return { values: values as Record<string, string | boolean | undefined>, positionals };
  } catch (error) {
    throw new UsageError(thrownText(error));
  }
}

/** The server's own words below the store's constant sentence; a refused connection may carry several errors and no message. */
function messageOf(error: Error): string {
  const parts = error instanceof AggregateError ? error.errors : [];
  const own = [error.message, ...parts.map((part) => (part instanceof Error ? part.message : ''))].filter(Boolean);
  const cause = error.cause instanceof Error ? messageOf(error.cause) : '';
  return [own.join('; '), cause].filter(Boolean).join('\n');
}

function helpOf(commands: readonly Command[]): string {
  const parts = commands.map(({ usage, summary }) =>
    [...usage.map((line) => `  sealwire ${line}`), ...summary.split('\n').map((line) => `      ${line}`)].join('\n'),
  );
  const common =
    'Each takes --json and --help. All but keygen and decode need DATABASE_URL and SEALWIRE_KEK in the environment.';
  return ['Usage:', ...parts, common].join('\n\n');
}
