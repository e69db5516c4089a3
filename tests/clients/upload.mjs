// Uploads one file with tus-js-client and tells in JSON lines what happens.
// The options come as JSON in the first argument, commands as lines of JSON on standard input;
// tests/support/clients.py describes them.

import { createReadStream, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'

const options = JSON.parse(process.argv[2])
const require = createRequire(import.meta.url)
const tus = require(`tus-js-client-${options.version}`)

function tell(event, details = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...details })}\n`)
}

function lowerCase(headers) {
  return Object.fromEntries(
    Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]),
  )
}

// The library's own stack, with a look at what goes out and what comes back. onBeforeRequest
// would miss headers that are set late, and it cannot pair requests with answers.
class TellingStack {
  constructor() {
    this.inner = tus.defaultOptions.httpStack
    this.count = 0
  }

  createRequest(method, url) {
    const id = this.count++
    const request = this.inner.createRequest(method, url)
    const headers = {}
    const setHeader = request.setHeader.bind(request)
    request.setHeader = (name, value) => {
      headers[name] = value
      return setHeader(name, value)
    }
    const send = request.send.bind(request)
    request.send = async (body) => {
      const sent = lowerCase(headers)
      tell('request', {
        id,
        method: (sent['x-http-method-override'] ?? method).toUpperCase(),
        wireMethod: method,
        url,
        headers: sent,
      })
      try {
        const response = await send(body)
        const raw = response.getUnderlyingObject()
        tell('response', { id, status: response.getStatus(), headers: lowerCase(raw?.headers) })
        return response
      } catch (error) {
        tell('broken', { id, message: String(error.message) })
        throw error
      }
    }
    return request
  }

  getName() {
    return 'TellingStack'
  }
}

function urlStorage() {
  if (!options.urlStorage) return {}
  // The lock beside the file needs the file.
  if (!existsSync(options.urlStorage)) writeFileSync(options.urlStorage, '{}')
  // Version 5 keeps it in a module of its own.
  const { FileUrlStorage } = tus.FileUrlStorage ? tus : require('tus-js-client-5/node/FileUrlStorage')
  return { urlStorage: new FileUrlStorage(options.urlStorage) }
}

function chosenOptions() {
  const names = [
    'endpoint', 'uploadUrl', 'metadata', 'headers', 'chunkSize', 'uploadLengthDeferred',
    'uploadDataDuringCreation', 'overridePatchMethod', 'parallelUploads', 'addRequestId',
    'protocol',
  ]
  const given = names.filter((name) => options[name] !== null && options[name] !== undefined)
  return Object.fromEntries(given.map((name) => [name, options[name]]))
}

function makeInput() {
  if (options.stream) {
    // Piped once, the library cannot see that there is a file behind it.
    return createReadStream(options.file).pipe(new PassThrough())
  }
  if (options.version === 2 && options.parallelUploads > 1) {
    // Version 2 asks for uploadSize with a file, and refuses it with parallel uploads.
    return readFileSync(options.file)
  }
  return createReadStream(options.file)
}

const input = makeInput()
const sizeIsUnknown = options.stream || (options.version === 2 && options.parallelUploads === 1)

let aborting = false
const upload = new tus.Upload(input, {
  ...chosenOptions(),
  ...urlStorage(),
  retryDelays: options.retryDelays,
  httpStack: new TellingStack(),
  ...(sizeIsUnknown && !options.uploadLengthDeferred
    ? { uploadSize: statSync(options.file).size }
    : {}),
  onUploadUrlAvailable: () => tell('created', { uploadUrl: upload.url }),
  onProgress: (sent, total) => {
    tell('progress', { sent, total })
    if (!aborting && options.abortAfterBytes !== null && sent >= options.abortAfterBytes) {
      aborting = true
      abort()
    }
  },
  onChunkComplete: (size, accepted, total) => tell('chunk', { size, accepted, total }),
  onSuccess: () => {
    tell('success', { uploadUrl: upload.url })
    input.destroy?.()
  },
  onError: (error) => {
    const status = error.originalResponse?.getStatus() ?? null
    tell('error', { message: String(error.message), status, uploadUrl: upload.url })
    process.exitCode = 1
    input.destroy?.()
  },
})

async function abort(terminate = options.terminate) {
  try {
    await upload.abort(terminate)
    tell('aborted', { uploadUrl: upload.url })
  } catch (error) {
    tell('error', { message: String(error.message), status: null, uploadUrl: upload.url })
    process.exitCode = 1
  }
  // Sockets that are kept alive would keep the process for a while.
  setImmediate(() => process.stdout.write('', () => process.exit()))
}

const COMMANDS = {
  async pause() {
    process.stdin.ref?.() // nothing else keeps the process
    await upload.abort()
  },
  resume() {
    upload.start()
    process.stdin.unref?.()
  },
  cancel: () => abort(true),
}
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { command } = JSON.parse(line)
  await COMMANDS[command]()
  tell('did', { command })
})
process.stdin.unref?.()

if (options.urlStorage) {
  const previous = await upload.findPreviousUploads()
  if (previous.length > 0) {
    upload.resumeFromPreviousUpload(previous[0])
    tell('found', { uploadUrl: previous[0].uploadUrl, parts: previous[0].parallelUploadUrls })
  }
}
upload.start()
