import { html } from './dom.js'

const GAP = 4
const EDGE = 8

let closeOpen = null

/**
 * Open a box over the page, under an element or at a point, and close the one that is open.
 *
 * It lies in the body, so that no node clips or scales it, and it closes with Escape, with Tab, and with a click or the wheel
 * outside of it. anchor: the element that gets the focus back. at: {x, y} in the window, instead of the anchor's place.
 * onClose(escaped) is called once. Returns the function that closes it.
 */
export function openPopup(anchor, content, { label, className = '', minWidth = 0, at, onClose }) {
  closeOpen?.()
  const box = html('div', { className: `styledelta-popup ${className}`, attributes: { 'aria-label': label } }, content)
  const listening = new AbortController()
  const outside = { signal: listening.signal, capture: true, passive: true }

  function close(escaped = false) {
    if (listening.signal.aborted) return
    listening.abort()
    closeOpen = null
    const hadFocus = box.contains(document.activeElement)
    box.remove()
    onClose?.(escaped)
    if (hadFocus) anchor.focus({ preventScroll: true })
  }

  function closeFromOutside(event) {
    if (!box.contains(event.target)) close()
  }

  document.addEventListener('pointerdown', closeFromOutside, outside)
  document.addEventListener('wheel', closeFromOutside, outside)
  window.addEventListener('resize', () => close(), outside)
  box.addEventListener('keydown', (event) => {
    // The editor has shortcuts of one letter.
    event.stopPropagation()
    if (event.key !== 'Escape' && event.key !== 'Tab') return
    event.preventDefault()
    close(event.key === 'Escape')
  })
  box.addEventListener('contextmenu', (event) => event.stopPropagation())

  document.body.append(box)
  place(box, anchor, minWidth, at)
  closeOpen = close
  return close
}

function place(box, anchor, minWidth, at) {
  const from = at ? new DOMRect(at.x, at.y, 0, 0) : anchor.getBoundingClientRect()
  box.style.minWidth = `${Math.max(minWidth, at ? 0 : from.width)}px`
  const { width, height } = box.getBoundingClientRect()
  const left = Math.max(EDGE, Math.min(from.left, innerWidth - width - EDGE))
  const below = from.bottom + GAP
  const fits = below + height <= innerHeight - EDGE
  const top = fits ? below : Math.max(EDGE, from.top - GAP - height)
  Object.assign(box.style, { left: `${left}px`, top: `${top}px` })
}
