import { app } from '../../scripts/app.js'

/** The language of the pack's own texts: 'zh' for both kinds of Chinese, else 'en'. */
export function locale() {
  const chosen = app.extensionManager?.setting?.get('Comfy.Locale') ?? 'en'
  return String(chosen).startsWith('zh') ? 'zh' : 'en'
}

/** The texts of that language, from a table {en, zh}. */
export function translate(table) {
  return table[locale()]
}
