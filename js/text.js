import { app } from '../../scripts/app.js'

/** The language of the interface: 'en' or 'zh'. */
export function locale() {
  return String(app.extensionManager.setting.get('Comfy.Locale')).startsWith('zh') ? 'zh' : 'en'
}

/** The texts of a table {en, zh} in the language of the interface. */
export function translate(table) {
  return table[locale()]
}
