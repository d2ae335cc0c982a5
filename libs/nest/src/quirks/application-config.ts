import { RequestMethod } from '@nestjs/common';
import type { ApplicationConfig, ExternalContextCreator } from '@nestjs/core';

/**
 * The path of a route below the global prefix of the application. Nest gives the prefix to controllers only, and does not document
 * where it keeps it. `test/door.spec.ts` holds what is assumed here against the Nest that is installed.
 */
export function withGlobalPrefix(contexts: ExternalContextCreator, path: string): string {
  const { config } = (contexts as unknown as { guardsContextCreator: { config: ApplicationConfig } })
    .guardsContextCreator;
  const prefix = trimmed(config.getGlobalPrefix());
  const excluded = config
    .getGlobalPrefixOptions()
    .exclude?.some(
      ({ pathRegex, requestMethod }) =>
        (requestMethod === RequestMethod.ALL || requestMethod === RequestMethod.POST) && pathRegex.test(path),
    );
  return prefix && !excluded ? `/${prefix}${path}` : path;
}

export function trimmed(path: string): string {
  return path.replace(/^\/+|\/+$/g, '');
}
