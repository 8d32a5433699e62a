import { html } from '../shared/dom.js'
import { shortName, swatch } from './style_elements.js'
import { styleTitle } from './style_names.js'

// Beyond these a list is to be narrowed by typing.
const MAX_SHOWN = 200

/**
 * A list of styles to choose from, by mouse or by the arrow keys and Space.
 * Returns {root, show}: show({sheet, chosen, asList}) draws it; onToggle(style) is called with a number, or a name in a list.
 */
export function styleGallery(texts, onToggle) {
  const filter = html('input', { className: 'sd-filter', type: 'search', placeholder: texts.filter, attributes: { 'aria-label': texts.filter } })
  const list = html('div', {
    className: 'sd-list',
    attributes: { role: 'listbox', 'aria-multiselectable': 'true', 'aria-label': texts.styles }
  })
  const root = html('div', { className: 'sd-gallery', attributes: { 'data-capture-wheel': 'true' } }, filter, list)
  let shown = null
  let active = 0

  filter.addEventListener('input', draw)
  list.addEventListener('click', (event) => toggle(event.target.closest('[role=option]')))
  list.addEventListener('keydown', (event) => {
    const option = event.target.closest('[role=option]')
    if (!option || event.ctrlKey || event.metaKey || event.altKey) return
    if (event.key === ' ' || event.key === 'Enter') toggle(option)
    else if (!moveFocus(option, event.key)) return
    event.preventDefault()
  })

  function toggle(option) {
    if (!option) return
    active = Number(option.dataset.index)
    const style = shown.asList ? shown.sheet.names[active] : active
    onToggle(style)
  }

  function moveFocus(option, key) {
    const options = [...list.querySelectorAll('[role=option]')]
    const columns = getComputedStyle(list).gridTemplateColumns.split(' ').length
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity }
    if (!(key in steps)) return false
    const wanted = Math.min(Math.max(options.indexOf(option) + steps[key], 0), options.length - 1)
    active = Number(options[wanted].dataset.index)
    for (const each of options) each.tabIndex = each === options[wanted] ? 0 : -1
    options[wanted].focus()
    return true
  }

  function show(state) {
    const isSame = shown?.sheet === state.sheet && String(shown.chosen) === String(state.chosen)
    shown = state
    if (isSame) return
    root.classList.toggle('sd-rows', state.asList)
    filter.hidden = !state.asList
    draw()
  }

  function draw() {
    const { sheet, chosen, asList } = shown
    const focused = list.contains(document.activeElement)
    const scrolled = list.scrollTop
    const wanted = filter.value.trim().toLowerCase()
    const indexes = sheet.names.map((_, index) => index).filter((index) => !asList || sheet.names[index].toLowerCase().includes(wanted))
    const visible = indexes.slice(0, MAX_SHOWN)
    if (!visible.includes(active)) active = visible[0] ?? 0
    list.replaceChildren(...visible.map((index) => optionOf(index, sheet, chosen, asList)))
    list.scrollTop = scrolled
    if (focused) list.querySelector('[tabindex="0"]')?.focus({ preventScroll: true })
    if (indexes.length > MAX_SHOWN) list.append(html('div', { className: 'sd-more' }, texts.more(indexes.length - MAX_SHOWN)))
  }

  function optionOf(index, sheet, chosen, asList) {
    const name = sheet.names[index]
    const title = styleTitle(name)
    const place = chosen.indexOf(asList ? name : index)
    const attributes = {
      role: 'option',
      'aria-selected': String(place >= 0),
      'aria-label': title,
      title,
      tabindex: index === active ? '0' : '-1',
      'data-index': index
    }
    const label = html('span', { className: 'sd-label' }, asList ? shortName(name) : String(index))
    const option = html('div', { className: 'sd-option', attributes }, swatch(sheet.pictures[index], name), label)
    if (place >= 0) option.append(html('span', { className: 'sd-badge', attributes: { 'aria-hidden': 'true' } }, String(place + 1)))
    return option
  }

  return { root, show }
}
