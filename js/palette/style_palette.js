import { chain } from '../shared/chain.js'
import { html, keepPointer, readStyle, style } from '../shared/dom.js'
import { addDomWidget } from '../shared/dom_widget.js'
import { remount } from '../shared/remount.js'
import { translate } from '../shared/text.js'
import { commit } from '../shared/undo.js'
import { shortName, swatch } from './style_elements.js'
import { styleGallery } from './style_gallery.js'
import { narrowTitle, numberTitle, styleTitle } from './style_names.js'
import { stylePad } from './style_pad.js'
import { networkOf, paintedMix, readFileStyles, readNetworkStyles, watchQueue } from './style_sources.js'
import { MAX_STYLES, withWeight } from './style_weights.js'

const TEXTS = {
  en: {
    palette: 'Style palette',
    pad: 'Weights of the styles',
    padRole: 'pad, arrow keys move the point',
    empty: 'no style chosen',
    styles: 'Styles',
    filter: 'Find a style',
    weightOf: (name) => `Weight of ${name}`,
    remove: (name) => `Remove ${name}`,
    preview: 'The mix on your picture',
    yours: 'Your picture',
    demo: 'Demo photo. Connect image and run once to see yours.',
    choose: `Choose up to ${MAX_STYLES} styles below.`,
    full: `${MAX_STYLES} styles at most: remove one first.`,
    painting: 'Painting thumbnails…',
    waiting: 'Painting the mix…',
    noStyles: 'This network has no styles of its own. Use Style From Image.',
    noFiles: 'There are no files in models/loras.',
    busy: 'A prompt is running. The preview resumes afterwards.',
    offline: 'No preview: the server does not answer.',
    unreadable: 'This value is not a palette. It is kept unchanged.',
    anew: 'Start over',
    more: (count) => `${count} more: type to narrow the list`
  },
  zh: {
    palette: '风格调色板',
    pad: '各风格的权重',
    padRole: '面板，方向键移动圆点',
    empty: '未选择风格',
    styles: '风格',
    filter: '查找风格',
    weightOf: (name) => `${name} 的权重`,
    remove: (name) => `移除 ${name}`,
    preview: '混合风格在你的图像上的效果',
    yours: '你的图像',
    demo: '演示照片。连接图像并运行一次后显示你的图像。',
    choose: `请在下方选择最多 ${MAX_STYLES} 种风格。`,
    full: `最多 ${MAX_STYLES} 种风格：请先移除一种。`,
    painting: '正在绘制缩略图…',
    waiting: '正在绘制混合效果…',
    noStyles: '该网络没有自带风格，请使用“从图像提取风格”。',
    noFiles: 'models/loras 中没有文件。',
    busy: '正在运行任务，结束后继续预览。',
    offline: '没有预览：服务器没有应答。',
    unreadable: '该值不是调色板，已原样保留。',
    anew: '重新开始',
    more: (count) => `还有 ${count} 个：输入文字以缩小范围`
  }
}
const STYLE = await readStyle('palette/style_palette.css')
const NOTHING = { names: [], pictures: [] }
const HEIGHT = { network: 515, files: 400 }
const WIDTH = 400
// Milliseconds without a change after which undo is told.
const SETTLED = 300

/** The widgets of the two palette nodes. Their value is the JSON text that delta/style_network/palette.py reads. */
export const stylePalettes = {
  STYLEDELTA_STYLE_PALETTE: (node, name, [, { default: start }]) => createPalette(node, name, start, 'network'),
  STYLEDELTA_NORM_PALETTE: (node, name, [, { default: start }]) => createPalette(node, name, start, 'files')
}

