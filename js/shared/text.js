import { app } from '../../../scripts/app.js'

/** The language of the texts in the pack's widgets: 'zh' where ComfyUI is set to Chinese, else 'en'. */
export function locale() {
  return String(app.extensionManager?.setting?.get('Comfy.Locale') ?? 'en').startsWith('zh') ? 'zh' : 'en'
}

/** The texts of the language in use, from a table {en: {...}, zh: {...}}. */
export function translate(table) {
  return table[locale()]
}
