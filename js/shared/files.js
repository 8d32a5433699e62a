import { html } from './dom.js'

/** Give the user a text as a file, the way the browser saves downloads. */
export function saveText(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
  html('a', { href: address, download: name }).click()
  // The download has begun with the click, and some browsers read it a moment later.
  setTimeout(() => URL.revokeObjectURL(address), 10_000)
}

/** Let the user choose a file, and call read(its text), null for one of more than `most` bytes. accept: endings that are offered. */
export function openText(accept, most, read) {
  const input = html('input', { type: 'file', accept })
  input.addEventListener('change', async () => {
    const [file] = input.files
    if (file) read(file.size <= most ? await file.text() : null)
  })
  input.click()
}
