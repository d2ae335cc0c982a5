import { SealwireError } from '@sealwire/core';
import type { DataSourceOptions } from 'typeorm';

/**
 * Statements name their tables without schema and prefix: the schema is the first of the connection's search path, for the command
 * and for whoever else connects too. Entities look where these two options say.
 *
 * @throws SealwireError `bad_configuration` if that is elsewhere
 */
export async function checkNames(
  options: DataSourceOptions,
  query: (statement: string) => Promise<{ name: string | null }[]>,
): Promise<void> {
  const { schema, entityPrefix } = options as { schema?: string; entityPrefix?: string };
  if (entityPrefix) {
    throw refused(
      `Sealwire's tables have no entityPrefix, got '${entityPrefix}': give the store a DataSource of its own without it` +
        ' (dataSource of typeOrmStore).',
    );
  }
  if (!schema) return;
  const [current] = await query('SELECT current_schema()::text AS name');
  if (current?.name === schema) return;
  throw refused(
    `Sealwire's tables are in the first schema of the search path, which is '${current?.name}', and the` +
      ` DataSource has schema '${schema}': make it the first (ALTER ROLE ... SET search_path = ${schema}; or extra: { options: '-c search_path=${schema}' }), or take` +
      ' the option away.',
  );
}

function refused(sentence: string): SealwireError {
  return new SealwireError('bad_configuration', sentence);
}
