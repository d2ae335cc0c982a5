import { bootstrapApplication } from '@angular/platform-browser';
import { appConfig } from './app.config.js';
import { App } from './app.js';

bootstrapApplication(App, appConfig).catch(console.error);
