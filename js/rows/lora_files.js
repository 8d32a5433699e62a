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

/** The address of the picture beside a LoRA file, large enough for a panel. */
export function loraPicture(name) {
  return api.apiURL(`${ROUTES}/picture?${new URLSearchParams({ name })}`)
}
