import { api } from '../../../scripts/api.js'

const ROUTES = '/styledelta/loras'

/**
 * What the server knows of a LoRA file: {title, base_model, words, tags, resolution, steps, has_picture}, all of it from the
 * file and those beside it. Throws an Error with the reason.
 */
export async function readLoraInfo(name) {
  const answer = await api.fetchApi(`${ROUTES}/info?${new URLSearchParams({ name })}`)
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300))
  return answer.json()
}

/** The address of the picture beside a LoRA file, large enough for a panel, or small for a list. */
export function loraPicture(name, isSmall = false) {
  return api.apiURL(`${ROUTES}/picture?${new URLSearchParams(isSmall ? { name, small: '' } : { name })}`)
}

/**
 * Read which files have a picture, and which families of models they fit, until all is known or isWanted() says no more.
 *
 * onList({pictured, fits}) is called with what is known so far: a set of names, and families by name.
 */
export async function readLoraList(isWanted, onList) {
  for (let rest = 1; rest > 0 && isWanted(); ) {
    const answer = await api.fetchApi(`${ROUTES}/list`)
    if (!answer.ok || !isWanted()) return
    const list = await answer.json()
    onList({ pictured: new Set(list.pictured), fits: list.fits })
    rest = list.rest
  }
}

/** The family of a model file, {kind, name}; empty where its header does not tell. */
export async function readModelFamily(model) {
  const answer = await api.fetchApi(`${ROUTES}/model_family?${new URLSearchParams(model)}`)
  return answer.ok ? (await answer.json()).family : ''
}
