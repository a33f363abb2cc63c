// The certified npm `oidc-provider` on the loopback over TLS: one client; whoever logs in has an account, groups by userinfo.
// Usage: node provider.mjs CERT KEY REDIRECT_URI, with the client's secret in CLIENT_SECRET, or its public key, a JWK, in
// CLIENT_KEY. Prints its issuer when it serves.
import fs from 'node:fs'
import https from 'node:https'
import { Provider } from 'oidc-provider'

const [cert, key, redirect] = process.argv.slice(2)
const { CLIENT_SECRET, CLIENT_KEY } = process.env
const client = {
  client_id: 'casemate',
  redirect_uris: [redirect],
  ...(CLIENT_KEY
    ? {
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'ES256',
        jwks: { keys: [JSON.parse(CLIENT_KEY)] },
      }
    : { client_secret: CLIENT_SECRET }),
}
const server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
server.listen(0, '127.0.0.1', () => {
  const issuer = `https://localhost:${server.address().port}`
  const provider = new Provider(issuer, {
    clients: [client],
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], groups: ['groups'], profile: ['preferred_username'] },
    scopes: ['openid', 'groups', 'profile'],
    cookies: { keys: ['of a test'] },
    features: { devInteractions: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, groups: id.startsWith('ml-') ? ['ml-team'] : ['guests'] }),
    }),
  })
  const finish = provider.interactionResult.bind(provider)
  provider.interactionResult = (request, response, result, options) => {
    if (result.login) result.login.amr = result.login.accountId.endsWith('-weak') ? ['pwd'] : ['pwd', 'mfa']
    return finish(request, response, result, options)
  }
  server.on('request', provider.callback())
  console.log(issuer)
})
