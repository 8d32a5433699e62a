import { html } from '../shared/dom.js'

/** A small picture of a style, from its address; without one a colour of its own and the beginning of its name. */
export function swatch(picture, name) {
  const made = html('span', { className: 'sd-swatch', attributes: { 'aria-hidden': 'true' } })
  if (picture) {
    made.style.backgroundImage = `url("${picture}")`
    return made
  }
  made.classList.add('sd-plain')
  made.style.setProperty('--sd-hue', hue(name))
  made.textContent = initials(name)
  return made
}

/** The last part of a file's path without its ending; other names as they are. */
export function shortName(name) {
  return name.split('/').pop().replace(/\.(safetensors|pth?|ckpt|bin)$/i, '')
}

function initials(name) {
  const numbered = /^\S+ (\d+)(?=[:：]|$)/.exec(name)
  if (numbered) return numbered[1]
  // ComfyUI's number at the end of a saved file tells nothing.
  const words = shortName(name).replace(/_\d{5}_$/, '').split(/[\s_.-]+/).filter(Boolean)
  const last = words.at(-1) ?? '?'
  return /^\d+$/.test(last) ? last : words.slice(-2).map((word) => word[0].toUpperCase()).join('')
}

function hue(name) {
  let sum = 0
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360
  return sum
}