function createPalette(node, inputName, start, kind) {
  const texts = translate(TEXTS)
  const palette = new Palette(node, kind, start, texts)
  const type = kind === 'network' ? 'STYLEDELTA_STYLE_PALETTE' : 'STYLEDELTA_NORM_PALETTE'
  const widget = addDomWidget(node, inputName, type, palette.root, {
    getValue: () => palette.value,
    setValue: (value) => palette.setValue(value),
    getMinHeight: () => HEIGHT[kind],
    serialize: true
  })
  palette.onChange = (value) => widget.callback?.(value)
  chain(node, 'onRemoved', () => palette.close())
  chain(node, 'onConfigure', () => palette.open())
  chain(node, 'onConnectionsChange', () => palette.open())
  // A node gets its id and its links after its widgets.
  setTimeout(() => palette.open())
  return { widget, minWidth: WIDTH, minHeight: HEIGHT[kind] }
}

class Palette {
  constructor(node, kind, start, texts) {
    Object.assign(this, { node, kind, texts, value: start, sheet: NOTHING, onChange: () => {}, notice: '' })
    this.pad = stylePad(texts, (weights) => this.setWeights(weights))
    this.gallery = styleGallery(texts, (style) => this.toggle(style))
    this.chosen = html('div', { className: 'sd-chosen' })
    this.status = html('div', { className: 'sd-status', attributes: { role: 'status' } })
    this.top = html('div', { className: 'sd-top' }, this.pad.root)
    if (kind === 'network') {
      this.picture = html('img', { className: 'sd-picture', alt: texts.preview, hidden: true, draggable: false })
      this.caption = html('div', { className: 'sd-caption' })
      this.waiting = html('div', { className: 'sd-waiting' })
      this.preview = html('div', { className: 'sd-preview' }, this.picture, this.waiting, this.caption)
      this.top.append(this.preview)
    }
    const parts = [this.top, this.chosen, this.gallery.root, this.status]
    this.root = html('div', { className: `sd-palette sd-${kind}`, attributes: { role: 'group', 'aria-label': texts.palette } }, style(STYLE), ...parts)
    this.keepToItself()
    this.root.addEventListener('pointerenter', () => this.refreshStyles())
    this.show()
  }

  /** The graph is not to be dragged, zoomed or edited by what is meant for the palette. */
  keepToItself() {
    keepPointer(this.root)
    this.root.addEventListener('contextmenu', (event) => event.stopPropagation())
    this.root.addEventListener('keydown', (event) => {
      if (!event.ctrlKey && !event.metaKey) event.stopPropagation()
    })
    this.gallery.root.addEventListener('wheel', (event) => event.stopPropagation())
  }

  /** Begin to listen and to ask the server; may be called again, when links have changed. */
  open() {
    if (!this.node.graph) return
    if (this.kind === 'network') {
      this.unwatch ??= watchQueue((isBusy) => this.queueChanged(isBusy))
      this.strengthWidget ??= this.watchStrength()
    }
    this.refreshStyles()
    this.askPreview()
  }

  close() {
    clearTimeout(this.settling)
    this.unwatch?.()
    this.unwatch = undefined
    if (this.pictureUrl) URL.revokeObjectURL(this.pictureUrl)
    this.pictureUrl = undefined
  }

  watchStrength() {
    const widget = this.node.widgets.find((each) => each.name === 'strength')
    chain(widget, 'callback', () => this.askPreview())
    return widget
  }

  setValue(value) {
    this.value = typeof value === 'string' ? value : JSON.stringify(value)
    this.notice = ''
    this.show()
    this.askPreview()
    remount(this.node, this.root, '.sd-palette')
  }

  /** The chosen styles, or null where the value is not a palette. */
  styles() {
    try {
      const rows = JSON.parse(this.value).styles
      const wanted = this.kind === 'network' ? Number.isInteger : (style) => typeof style === 'string'
      const isFine = (row) => wanted(row.style) && (row.weight === undefined || Number.isFinite(row.weight))
      if (rows.length > MAX_STYLES || !rows.every(isFine)) return null
      return rows.map((row) => ({ style: row.style, weight: row.weight ?? 1 }))
    } catch {
      return null
    }
  }

