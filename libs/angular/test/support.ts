import '@angular/compiler';
import { TestBed } from '@angular/core/testing';
import { BrowserTestingModule, platformBrowserTesting } from '@angular/platform-browser/testing';
import { afterEach } from 'vitest';

// jsdom brings classes of another realm, of which Node's fetch gives and takes no instances; a browser has one realm
const NodeBytes = Object.getPrototypeOf(Buffer) as Uint8ArrayConstructor;
globalThis.Uint8Array = NodeBytes;
globalThis.ArrayBuffer = new NodeBytes().buffer.constructor as ArrayBufferConstructor;

TestBed.initTestEnvironment(BrowserTestingModule, platformBrowserTesting());
afterEach(() => TestBed.resetTestingModule());
