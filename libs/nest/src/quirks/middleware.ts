/*
 * Which middleware an application binds to what. Nest keeps the paths of a controller's routes in place of its class, and nothing of a class
 * without routes, so what a module tells `consumer` in its `configure()` is noted on its way. test/middleware.spec.ts holds what is assumed
 * here against the Nest that is installed.
 */
import { RequestMethod } from '@nestjs/common';
import { MiddlewareBuilder } from '@nestjs/core';

interface Route {
  readonly path: string;
  readonly method: number;
}

/** One `consumer.apply(...).exclude(...).forRoutes(...)`. */
export interface Binding {
  readonly middleware: readonly { readonly name: string }[];
  readonly routes: readonly unknown[];
  /** paths for which it does not run if a `POST` comes there, as the application wrote them */
  readonly excluded: readonly string[];
  /** where the platform runs it for a `POST`, below the global prefix and with the version of the URL */
  readonly paths: readonly string[];
}

/** Of each application, known by its HTTP adapter. */
const bindings = new WeakMap<object, Binding[]>();

/** What the modules of an application bound; complete when their `onModuleInit()` runs. */
export function bindingsOf(httpAdapter: object | undefined): readonly Binding[] {
  return (httpAdapter && bindings.get(httpAdapter)) ?? [];
}

const { apply } = MiddlewareBuilder.prototype;

MiddlewareBuilder.prototype.apply = function (...middleware) {
  const builder = this;
  const proxy = apply.apply(builder, middleware);
  const { exclude, forRoutes } = proxy;
  const excluded: string[] = [];
  return Object.assign(proxy, {
    exclude(...routes: Parameters<typeof exclude>) {
      excluded.push(
        ...routes
          .map(routeOf)
          .filter(isForPost)
          .map(({ path }) => path),
      );
      return exclude.apply(proxy, routes);
    },
    forRoutes(...routes: Parameters<typeof forRoutes>) {
      const consumer = forRoutes.apply(proxy, routes);
      const binding = { middleware: middleware.flat(), excluded, routes, paths: lastPathsOf(builder) };
      const adapter = builder.getHttpAdapter();
      bindings.set(adapter, [...bindingsOf(adapter), binding]);
      return consumer;
    },
  });
};

/** Nest's method of a path that is plain text. */
const EVERY_METHOD = -1;

function routeOf(route: string | Route): Route {
  return typeof route === 'string' ? { path: route, method: EVERY_METHOD } : route;
}

function isForPost({ method }: Route): boolean {
  return method === RequestMethod.POST || method === RequestMethod.ALL || method === EVERY_METHOD;
}

function lastPathsOf(builder: MiddlewareBuilder): string[] {
  const { routeInfoPathExtractor } = builder as unknown as {
    readonly routeInfoPathExtractor: { extractPathsFrom(route: Route): string[] };
  };
  const routes = builder.build().at(-1)?.forRoutes as Route[] | undefined;
  return (routes ?? []).filter(isForPost).flatMap((route) => routeInfoPathExtractor.extractPathsFrom(route));
}
