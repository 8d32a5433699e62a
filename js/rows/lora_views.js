import { html } from '../shared/dom.js'
import { translate } from '../shared/text.js'
import { favourites, recent } from './lora_marks.js'

const TEXT = {
  en: { label: 'LoRAs to show', all: 'All', favourites: 'Favourites', recent: 'Recently used', fits: (family) => `Only for ${family}`, noFavourites: 'No favourites yet: click the star of a LoRA.', noRecent: 'Nothing chosen yet.' },
  zh: { label: '显示哪些 LoRA', all: '全部', favourites: '收藏', recent: '最近使用', fits: (family) => `仅 ${family}`, noFavourites: '还没有收藏：点击 LoRA 旁的星号。', noRecent: '还没有选择过。' }
}
const ALL = 'all'
const FAVOURITES = 'favourites'
const RECENT = 'recent'
const FOLDER = 'folder:'
let lastView = ALL
let onlyFits = false

/**
 * What part of the LoRAs a list shows: all of them, favourites, those used last, or a folder of the tree with those below it;
 * and of these, those for the connected model alone.
 *
 * names: all files. onChange(): called when the choice changes. Returns {element, choose(names), step(direction), showFamily(family,
 * fits), toggleFits(), whyEmpty()}: choose gives those of the names that are to be shown; fits: {name: families}, where a file may be missing;
 * whyEmpty a sentence where it shows none by itself.
 */
export function loraViews(names, onChange) {
  const text = translate(TEXT)
  const folders = foldersOf(names)
  const views = [ALL, FAVOURITES, RECENT, ...folders.map((folder) => FOLDER + folder)]
  if (!views.includes(lastView)) lastView = ALL
  let family = ''
  let fits = {}

  const buttons = views.map((view) => {
    const folder = view.startsWith(FOLDER) ? view.slice(FOLDER.length) : null
    const made = html(
      'button',
      { type: 'button', className: 'styledelta-view', title: folder ?? text[view], onclick: () => show(view) },
      folder === null ? text[view] : folder.split('/').at(-1)
    )
    if (folder !== null) made.style.paddingLeft = `${8 + 12 * (folder.split('/').length - 1)}px`
    made.classList.toggle('styledelta-view-folder', folder !== null)
    return made
  })
  const checkbox = html('input', { type: 'checkbox', checked: onlyFits, onchange: () => setFits(checkbox.checked) })
  const words = html('span', {})
  const filter = html('label', { className: 'styledelta-fits', title: 'Alt+Enter', hidden: true }, checkbox, words)
  const list = html('div', { className: 'styledelta-view-list' }, ...buttons)
  const element = html('div', { className: 'styledelta-views', attributes: { role: 'group', 'aria-label': text.label } }, list, filter)
  mark()

  function show(view) {
    lastView = view
    mark()
    onChange()
  }

  function setFits(value) {
    onlyFits = checkbox.checked = value
    onChange()
  }

  /** Leave out what does not fit, or show it again, where the family of the model is known. */
  function toggleFits() {
    if (family) setFits(!onlyFits)
  }

  function mark() {
    buttons.forEach((made, at) => made.setAttribute('aria-pressed', views[at] === lastView))
    buttons[views.indexOf(lastView)].scrollIntoView?.({ block: 'nearest' })
  }

  /** One view further up or down. */
  function step(direction) {
    show(views[(views.indexOf(lastView) + direction + views.length) % views.length])
  }

  function showFamily(name, known) {
    family = name
    fits = known
    filter.hidden = !family
    words.textContent = family ? text.fits(family) : ''
  }

  function choose(all) {
    return inView(all).filter((name) => !family || !onlyFits || mayFit(name))
  }

  /** A file of which the families are not known may fit. */
  function mayFit(name) {
    return !fits[name]?.length || fits[name].includes(family)
  }

  function inView(all) {
    if (lastView === FAVOURITES) return all.filter((name) => favourites().includes(name))
    if (lastView === RECENT) return recent().filter((name) => all.includes(name))
    if (lastView === ALL) return all
    return all.filter((name) => slashed(name).startsWith(`${lastView.slice(FOLDER.length)}/`))
  }

  function whyEmpty() {
    return { [FAVOURITES]: favourites().length ? '' : text.noFavourites, [RECENT]: recent().length ? '' : text.noRecent }[lastView] ?? ''
  }

  return { element, choose, step, showFamily, toggleFits, whyEmpty }
}

/** Every folder that holds files, and those above it, in the order of a tree. */
function foldersOf(names) {
  const found = new Set()
  for (const name of names) {
    const parts = slashed(name).split('/').slice(0, -1)
    parts.forEach((_, at) => found.add(parts.slice(0, at + 1).join('/')))
  }
  return [...found].sort((a, b) => a.localeCompare(b, undefined, { numeric: true, sensitivity: 'base' }))
}

function slashed(name) {
  return name.replaceAll('\\', '/')
}