  choose(styles) {
    this.value = JSON.stringify({ styles })
    this.notice = ''
    this.onChange(this.value)
    this.node.setDirtyCanvas?.(true, true)
    this.show()
    this.askPreview()
    // A drag is one change.
    clearTimeout(this.settling)
    this.settling = setTimeout(commit, SETTLED)
  }

  setWeights(weights) {
    this.choose(this.styles().map((row, index) => ({ ...row, weight: weights[index] })))
  }

  toggle(style) {
    const styles = this.styles() ?? []
    const place = styles.findIndex((row) => row.style === style)
    if (place >= 0) return this.remove(place)
    if (styles.length === MAX_STYLES) {
      this.notice = this.texts.full
      return this.showStatus()
    }
    const weights = withWeight([...styles.map((row) => row.weight), 0], styles.length, 1 / (styles.length + 1))
    this.choose([...styles, { style }].map((row, index) => ({ style: row.style, weight: weights[index] })))
  }

  remove(place) {
    const left = this.styles().filter((_, index) => index !== place)
    const first = left[0]?.weight ?? 1
    const total = left.reduce((sum, row) => sum + row.weight, 0)
    const weights = left.length ? withWeight(left.map((row) => row.weight), 0, total ? first / total : 1 / left.length) : []
    this.choose(left.map((row, index) => ({ ...row, weight: weights[index] })))
  }

  nameOf(style) {
    return typeof style === 'string' ? style : (this.sheet.names[style] ?? `style ${style}`)
  }

  pictureOf(style) {
    return this.sheet.pictures[typeof style === 'string' ? this.sheet.names.indexOf(style) : style] ?? ''
  }

  show() {
    const styles = this.styles()
    const rows = styles ?? []
    this.pad.show({ styles: rows, nameOf: (style) => numberTitle(shortName(this.nameOf(style))), pictureOf: (style) => this.pictureOf(style) })
    this.gallery.show({ sheet: this.sheet, chosen: rows.map((row) => row.style), asList: this.kind === 'files' })
    this.showChosen(styles)
    this.showStatus()
    if (this.kind === 'network') this.showWaiting(rows)
  }

  /** What is to come in the place of the picture, until it is there. */
  showWaiting(rows) {
    const lines = rows.map(({ style, weight }) => html('div', {}, `${Math.round(weight * 100)} % ${styleTitle(this.nameOf(style))}`))
    this.waiting.replaceChildren(html('div', {}, rows.length ? this.texts.waiting : this.texts.choose), ...lines)
    this.waiting.hidden = !this.picture.hidden
  }

  showChosen(styles) {
    if (!styles) {
      this.shownRows = null
      const button = html('button', { className: 'sd-anew', type: 'button', onclick: () => this.choose([]) }, this.texts.anew)
      const kept = html('code', { className: 'sd-kept', title: this.value }, this.value.slice(0, 200))
      return this.chosen.replaceChildren(html('div', { className: 'sd-unreadable' }, kept, button))
    }
    // While one is typed into, a row is to stay where it is.
    const rows = styles.map(({ style }) => `${style}\n${this.nameOf(style)}\n${this.pictureOf(style)}`).join('\n')
    if (rows !== this.shownRows) this.chosen.replaceChildren(...styles.map((row, index) => this.chosenRow(row, index)))
    this.shownRows = rows
    styles.forEach((row, index) => {
      const input = this.chosen.children[index].querySelector('input')
      input.value = row.weight.toFixed(2)
    })
  }

