import { parseArgs } from 'node:util';

/** The options of the command line, as parseArgs takes them. Any other ends the process with the usage; --help shows it. */
export function readArguments(usage, options = {}) {
  let values;
  try {
    ({ values } = parseArgs({ options: { ...options, help: { type: 'boolean', short: 'h' } } }));
  } catch (error) {
    // behind its first sentence Node tells how to pass the argument all the same
    refuse(error.message.split('. ')[0], usage);
  }
  if (!values.help) return values;
  console.log(usage);
  process.exit();
}

export function refuse(sentence, usage) {
  console.error(`${sentence}.\n${usage}`);
  process.exit(1);
}
