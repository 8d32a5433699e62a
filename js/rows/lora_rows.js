import { app } from '../../../scripts/app.js'
import { chain } from '../shared/chain.js'
import { html, icon, readStyle, style } from '../shared/dom.js'
import { addDomWidget } from '../shared/dom_widget.js'
import { remount } from '../shared/remount.js'
import { translate } from '../shared/text.js'
import { commit } from '../shared/undo.js'
import { openListMenu } from './list_menu.js'
import { keepDefinitions, shownName } from './lora_names.js'
import { pickLora } from './lora_picker.js'
import { isOn, loraRow, scaleRow } from './lora_row.js'
import { listMissing } from './missing_rows.js'

const STYLE = await readStyle('rows/lora_rows.css')
const TYPE = 'STYLEDELTA_LORA_ROWS'
const TEXT = {
  en: {
    list: 'LoRAs',
    add: 'Add LoRA',
    all: 'Switch all on or off',
    menu: 'Multiply, sort, save or load the list',
    count: (on, all) => (on === all ? `${all} LoRA${all === 1 ? '' : 's'}` : `${on} of ${all} on`),
    empty: 'No LoRA yet.',
    unreadable: 'This is not a JSON list of rows. Correct it here, or clear it to start over.'
  },
  zh: {
    list: 'LoRA 列表',
    add: '添加 LoRA',
    all: '全部打开或关闭',
    menu: '列表的强度、排序、保存和加载',
    count: (on, all) => (on === all ? `${all} 个 LoRA` : `${all} 个中打开 ${on} 个`),
    empty: '还没有 LoRA。',
    unreadable: '这不是 JSON 行列表。请在此改正，或清空后重新开始。'
  }
}
const WIDTH = 480
// As in lora_rows.css.
const HEADER = 30
const ROW = 28
const UNREADABLE = 130
const PADDING = 8
const MARGIN = 6

/** The widget of LoRA Stack: a list of rows, whose value is the JSON text that the node reads. */
export const loraRows = {
  [TYPE]: (node, name) => ({ widget: new LoraRows(node, name).widget, minWidth: WIDTH })
}

class LoraRows {
  constructor(node, name) {
    this.node = node
    this.text = '[]'
    this.rows = []
    this.views = new Map()
    this.words = translate(TEXT)
    this.build()
    this.widget = addDomWidget(node, name, TYPE, this.element, {
      getValue: () => this.text,
      setValue: (text) => this.load(text),
      getMinHeight: () => this.height() + 2 * MARGIN,
      margin: MARGIN
    })
    // The editor calls this when the user refreshes the lists of files.
    chain(node, 'refreshComboInNode', (definitions) => {
      keepDefinitions(definitions)
      this.render()
    })
    this.render()
  }

  build() {
    const { words } = this
    this.toggleAll = html('button', {
      type: 'button',
      className: 'styledelta-switch',
      title: words.all,
      attributes: { role: 'switch', 'aria-label': words.all },
      onclick: () => this.switchAll()
    })
    this.count = html('span', { className: 'styledelta-count' })
    this.addButton = html(
      'button',
      { type: 'button', className: 'styledelta-button styledelta-add', attributes: { 'aria-haspopup': 'listbox' }, onclick: () => this.add() },
      icon('plus'),
      words.add
    )
    this.menuButton = html(
      'button',
      {
        type: 'button',
        className: 'styledelta-more',
        title: words.menu,
        attributes: { 'aria-label': words.menu, 'aria-haspopup': 'menu' },
        onclick: () => openListMenu(this.menuButton, this)
      },
      icon('more')
    )
    this.header = html('div', { className: 'styledelta-header' }, this.toggleAll, this.count, this.addButton, this.menuButton)
    this.body = html('div', { className: 'styledelta-body', attributes: { role: 'list', 'aria-label': words.list } })
    this.element = html('div', { className: 'styledelta-rows' }, style(STYLE), this.header, this.body)
    this.listen()
  }

