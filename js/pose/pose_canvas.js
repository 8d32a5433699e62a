import { svg } from '../shared/dom.js'
import { BODY, carriedBy, limbOf, PART_ORDER, PARTS } from './pose_skeleton.js'
import { countOf, pointsOf } from './pose_value.js'

// Of the shorter side of the canvas: half the width of a limb, as the annotator draws it, and how near a click must be.
const RADIUS = 4 / 512
const REACH = 0.03
const MAX_ZOOM = 20
const WHEEL = 1.0015

/**
 * A drawing of a frame whose points are dragged.
 *
 * Returns {root, show, look}. show(frame, chosen) draws it; chosen: {person, key, index} or null. onChoose(chosen) tells what was
 * clicked, onMove(points, dx, dy) that points, [[key, index], ...] of the chosen person, go so many pixels on, onDone() that a
 * drag is over. look() shows the whole canvas again.
 */
export function poseCanvas(label, { onChoose, onMove, onDone }) {
  const root = svg('svg', { class: 'sd-pose-canvas', tabindex: '0', role: 'application', 'aria-label': label })
  let frame = null
  let view = null
  let drag = null

  /** How many pixels of the canvas one of the screen is, and where the view begins on it. */
  function scaling() {
    const box = root.getBoundingClientRect()
    const perPixel = Math.max(view.width / box.width, view.height / box.height)
    return {
      perPixel,
      left: view.x - (box.width * perPixel - view.width) / 2 - box.left * perPixel,
      top: view.y - (box.height * perPixel - view.height) / 2 - box.top * perPixel
    }
  }

  function placeOf(event) {
    const { perPixel, left, top } = scaling()
    return { x: left + event.clientX * perPixel, y: top + event.clientY * perPixel }
  }

  function nearest({ x, y }) {
    let found = null
    // Points of hands and faces are as near as those of the body, but smaller.
    let least = REACH * Math.min(view.width, view.height)
    frame.people.forEach((person, place) => {
      for (const key of PART_ORDER) {
        for (const point of pointsOf(person, key)) {
          const distance = Math.hypot(point.x - x, point.y - y)
          if (point.isPlaced && distance < least) [found, least] = [{ person: place, key, index: point.index }, distance]
        }
      }
    })
    return found
  }

  root.addEventListener('pointerdown', (event) => {
    if (!frame || event.button !== 0) return
    const at = placeOf(event)
    const chosen = nearest(at)
    root.setPointerCapture(event.pointerId)
    root.focus({ preventScroll: true })
    drag = { chosen, at, isMoved: false }
    onChoose(chosen)
  })

  root.addEventListener('pointermove', (event) => {
    if (!drag || !root.hasPointerCapture(event.pointerId)) return
    const at = placeOf(event)
    const [dx, dy] = [at.x - drag.at.x, at.y - drag.at.y]
    if (!dx && !dy) return
    drag.isMoved = true
    if (!drag.chosen) {
      view = { ...view, x: view.x - dx, y: view.y - dy }
      return draw()
    }
    drag.at = at
    onMove(goesAlong(drag.chosen, event.shiftKey), dx, dy)
  })

  for (const name of ['pointerup', 'pointercancel']) {
    root.addEventListener(name, () => {
      if (drag?.chosen && drag.isMoved) onDone()
      drag = null
    })
  }

  // The wheel belongs to the graph until the drawing is used. Nodes 2.0 hears it first, and spares what has this attribute.
  root.addEventListener('focus', () => root.setAttribute('data-capture-wheel', 'true'))
  root.addEventListener('blur', () => root.removeAttribute('data-capture-wheel'))
  root.addEventListener('wheel', (event) => {
    if (!frame || document.activeElement !== root) return
    event.preventDefault()
    event.stopPropagation()
    const at = placeOf(event)
    const factor = Math.min(WHEEL ** event.deltaY, frame.canvas_width / view.width)
    const width = Math.max(view.width * factor, frame.canvas_width / MAX_ZOOM)
    const height = (width / frame.canvas_width) * frame.canvas_height
    const share = width / view.width
    view = { width, height, x: at.x - (at.x - view.x) * share, y: at.y - (at.y - view.y) * share }
    if (width === frame.canvas_width) look()
    else draw()
  })

  /** The points that are dragged with one: with Shift all that hangs on it. */
  function goesAlong({ person, key, index }, isLimb) {
    const count = (each) => countOf(frame.people[person], each)
    return isLimb ? limbOf(key, index, count) : carriedBy(key, index, count)
  }

  function look() {
    view = frame && { x: 0, y: 0, width: frame.canvas_width, height: frame.canvas_height }
    draw()
  }

  let chosenNow = null

  function draw() {
    if (!frame) return root.replaceChildren()
    root.setAttribute('viewBox', `${view.x} ${view.y} ${view.width} ${view.height}`)
    const { canvas_width: width, canvas_height: height } = frame
    // Half as much larger as the view, so that crowded points come apart.
    const radius = RADIUS * Math.sqrt(Math.min(width, height) * Math.min(view.width, view.height))
    const paper = svg('rect', { class: 'sd-pose-paper', width, height })
    const people = frame.people.map((person, place) => drawnPerson(person, place, radius, chosenNow))
    root.replaceChildren(paper, ...people)
  }

  function show(shown, chosen) {
    const isOther = shown?.canvas_width !== frame?.canvas_width || shown?.canvas_height !== frame?.canvas_height
    frame = shown
    chosenNow = chosen
    if (!view || isOther) look()
    else draw()
  }

  return { root, show, look }
}

function drawnPerson(person, place, radius, chosen) {
  const isChosen = chosen?.person === place
  const parts = Object.keys(PARTS).map((key) => drawnPart(key, pointsOf(person, key), radius, isChosen && chosen.key === key ? chosen.index : -1))
  return svg('g', { class: isChosen ? 'sd-pose-person sd-chosen-person' : 'sd-pose-person' }, ...parts)
}

function drawnPart(key, points, radius, chosenIndex) {
  const { lines, lineColours, colourOf, radius: size } = PARTS[key]
  const drawnLines = lines.flatMap(([from, to], index) => {
    const [start, end] = [points[from], points[to]]
    if (!start?.isPlaced || !end?.isPlaced) return []
    const isSeen = start.isSeen && end.isSeen
    const attributes = { x1: start.x, y1: start.y, x2: end.x, y2: end.y, stroke: lineColours[index] }
    const width = (key === BODY ? 1.6 : 0.7) * radius
    return [svg('line', { ...attributes, 'stroke-width': width, class: isSeen ? 'sd-pose-limb' : 'sd-pose-limb sd-hidden-point' })]
  })
  const dots = points.filter((point) => point.isPlaced).map((point) => {
    const classes = ['sd-pose-point', point.isSeen ? '' : 'sd-hidden-point', point.index === chosenIndex ? 'sd-chosen-point' : '']
    return svg('circle', {
      cx: point.x,
      cy: point.y,
      r: size * radius,
      fill: colourOf(point.index),
      class: classes.filter(Boolean).join(' '),
      'data-part': key,
      'data-index': point.index
    })
  })
  return svg('g', {}, ...drawnLines, ...dots)
}
