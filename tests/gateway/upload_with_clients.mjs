// Uploads a file with tus-js-client (argument "tus" and a protocol) or with Uppy ("uppy"), and prints what happened.
import { createRequire } from 'node:module'
import { createReadStream, readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const given = JSON.parse(readFileSync(0, 'utf8'))
const require = createRequire(pathToFileURL(`${given.packages}/x.js`))
const found = (name) => import(pathToFileURL(require.resolve(name)))
const seen = []
const common = {
  endpoint: given.url,
  headers: { Authorization: `Bearer ${given.token}` },
  chunkSize: given.chunkSize ?? Infinity,
  retryDelays: [0, 50, 100, 200, 400, 800, 1600, 3200],
  onAfterResponse: (request, response) => {
    seen.push(`${request.getMethod()} ${response.getStatus()}`)
  },
}

async function byTus() {
  const tus = await found('tus-js-client')
  await new Promise((resolve, reject) => {
    const upload = new tus.Upload(createReadStream(given.file), {
      ...common,
      protocol: given.protocol,
      uploadSize: given.size,
      uploadDataDuringCreation: given.uploadDataDuringCreation ?? false,
      metadata: { filename: 'by tus.bin', filetype: 'text/x-tus' },
      onError: reject,
      onSuccess: resolve,
    })
    upload.start()
  })
}

async function byUppy() {
  const { default: Uppy } = await found('@uppy/core')
  const { default: Tus } = await found('@uppy/tus')
  const uppy = new Uppy({ logger: { debug() {}, warn() {}, error() {} } }).use(Tus, common)
  const content = readFileSync(given.file)
  uppy.addFile({ name: 'by uppy.bin', type: 'text/x-uppy', data: content, size: content.length })
  const result = await uppy.upload()
  if (result.failed.length) throw result.failed[0].error
}

try {
  await (given.client === 'uppy' ? byUppy() : byTus())
  console.log(JSON.stringify({ ok: true, seen }))
} catch (error) {
  console.log(JSON.stringify({ ok: false, seen, error: String(error) }))
}
process.exit(0)
