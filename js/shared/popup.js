import { html, keepPointer } from './dom.js'

const GAP = 4
const EDGE = 8

/**
 * Open a box over the page, under an element or at a point, and close the one that is open.
 *
 * It lies in the anchor's widget, and the browser shows it above the page, so that no node clips or scales it. It stays at its
 * anchor when the graph is moved, and closes with Escape, with Tab, with a click outside of it, and when its anchor is gone.
 * anchor: the element that gets the focus back. at: {x, y} in the window, instead of the anchor's place. onClose(escaped) is
 * called once. Returns the function that closes it.
 */
export function openPopup(anchor, content, { label, className = '', minWidth = 0, at, onClose }) {
  const box = html('div', { className: `styledelta-popup ${className}`, popover: 'auto', attributes: { 'aria-label': label } }, content)
  // Nodes 2.0 spares what has it when it takes the wheel for the graph.
  box.dataset.captureWheel = true
  keepEvents(box)
  let escaped = false

  function close() {
    if (box.isConnected) box.hidePopover()
  }

  box.addEventListener('beforetoggle', ({ newState }) => {
    if (newState !== 'closed') return
    const hadFocus = box.contains(document.activeElement)
    onClose?.(escaped)
    if (hadFocus) anchor.focus({ preventScroll: true })
  })
  box.addEventListener('toggle', ({ newState }) => newState === 'closed' && box.remove())
  box.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' && event.key !== 'Tab') return
    event.preventDefault()
    escaped = event.key === 'Escape'
    close()
  })

  anchor.closest('[data-styledelta-widget]').append(box)
  box.showPopover()
  stay(box, anchor, minWidth, at)
  return close
}

/** Keep what is done in a box from the widget and the graph under it. The editor has shortcuts of one letter. */
function keepEvents(box) {
  keepPointer(box)
  for (const name of ['wheel', 'contextmenu', 'keydown', 'keyup']) {
    box.addEventListener(name, (event) => event.stopPropagation())
  }
}

/** Place a box by its anchor, now and whenever the anchor moves. */
function stay(box, anchor, minWidth, at) {
  const start = anchor.getBoundingClientRect()
  let last = null

  function look() {
    if (!box.matches(':popover-open')) return
    if (!anchor.isConnected) return box.hidePopover()
    const now = anchor.getBoundingClientRect()
    if (!last || ['x', 'y', 'width', 'height'].some((name) => now[name] !== last[name])) {
      place(box, at ? new DOMRect(at.x + now.x - start.x, at.y + now.y - start.y, 0, 0) : now, minWidth)
    }
    last = now
    requestAnimationFrame(look)
  }

  look()
}

function place(box, from, minWidth) {
  box.style.minWidth = `${Math.max(minWidth, from.width)}px`
  const { width, height } = box.getBoundingClientRect()
  const left = Math.max(EDGE, Math.min(from.left, innerWidth - width - EDGE))
  const below = from.bottom + GAP
  const fits = below + height <= innerHeight - EDGE
  const top = fits ? below : Math.max(EDGE, from.top - GAP - height)
  Object.assign(box.style, { left: `${left}px`, top: `${top}px` })
}
