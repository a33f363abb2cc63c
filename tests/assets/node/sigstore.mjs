// Sigstore's certificate authority (Fulcio), its log and the log of certificates, from npm `@sigstore/mock`, on the loopback.
// Usage: node sigstore.mjs. Prints its client configuration, one line of JSON, when it serves.
import crypto from 'node:crypto'
import http from 'node:http'
import { fulcioHandler, initializeCA, initializeCTLog, initializeTLog, rekorHandler } from '@sigstore/mock'

const pair = () => crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const sha256 = (text) => ({ algorithm: 'sha256', value: crypto.createHash('sha256').update(text).digest('hex') })

// The real log keeps digests of an envelope; the mock keeps what was proposed.
const kept = (body) => {
  const entry = JSON.parse(body)
  const { envelope, verifiers } = entry.spec.proposedContent
  const { payload, signatures } = JSON.parse(envelope)
  entry.spec = {
    envelopeHash: sha256(envelope),
    payloadHash: sha256(Buffer.from(payload, 'base64')),
    signatures: signatures.map(({ sig }, index) => ({ signature: sig, verifier: verifiers[index] })),
  }
  return JSON.stringify(entry)
}
const server = http.createServer()
server.listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${server.address().port}`
  const ctlog = await initializeCTLog(pair())
  const ca = await initializeCA(pair(), ctlog)
  const tlog = await initializeTLog(url, pair())
  const fulcio = fulcioHandler(ca)
  const rekor = rekorHandler(tlog)
  server.on('request', async (request, response) => {
    const parts = []
    for await (const part of request) parts.push(part)
    let body = Buffer.concat(parts).toString()
    const handler = { [fulcio.path]: fulcio, [`${rekor.path}`]: rekor, [`${rekor.path}/`]: rekor }[request.url]
    if (handler === fulcio) {
      // Python's client sends the token as a header, and its request for a certificate as base64 of PEM.
      const asked = JSON.parse(body)
      const token = request.headers.authorization.replace('Bearer ', '')
      const csr = Buffer.from(asked.certificateSigningRequest, 'base64').toString()
      body = JSON.stringify({ credentials: { oidcIdentityToken: token }, certificateSigningRequest: csr })
    }
    if (handler === rekor) body = kept(body)
    const answer = handler ? await handler.fn(body) : { statusCode: 404, response: '' }
    response.writeHead(answer.statusCode, { 'Content-Type': answer.contentType ?? 'text/plain' })
    response.end(answer.response)
  })
  const b64 = (bytes) => Buffer.from(bytes).toString('base64')
  const start = new Date(Date.now() - 60_000).toISOString()
  const log = (baseUrl, key, id) => ({
    baseUrl,
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: b64(key), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor: { start } },
    logId: { keyId: b64(id) },
  })
  const service = (majorApiVersion) => ({ url, majorApiVersion, validFor: { start }, operator: 'test' })
  console.log(
    JSON.stringify({
      mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json',
      trustedRoot: {
        mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
        tlogs: [log(url, tlog.publicKey, crypto.createHash('sha256').update(tlog.publicKey).digest())],
        certificateAuthorities: [
          {
            subject: { organization: 'sigstore.mock', commonName: 'sigstore' },
            uri: url,
            certChain: { certificates: [{ rawBytes: b64(ca.rootCertificate) }] },
            validFor: { start },
          },
        ],
        ctlogs: [log(url, ctlog.publicKey, ctlog.logID)],
        timestampAuthorities: [],
      },
      signingConfig: {
        mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
        caUrls: [service(1)],
        oidcUrls: [service(1)],
        rekorTlogUrls: [service(1)],
        rekorTlogConfig: { selector: 'ANY' },
        tsaUrls: [],
        tsaConfig: { selector: 'ANY' },
      },
    }),
  )
})
