// node --import: modules of JavaScript run as they are. The loader of TypeScript would rewrite them too, and private fields, of which
// the packages have many, would become look-ups in WeakMaps.
import { register } from 'node:module';

register('./as-built-loader.mjs', import.meta.url);