  /** Keep what is meant for the list from the graph under it, and give the graph what is not. */
  listen() {
    this.element.addEventListener('pointerdown', (event) => {
      event.stopPropagation()
      if (event.button === 1) app.canvas.processMouseDown(event)
    })
    this.element.addEventListener('pointermove', (event) => {
      if (this.drag) this.dragTo(event)
      else if (event.buttons & 4) app.canvas.processMouseMove(event)
    })
    this.element.addEventListener('pointerup', (event) => {
      if (event.button === 1) app.canvas.processMouseUp(event)
      else if (this.drag) this.endDrag()
    })
    this.element.addEventListener('pointercancel', () => this.drag && this.endDrag())
    this.element.addEventListener(
      'wheel',
      (event) => {
        if (event.target instanceof HTMLTextAreaElement) return
        event.preventDefault()
        event.stopPropagation()
        app.canvas.processMouseWheel(event)
      },
      { passive: false }
    )
  }

  // The value

  load(text) {
    if (text === this.text) return
    this.text = typeof text === 'string' ? text : JSON.stringify(text ?? [])
    this.rows = readRows(this.text)
    this.render()
    remount(this.node, this.element, '.styledelta-rows')
    // In Nodes 2.0 the style sheet makes room.
    if (!LiteGraph.vueNodesMode) this.node.expandToFitContent()
    this.node.setDirtyCanvas(true, true)
  }

  /** Bring the value up to date with the rows. */
  write() {
    this.text = JSON.stringify(this.rows)
    this.widget.callback?.(this.text)
    this.listMissing()
    this.showCount()
  }

  // The rows

  add() {
    pickLora(this.addButton, undefined, this.node, (name) => {
      this.edit(() => this.rows.push({ on: true, name, model: 1 }))
      this.views.get(this.rows.at(-1)).handle.focus({ preventScroll: true })
    })
  }

  switchAll() {
    const on = !this.rows.every(isOn)
    this.edit(() => this.rows.forEach((row) => Object.assign(row, { on })))
  }

  /** Switch all other rows off, or on again as they were before. */
  solo(row) {
    const isSolo = this.isSolo(row)
    if (!isSolo) this.before = new Map(this.rows.map((each) => [each, isOn(each)]))
    this.edit(() => this.rows.forEach((each) => (each.on = each === row || (isSolo && (this.before?.get(each) ?? true)))))
  }

  isSolo(row) {
    return this.rows.every((each) => isOn(each) === (each === row))
  }

  scale(factor) {
    this.edit(() => this.rows.forEach((row) => scaleRow(row, factor)))
  }

