import { html, icon } from '../shared/dom.js'
import { loraPicture } from './lora_files.js'
import { favourites, toggleFavourite } from './lora_marks.js'
import { shownName } from './lora_names.js'

/**
 * One LoRA in a list to choose from. match: {name, positions}, the places of the letters that were searched for.
 *
 * hasRoom: whether the list has a column of pictures; hasPicture: whether this file has one; starWords: the title of the star.
 * choose() is called for a click on it.
 */
export function loraOption({ name, positions }, { id, hasRoom, hasPicture, starWords, choose }) {
  const [folder] = shownName(name)
  const made = html(
    'div',
    { id, className: 'styledelta-picker-option', title: name, attributes: { role: 'option', 'aria-selected': 'false' }, onclick: choose },
    ...(hasRoom ? [picture(name, hasPicture)] : []),
    html(
      'span',
      { className: 'styledelta-picker-name' },
      html('span', { className: 'styledelta-folder' }, ...marked(name, positions, 0, folder.length)),
      html('span', { className: 'styledelta-file' }, ...marked(name, positions, folder.length, name.length))
    ),
    star(name, starWords)
  )
  return made
}

/** Mark the LoRA of an option as a favourite, or take the mark away. */
export function toggleStar(option) {
  option.classList.toggle('styledelta-favourite', toggleFavourite(option.title))
}

function picture(name, hasPicture) {
  const className = 'styledelta-thumbnail'
  if (!hasPicture) return html('span', { className })
  return html('img', { className, src: loraPicture(name, true), loading: 'lazy', alt: '', draggable: false })
}

function star(name, words) {
  const made = html('span', { className: 'styledelta-star', title: words }, icon('star'))
  made.addEventListener('click', (event) => {
    event.stopPropagation()
    toggleStar(made.parentElement)
  })
  return made
}

/** Show the marks of all options of a list at once: reading them is slow. */
export function markFavourites(options) {
  const names = new Set(favourites())
  for (const option of options) option.classList.toggle('styledelta-favourite', names.has(option.title))
}

/** The part of a name from `start` to `end`, with the found letters marked. */
function marked(name, positions, start, end) {
  const parts = []
  for (let at = start; at < end; at += 1) {
    const isFound = positions.includes(at)
    if (parts.length && parts.at(-1).isFound === isFound) parts.at(-1).letters += name[at]
    else parts.push({ isFound, letters: name[at] })
  }
  return parts.map(({ isFound, letters }) => (isFound ? html('mark', {}, letters) : letters))
}
