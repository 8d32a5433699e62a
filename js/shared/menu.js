import { html } from './dom.js'
import { openPopup } from './popup.js'

/** Open a menu of [{label, run, isOff}]; arrows, Enter and Escape work. at: see openPopup. */
export function openMenu(anchor, label, entries, at) {
  const items = entries.map((entry) =>
    html(
      'button',
      {
        type: 'button',
        className: 'styledelta-menu-item',
        disabled: Boolean(entry.isOff),
        attributes: { role: 'menuitem' },
        onclick: () => {
          close()
          entry.run()
        }
      },
      entry.label
    )
  )
  const list = html('div', { attributes: { role: 'menu' } }, ...items)
  const usable = items.filter((item) => !item.disabled)
  list.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    const next = usable.indexOf(document.activeElement) + step
    usable.at(next % usable.length).focus()
  })
  const close = openPopup(anchor, list, { label, className: 'styledelta-menu', at })
  usable[0].focus({ preventScroll: true })
}
