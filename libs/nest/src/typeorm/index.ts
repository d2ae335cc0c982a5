export {
  AcceptedEntity,
  CookieKeyEntity,
  InstanceEntity,
  KeyEntity,
  OutcomeEntity,
  SessionEntity,
  sealwireEntities,
} from './entities.js';
export { TypeOrmExactlyOnce } from './exactly-once.js';
export { type KeySummary, TypeOrmKeyStore } from './key.store.js';
export { SealwireKeys } from './key-admin.service.js';
export { sealwireMigrations } from './migration.js';
export { PostgresReplayGuard } from './postgres-replay.guard.js';
export type { RewrapResult } from './rewrap.js';
export { TypeOrmSessionStore } from './session.store.js';
export {
  connectTypeOrmStore,
  createTypeOrmStore,
  type TypeOrmStoreOptions,
  type TypeOrmStoreParts,
  typeOrmStore,
} from './typeorm-store.js';