  sort() {
    const names = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })
    this.edit(() => this.rows.sort((a, b) => names.compare(shownName(a.name ?? '')[1], shownName(b.name ?? '')[1])))
  }

  /** The list as a file has it, which is also what the node reads. */
  asFile() {
    return JSON.stringify(this.rows, null, 2)
  }

  /** Put the rows of such a text in the place of those that there are. Returns whether it has some. */
  replace(text) {
    const rows = readRows(text)
    if (rows?.length) this.edit(() => this.rows.splice(0, this.rows.length, ...rows))
    return Boolean(rows?.length)
  }

  index(row) {
    return this.rows.indexOf(row)
  }

  /** How many rows there are. */
  length() {
    return this.rows.length
  }

  move(row, step) {
    const from = this.index(row)
    const to = from + step
    if (to < 0 || to >= this.rows.length) return
    const focused = document.activeElement
    this.edit(() => this.rows.splice(to, 0, ...this.rows.splice(from, 1)))
    // An element that is moved in the page loses the focus.
    focused.focus({ preventScroll: true })
  }

  duplicate(row) {
    const copy = structuredClone(row)
    this.edit(() => this.rows.splice(this.index(row) + 1, 0, copy))
    this.views.get(copy).handle.focus({ preventScroll: true })
  }

  remove(row) {
    const index = this.index(row)
    this.edit(() => this.rows.splice(index, 1))
    const next = this.rows[Math.min(index, this.rows.length - 1)]
    const target = next ? this.views.get(next).handle : this.addButton
    target.focus({ preventScroll: true })
  }

  /** Change which rows there are, and let the node grow or shrink with them. */
  edit(change) {
    const before = this.height()
    change()
    this.write()
    this.render()
    this.grow(this.height() - before)
    commit()
  }

  grow(pixels) {
    const { node } = this
    if (!pixels) return
    const height = node.size[1] + pixels
    node.setSize([node.size[0], LiteGraph.vueNodesMode ? height : Math.max(height, node.computeSize()[1])])
    node.setDirtyCanvas(true, true)
  }

  // Dragging a row

  startDrag(row, event) {
    event.stopPropagation()
    // The list keeps the pointer: a row that is moved in the page would lose it.
    this.element.setPointerCapture(event.pointerId)
    this.drag = row
    this.views.get(row).element.classList.add('styledelta-dragged')
  }

  dragTo(event) {
    event.stopPropagation()
    const { top, height } = this.body.getBoundingClientRect()
    const place = Math.floor(((event.clientY - top) / height) * this.rows.length)
    const to = Math.max(0, Math.min(this.rows.length - 1, place))
    const from = this.index(this.drag)
    if (to === from) return
    this.rows.splice(to, 0, ...this.rows.splice(from, 1))
    this.write()
    this.render()
  }

  endDrag() {
    const { element: row, handle } = this.views.get(this.drag)
    row.classList.remove('styledelta-dragged')
    this.drag = null
    handle.focus({ preventScroll: true })
    commit()
  }

  // The page

  height() {
    if (!this.rows) return UNREADABLE + PADDING
    return HEADER + Math.max(1, this.rows.length) * ROW + PADDING
  }

  render() {
    this.listMissing()
    this.element.style.minHeight = `${this.height()}px`
    this.header.hidden = !this.rows
    if (!this.rows) return this.renderUnreadable()
    for (const row of this.rows) {
      if (this.views.has(row)) this.views.get(row).update()
      else this.views.set(row, loraRow(row, this))
    }
    for (const row of this.views.keys()) {
      if (!this.rows.includes(row)) this.views.delete(row)
    }
    const wanted = this.rows.map((row) => this.views.get(row).element)
    if (!wanted.length) wanted.push(html('div', { className: 'styledelta-none' }, this.words.empty))
    for (const old of [...this.body.children]) if (!wanted.includes(old)) old.remove()
    wanted.forEach((child, at) => {
      if (this.body.children[at] !== child) this.body.insertBefore(child, this.body.children[at] ?? null)
    })
    this.showCount()
  }

  listMissing() {
    const on = (this.rows ?? []).filter(isOn).map((row) => row.name ?? '')
    listMissing(this.node, on, (old, name) => {
      this.edit(() => this.rows.filter((row) => row.name === old).forEach((row) => (row.name = name)))
    })
  }

  showCount() {
    const on = this.rows.filter(isOn).length
    this.count.textContent = this.rows.length ? this.words.count(on, this.rows.length) : ''
    this.toggleAll.disabled = !this.rows.length
    this.toggleAll.setAttribute('aria-checked', on > 0 && on === this.rows.length)
    this.toggleAll.classList.toggle('styledelta-some', on > 0 && on < this.rows.length)
  }

  /** A value that cannot be read stays, as text that can be corrected. */
  renderUnreadable() {
    const area = html('textarea', {
      className: 'styledelta-unreadable',
      value: this.text,
      spellcheck: false,
      attributes: { 'aria-label': this.words.unreadable },
      onchange: () => {
        const before = this.height()
        this.load(area.value)
        this.grow(this.height() - before)
        commit()
      }
    })
    this.views.clear()
    this.body.replaceChildren(html('div', { className: 'styledelta-warning' }, this.words.unreadable), area)
  }
}

/** The rows of a JSON text, null where it is not a list of objects. Nothing but white space has none. */
function readRows(text) {
  try {
    const rows = text.trim() ? JSON.parse(text) : []
    const isList = Array.isArray(rows) && rows.every((row) => row && typeof row === 'object' && !Array.isArray(row))
    return isList ? rows : null
  } catch {
    return null
  }
}