  chosenRow({ style }, index) {
    const name = this.nameOf(style)
    const titled = styleTitle(name)
    const attributes = { 'aria-label': this.texts.weightOf(titled) }
    const input = html('input', { className: 'sd-weight', type: 'number', min: '0', max: '1', step: '0.05', attributes })
    input.addEventListener('change', () => {
      const weights = this.styles().map((row) => row.weight)
      if (Number.isFinite(input.valueAsNumber)) this.setWeights(withWeight(weights, index, input.valueAsNumber))
      else this.show()
    })
    const title = this.texts.remove(titled)
    const remove = html(
      'button',
      { className: 'sd-remove', type: 'button', title, attributes: { 'aria-label': title }, onclick: () => this.remove(index) },
      '×'
    )
    const label = html('span', { className: 'sd-name', title: titled }, narrowTitle(shortName(name)))
    return html('div', { className: 'sd-row' }, swatch(this.pictureOf(style), name), label, input, remove)
  }

  showStatus() {
    const styles = this.styles()
    if (!styles) this.status.textContent = this.texts.unreadable
    else this.status.textContent = this.notice || (styles.length ? '' : this.texts.choose)
  }

  tell(notice) {
    this.notice = notice
    this.showStatus()
  }

  /** Read the styles again where they may be others. */
  async refreshStyles() {
    const network = networkOf(this.node)
    if (this.kind === 'network' && this.asked === network) return
    this.asked = network
    const onSheet = (sheet) => {
      if (this.asked === network) this.showSheet(sheet)
    }
    try {
      await (this.kind === 'network' ? readNetworkStyles(this.node, onSheet) : readFileStyles(onSheet))
      if (this.asked === network) this.tell(this.sheet.names.length ? '' : this.kind === 'network' ? this.texts.noStyles : this.texts.noFiles)
    } catch (error) {
      if (this.asked !== network) return
      this.asked = undefined
      this.complain(error)
    }
  }

  showSheet(sheet) {
    const isKnown = (part) => sheet[part].join() === this.sheet[part].join()
    if (this.kind === 'files' && isKnown('names') && isKnown('pictures')) return
    this.sheet = { ...sheet }
    this.show()
    if (this.kind === 'network') this.tell(this.texts.painting)
  }

  complain(error) {
    this.isTroubled = true
    this.tell(error.isBusy ? this.texts.busy : error.message || this.texts.offline)
  }

  /** Ask for the mix. While one is painted no other is asked for; the newest follows it. */
  async askPreview() {
    if (this.kind !== 'network' || !this.node.graph) return
    this.wanted = true
    this.preview.setAttribute('aria-busy', 'true')
    if (this.isBusy) this.complain({ isBusy: true })
    if (this.isAsking || this.isBusy) return
    this.isAsking = true
    while (this.wanted && !this.isBusy && this.node.graph) {
      this.wanted = false
      if (this.styles()?.length) await this.paint()
      else this.showPicture(null)
    }
    this.isAsking = false
    this.preview.setAttribute('aria-busy', String(this.wanted))
  }

  async paint() {
    try {
      const { blob, isDemo } = await paintedMix(this.node, this.value, this.strengthWidget?.value ?? 1)
      if (!this.node.graph) return
      this.showPicture(blob, isDemo ? this.texts.demo : this.texts.yours)
      if (this.isTroubled) this.tell('')
      this.isTroubled = false
    } catch (error) {
      this.complain(error)
    }
  }

  /** Show a picture's file with a caption, or none. */
  showPicture(blob, caption = '') {
    if (this.pictureUrl) URL.revokeObjectURL(this.pictureUrl)
    this.pictureUrl = blob ? URL.createObjectURL(blob) : undefined
    if (blob) this.picture.src = this.pictureUrl
    else this.picture.removeAttribute('src')
    this.picture.hidden = !blob
    this.waiting.hidden = Boolean(blob)
    this.caption.textContent = caption
  }

  queueChanged(isBusy) {
    const isDone = !isBusy && (this.isBusy || this.isTroubled)
    this.isBusy = isBusy
    if (!isDone) return
    // The run may have shown the server another network and another picture.
    if (!networkOf(this.node)) this.asked = undefined
    this.refreshStyles()
    this.askPreview()
  }
}
