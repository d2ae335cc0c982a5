/**
 * Names that metadata must not take: what they say is the connection's, a proxy's or a browser's word, which the guards of an
 * application rely on. The first group is that of the Fetch standard's forbidden request headers.
 */
const REFUSED = new Set(
  [
    'accept-charset accept-encoding connection content-length cookie cookie2 date dnt expect host keep-alive origin referer',
    'set-cookie te trailer transfer-encoding upgrade via',
    // of the message, whose body is another than the call's
    'content-type content-encoding content-range content-md5',
    // what a proxy tells of the client
    'forwarded client-ip true-client-ip remote-user',
    'http2-settings x-http-method x-http-method-override x-method-override',
  ].flatMap((names) => names.split(' ')),
);
const PREFIXES = [
  'proxy- sec- access-control- x-forwarded x-real- x-client- x-cluster- x-original- x-remote- x-auth-request- x-authenticated-',
  'x-ssl- ssl- x-envoy- x-amzn- x-amz- x-goog- x-appengine- x-ms- x-vercel- cf- fastly- fly-',
].flatMap((prefixes) => prefixes.split(' '));

/**
 * The first name of a call's metadata that may not be there.
 * @param refused further names in lower case, of the option `refusedMetadata`
 */
export function refusedName(
  metadata: Readonly<Record<string, string>>,
  refused: ReadonlySet<string>,
): string | undefined {
  return Object.keys(metadata).find(
    (name) => REFUSED.has(name) || refused.has(name) || PREFIXES.some((prefix) => name.startsWith(prefix)),
  );
}
