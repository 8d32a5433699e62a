import { api } from '../../../scripts/api.js'

const PROBE = 'nodeDefs.StyleDeltaLoraStack.display_name'

/**
 * The pack's texts in the language of the editor. Older front ends read the texts of packs before those of the language, which
 * then take their place: there they are added once more. Call it before the nodes are registered.
 */
export async function restoreTexts() {
  const provided = document.getElementById('vue-app')?.__vue_app__?._context.provides ?? {}
  const all = Object.getOwnPropertySymbols(provided).map((key) => provided[key])
  const i18n = all.find((value) => typeof value?.global?.mergeLocaleMessage === 'function')?.global
  const locale = i18n?.locale.value
  if (!locale || i18n.te(PROBE, locale)) return
  const texts = (await (await api.fetchApi('/i18n')).json())[locale]
  if (texts) i18n.mergeLocaleMessage(locale, texts)
}
