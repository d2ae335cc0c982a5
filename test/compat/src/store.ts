// the one place that names the package of the store
export { SealwireKeys, sealwireEntities, sealwireMigrations, typeOrmStore } from '@sealwire/typeorm';
