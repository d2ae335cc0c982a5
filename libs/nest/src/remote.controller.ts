import { Controller, Inject, Post, Req, Res, type Type, UseInterceptors, VERSION_NEUTRAL } from '@nestjs/common';
import type { Outcome } from '@sealwire/core';
import { EncryptionInterceptor, OPENED } from './encryption.interceptor.js';
import { type OpenedCalls, RemoteFunctionDispatcher } from './remote-function.dispatcher.js';

/** The one route, below the configured path. The global prefix of the application applies to it, versions do not. */
export function remoteController(path: string): Type<unknown> {
  @Controller({ path, version: VERSION_NEUTRAL })
  class RemoteController {
    constructor(@Inject(RemoteFunctionDispatcher) private readonly dispatcher: RemoteFunctionDispatcher) {}

    /** Taking the response tells Nest that it is written elsewhere. */
    @Post(':module')
    @UseInterceptors(EncryptionInterceptor)
    call(@Req() request: { readonly [OPENED]: OpenedCalls }, @Res() _response: unknown): Promise<Outcome[]> {
      return this.dispatcher.run(request[OPENED]);
    }
  }
  return RemoteController;
}
