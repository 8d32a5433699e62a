import { html } from '../shared/dom.js'
import { openPopup } from '../shared/popup.js'
import { translate } from '../shared/text.js'
import { fuzzySearch } from './fuzzy.js'
import { connectedModel } from './connected_model.js'
import { readLoraList, readModelFamily } from './lora_files.js'
import { noteUse } from './lora_marks.js'
import { loraNames } from './lora_names.js'
import { loraOption, markFavourites, toggleStar } from './lora_option.js'
import { loraViews } from './lora_views.js'

const TEXT = {
  en: {
    search: 'Search LoRAs',
    none: 'There is no LoRA in models/loras. Put a file there and press R in the graph.',
    noMatch: 'No name matches.',
    star: 'Favourite: keep it in a separate list. Ctrl+Enter',
    more: (count) => `${count} more: type to narrow the list`
  },
  zh: {
    search: '搜索 LoRA',
    none: 'models/loras 中没有 LoRA。请放入文件，然后在画布上按 R。',
    noMatch: '没有匹配的名称。',
    star: '收藏：放入单独的列表。Ctrl+Enter',
    more: (count) => `还有 ${count} 个：输入文字缩小范围`
  }
}
// More rows than one reads; thousands would make typing slow.
const SHOWN = 200
const PAGE = 8
// As the server told it last: a list with pictures from the beginning does not jump.
let pictured = new Set()

/**
 * Open a searchable list of the LoRA files under an element, and call choose(name). current: the name to begin at; node: that of
 * the list, whose connected model tells which LoRAs fit.
 */
export function pickLora(anchor, current, node, choose) {
  const text = translate(TEXT)
  const names = loraNames()
  const views = loraViews(names, () => {
    show()
    search.focus({ preventScroll: true })
  })
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
    found = fuzzySearch(search.value, views.choose(names))
    active = search.value ? 0 : Math.max(0, found.findIndex(({ name }) => name === current))
    // The current one is shown even if it is far down.
    const count = Math.max(SHOWN, active + 1)
    const options = found.slice(0, count).map(option)
    markFavourites(options)
    list.replaceChildren(...options)
    const rest = found.length - count
    if (!found.length) list.append(note(names.length ? views.whyEmpty() || text.noMatch : text.none))
    if (rest > 0) list.append(note(text.more(rest)))
    mark(active)
  }

  function option(match, index) {
    const made = loraOption(match, {
      id: `styledelta-picker-${index}`,
      hasRoom: pictured.size > 0,
      hasPicture: pictured.has(match.name),
      starWords: text.star,
      choose: () => finish(match.name)
    })
    made.addEventListener('pointermove', () => index !== active && mark(index, false))
    if (match.name === current) made.classList.add('styledelta-current')
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
    noteUse(name)
    choose(name)
  }

  // The keyboard stays with the search, whatever is clicked in the list.
  list.addEventListener('mousedown', (event) => event.target.closest('[role=option]') && event.preventDefault())
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
    const view = event.altKey && { ArrowUp: -1, ArrowDown: 1 }[event.key]
    if (event.key === 'Enter' && event.altKey) {
      event.preventDefault()
      views.toggleFits()
    } else if (event.key === 'Enter' && found.length) {
      event.preventDefault()
      if (event.ctrlKey || event.metaKey) toggleStar(list.children[active])
      else finish(found[active].name)
    } else if (view) {
      event.preventDefault()
      views.step(view)
    } else if (target !== undefined && found.length) {
      event.preventDefault()
      mark(target)
    }
  })
  const body = html('div', { className: 'styledelta-picker-body' }, views.element, list)
  const content = html('div', { className: 'styledelta-picker' }, search, body)
  show()
  const close = openPopup(anchor, content, { label: text.search, minWidth: 320 })
  search.focus({ preventScroll: true })
  mark(active)
  learnMore()

  /** Ask the server for pictures and for what fits, which may take its time. */
  async function learnMore() {
    const model = connectedModel(node)
    const family = model ? await readModelFamily(model) : ''
    await readLoraList(
      () => content.isConnected,
      (known) => {
        pictured = known.pictured
        views.showFamily(family, known.fits)
        const [name, top] = [found[active]?.name, list.scrollTop]
        show()
        const again = found.findIndex((match) => match.name === name)
        if (again >= 0) mark(again, false)
        list.scrollTop = top
      }
    )
  }
}

function note(words) {
  return html('div', { className: 'styledelta-picker-note' }, words)
}
