import { HttpBackend, HttpHandler, type HttpRequest } from '@angular/common/http';
import { EnvironmentInjector, type Injector } from '@angular/core';
import { CARRIED } from './live-requests.js';

/** The sealed requests as they left last, by their bodies; interceptors may have given them another address. */
const left = new WeakMap<object, HttpRequest<unknown> | undefined>();
const followed = new WeakSet<HttpHandler>();

/** Takes notes of a request that is about to be made. */
export function departs(body: object): void {
  left.set(body, undefined);
}

/** @returns undefined as long as no request with that body has reached the backend */
export function departed(body: object): HttpRequest<unknown> | undefined {
  return left.get(body);
}

/** Stands before the backend, which every request reaches behind the last interceptor. */
export function followBackend(injector: Injector): void {
  const backend = backendOf(injector.get(EnvironmentInjector));
  if (followed.has(backend)) return;
  followed.add(backend);
  const handle = backend.handle.bind(backend);
  backend.handle = (request) => {
    if (left.has(request.body as object)) left.set(request.body as object, request);
    return (request.context.get(CARRIED)?.answer ?? handle)(request);
  };
}

/** With `withRequestsMadeViaParent()` the backend is what hands requests to the interceptors of another injector. */
function backendOf(injector: EnvironmentInjector): HttpHandler {
  let backend: HttpHandler = injector.get(HttpBackend);
  for (let at = parentOf(injector); at; at = parentOf(at)) {
    if (at.get(HttpHandler, null) === backend) backend = at.get(HttpBackend);
  }
  return backend;
}

function parentOf(injector: EnvironmentInjector): EnvironmentInjector | null {
  return injector.get(EnvironmentInjector, null, { skipSelf: true });
}
