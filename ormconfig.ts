import { DataSource } from 'typeorm';
import { dataSourceOptions } from './src/database.js';

export default new DataSource(await dataSourceOptions());
