// What runs in the page: one upload with Uppy or with tus-js-client, told through `tell`.
// browser.mjs bundles it, serves it, hands it the file and passes commands on.

import GoldenRetriever from '@uppy/golden-retriever'
import Tus from '@uppy/tus'
import Uppy from '@uppy/core'
import * as tus2 from 'tus-js-client-2'
import * as tus3 from 'tus-js-client-3'
import * as tus4 from 'tus-js-client-4'
import * as tus5 from 'tus-js-client-5'

const VERSIONS = { 2: tus2, 3: tus3, 4: tus4, 5: tus5 }
const tell = (event, details = {}) => window.tellBrowser({ event, ...details })

let client

function given(options, names) {
  const set = names.filter((name) => options[name] !== null && options[name] !== undefined)
  return Object.fromEntries(set.map((name) => [name, options[name]]))
}

const UPLOAD_OPTIONS = [
  'endpoint', 'headers', 'chunkSize', 'uploadDataDuringCreation', 'uploadLengthDeferred',
  'overridePatchMethod', 'parallelUploads', 'addRequestId', 'protocol', 'retryDelays',
]

class TusClient {
  constructor(options) {
    this.options = options
    this.tus = VERSIONS[options.version]
  }

  async choose(file) {
    const upload = new this.tus.Upload(file, {
      ...given(this.options, UPLOAD_OPTIONS),
      metadata: this.options.metadata,
      onUploadUrlAvailable: () => tell('created', { uploadUrl: upload.url }),
      onProgress: (sent, total) => tell('progress', { sent, total }),
      onSuccess: () => tell('success', { uploadUrl: upload.url }),
      onError: (error) =>
        tell('error', {
          message: String(error.message),
          status: error.originalResponse?.getStatus() ?? null,
          uploadUrl: upload.url,
        }),
    })
    this.upload = upload
    const [previous] = await upload.findPreviousUploads()
    if (previous) {
      upload.resumeFromPreviousUpload(previous)
      tell('found', { uploadUrl: previous.uploadUrl, parts: previous.parallelUploadUrls })
    }
    upload.start()
  }

  async pause() {
    await this.upload.abort()
    tell('paused')
  }

  resume() {
    this.upload.start()
  }

  async cancel() {
    await this.upload.abort(true)
    tell('cancelled', { uploadUrl: this.upload.url })
  }
}

class UppyClient {
  constructor(options) {
    const uppy = new Uppy({ id: 'zoo', autoProceed: true, meta: options.metadata })
    this.uppy = uppy
    uppy.use(Tus, { ...given(options, UPLOAD_OPTIONS), ...given(options, ['limit']) })
    uppy.on('upload-progress', (file, { bytesUploaded, bytesTotal }) => {
      const uploadUrl = uppy.getFile(file.id)?.tus?.uploadUrl
      if (uploadUrl && !this.told) {
        this.told = true
        tell('created', { uploadUrl })
      }
      tell('progress', { sent: bytesUploaded, total: bytesTotal })
    })
    uppy.on('upload-success', (_file, { uploadURL }) => tell('success', { uploadUrl: uploadURL }))
    uppy.on('upload-error', (_file, error, response) =>
      tell('error', { message: String(error.message), status: response?.status ?? null }),
    )
    uppy.on('restored', () => {
      tell('restored', { files: uppy.getFiles().map(({ name, isGhost }) => ({ name, isGhost })) })
      // What the button of Uppy's own dashboard does.
      uppy.emit('restore-confirmed')
    })
    if (options.goldenRetriever) uppy.use(GoldenRetriever)
  }

  choose(file) {
    this.uppy.addFile({ name: file.name, type: file.type, data: file, source: 'Local' })
  }

  pause() {
    this.uppy.pauseAll()
    tell('paused')
  }

  resume() {
    this.uppy.resumeAll()
  }

  cancel() {
    this.uppy.removeFiles(this.uppy.getFiles().map(({ id }) => id))
    tell('cancelled')
  }
}

window.zoo = {
  open(options) {
    client = options.client === 'uppy' ? new UppyClient(options) : new TusClient(options)
  },
  choose: () => client.choose(document.querySelector('input').files[0]),
  pause: () => client.pause(),
  resume: () => client.resume(),
  cancel: () => client.cancel(),
  // The golden retriever writes half a second late.
  async retrieverKnows() {
    const database = await answer(indexedDB.open('uppy-blobs'))
    const stores = database.transaction(['metadata', 'files'])
    const metadata = await answer(stores.objectStore('metadata').getAll())
    const files = await answer(stores.objectStore('files').count())
    database.close()
    return JSON.stringify(metadata).includes('uploadUrl') && files > 0
  },
}

function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}
