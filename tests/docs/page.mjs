// Opens a page in Chromium, from an origin of its own, and prints what can be read on it whenever
// that changes. Arguments: the browser, a directory for it, the page's file, and either the file
// that is chosen in its form, which is then sent, or what stands behind the # of its address.

import { readFileSync } from 'node:fs'
import { launch, serve } from '../clients/chromium.mjs'

const [program, profile, path, word] = process.argv.slice(2)
const html = readFileSync(path, 'utf8')
const address = await serve({ '/': ['text/html', html], '/favicon.ico': ['image/png', ''] })
const context = await launch(program, profile)
process.on('SIGTERM', async () => {
  await context.close()
  process.exit()
})
const [page] = context.pages()
page.on('pageerror', (error) => console.error(String(error)))

let last = ''
async function look() {
  // Between two pages there is nothing to look at.
  const text = await page.evaluate(() => document.body?.innerText.trim() ?? '').catch(() => last)
  if (text !== last) console.log((last = text))
}

if (html.includes('<form')) {
  await page.goto(address)
  await page.setInputFiles('input[type=file]', word)
  await page.click('button')
} else {
  await page.goto(`${address}#${word}`)
}
setInterval(look, 50)
