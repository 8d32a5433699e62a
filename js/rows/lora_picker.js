import { html } from '../shared/dom.js'
import { openPopup } from '../shared/popup.js'
import { translate } from '../shared/text.js'
import { fuzzySearch } from './fuzzy.js'
import { loraNames, shownName } from './lora_names.js'

const TEXT = {
  en: {
    search: 'Search LoRAs',
    none: 'models/loras holds no LoRA. Put a file there and press R in the graph.',
    noMatch: 'No name matches.',
    more: (count) => `${count} more: type to narrow the list`
  },
  zh: {
    search: '搜索 LoRA',
    none: 'models/loras 中没有 LoRA。请放入文件，然后在画布上按 R。',
    noMatch: '没有匹配的名称。',
    more: (count) => `还有 ${count} 个：输入文字缩小范围`
  }
}
// More rows than one reads; thousands would make typing slow.
const SHOWN = 200
const PAGE = 8

/** Open a searchable list of the LoRA files under an element, and call choose(name). current: the name to begin at. */
export function pickLora(anchor, current, choose) {
  const text = translate(TEXT)
  const names = loraNames()
  const list = html('div', { id: 'styledelta-picker-list', className: 'styledelta-picker-list', attributes: { role: 'listbox' } })
  const search = html('input', {
    type: 'text',
    className: 'styledelta-picker-search',
    placeholder: text.search,
    spellcheck: false,
    autocomplete: 'off',
    attributes: { role: 'combobox', 'aria-label': text.search, 'aria-expanded': 'true', 'aria-controls': list.id }
  })
  let found = []
  let active = 0

  function show() {
    found = fuzzySearch(search.value, names)
    active = search.value ? 0 : Math.max(0, found.findIndex(({ name }) => name === current))
    // The current one is shown even if it is far down.
    const count = Math.max(SHOWN, active + 1)
    list.replaceChildren(...found.slice(0, count).map(option))
    const rest = found.length - count
    if (!found.length) list.append(note(names.length ? text.noMatch : text.none))
    if (rest > 0) list.append(note(text.more(rest)))
    mark(active)
  }

  function option({ name, positions }, index) {
    const [folder] = shownName(name)
    const made = html('div', {
      id: `styledelta-picker-${index}`,
      className: 'styledelta-picker-option',
      title: name,
      attributes: { role: 'option', 'aria-selected': 'false' },
      onclick: () => finish(name),
      onpointermove: () => index !== active && mark(index, false)
    })
    if (name === current) made.classList.add('styledelta-current')
    made.append(
      html('span', { className: 'styledelta-folder' }, ...marked(name, positions, 0, folder.length)),
      html('span', { className: 'styledelta-file' }, ...marked(name, positions, folder.length, name.length))
    )
    return made
  }

  function mark(index, scrolls = true) {
    list.children[active]?.setAttribute('aria-selected', 'false')
    active = index
    if (!found.length) return search.removeAttribute('aria-activedescendant')
    const chosen = list.children[active]
    chosen.setAttribute('aria-selected', 'true')
    search.setAttribute('aria-activedescendant', chosen.id)
    if (scrolls) chosen.scrollIntoView({ block: 'nearest' })
  }

  function finish(name) {
    close()
    choose(name)
  }

  search.addEventListener('input', show)
  search.addEventListener('keydown', (event) => {
    const last = Math.min(found.length, list.querySelectorAll('[role=option]').length) - 1
    const target = {
      ArrowDown: active === last ? 0 : active + 1,
      ArrowUp: active === 0 ? last : active - 1,
      PageDown: Math.min(last, active + PAGE),
      PageUp: Math.max(0, active - PAGE)
    }[event.key]
    // Enter may end the input of a Chinese word.
    if (event.isComposing) return
    if (event.key === 'Enter' && found.length) {
      event.preventDefault()
      finish(found[active].name)
    } else if (target !== undefined && found.length) {
      event.preventDefault()
      mark(target)
    }
  })
  const content = html('div', { className: 'styledelta-picker' }, search, list)
  show()
  const close = openPopup(anchor, content, { label: text.search, minWidth: 320 })
  search.focus({ preventScroll: true })
  mark(active)
}

function note(words) {
  return html('div', { className: 'styledelta-picker-note' }, words)
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
