export {
  AcceptedEntity,
  CookieKeyEntity,
  InstanceEntity,
  KeyEntity,
  OutcomeEntity,
  SessionEntity,
  sealwireEntities,
} from './entities.js';
export { type KeySummary, TypeOrmKeyStore } from './keys/key-store.js';
export type { RewrapResult } from './keys/rewrap.js';
export { SealwireKeys } from './keys/sealwire-keys.js';
export { sealwireMigrations } from './migrations.js';
export { PostgresLedger } from './numbers/postgres-ledger.js';
export { TypeOrmExactlyOnce } from './outcomes/index.js';
export { TypeOrmSessionData } from './sessions/session-data.js';
export { TypeOrmSessionStore } from './sessions/session-store.js';
export {
  connectTypeOrmStore,
  createTypeOrmStore,
  type TypeOrmStoreOptions,
  type TypeOrmStoreParts,
  typeOrmStore,
} from './typeorm-store.js';
export { TypeOrmSessionDirectory } from './upkeep/session-directory.js';
