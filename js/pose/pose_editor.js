import { chain } from '../shared/chain.js'
import { html, keepPointer, readStyle, style } from '../shared/dom.js'
import { addDomWidget } from '../shared/dom_widget.js'
import { remount } from '../shared/remount.js'
import { translate } from '../shared/text.js'
import { commit } from '../shared/undo.js'
import { poseCanvas } from './pose_canvas.js'
import { BODY, FACE, FEET, LEFT, limbOf, PART_ORDER, RIGHT } from './pose_skeleton.js'
import { countOf, framesOf, movePoints, pointsOf, showPoints, standingPerson, textOf } from './pose_value.js'

const TEXTS = {
  en: {
    editor: 'Pose editor',
    canvas: 'Pose: drag a point; with Shift, everything attached to it. Arrow keys move the chosen point, Delete hides it.',
    point: 'Point',
    none: 'no point chosen',
    hide: 'Hide point',
    show: 'Show point',
    hideLimb: 'Hide limb',
    showLimb: 'Show limb',
    add: 'Add person',
    remove: 'Remove person',
    whole: 'Whole picture',
    take: 'Take what was read',
    json: 'JSON',
    frame: 'Frame',
    width: 'Width',
    height: 'Height',
    hint: 'Drag points; with Shift, everything attached to them. Click, then wheel: zoom.',
    following: 'Empty: the connected pose is passed on. Run once to see it; a change begins the edit.',
    unreadable: 'This JSON has another form. It is read when the graph runs; then it can be taken and edited.',
    parts: { [BODY]: 'Body', [FACE]: 'Face', [LEFT]: 'Left hand', [RIGHT]: 'Right hand', [FEET]: 'Feet' },
    joints: [
      'nose', 'neck', 'right shoulder', 'right elbow', 'right wrist', 'left shoulder', 'left elbow', 'left wrist', 'right hip',
      'right knee', 'right ankle', 'left hip', 'left knee', 'left ankle', 'right eye', 'left eye', 'right ear', 'left ear'
    ]
  },
  zh: {
    editor: '姿态编辑器',
    canvas: '姿态：拖动一个点；按住 Shift 连同其后的部分一起拖动。方向键移动选中的点，Delete 隐藏它。',
    point: '点',
    none: '未选择点',
    hide: '隐藏点',
    show: '显示点',
    hideLimb: '隐藏肢体',
    showLimb: '显示肢体',
    add: '添加人物',
    remove: '移除人物',
    whole: '整个画面',
    take: '采用读取的姿态',
    json: 'JSON',
    frame: '帧',
    width: '宽',
    height: '高',
    hint: '拖动各点。Shift：连同其后的部分。点击后用滚轮缩放。',
    following: '为空：直接传递连接的姿态。运行一次即可看到；一经改动即开始编辑。',
    unreadable: '这是其他形式的 JSON。运行时会读取它，之后可以采用并编辑。',
    parts: { [BODY]: '身体', [FACE]: '脸', [LEFT]: '左手', [RIGHT]: '右手', [FEET]: '脚' },
    joints: [
      '鼻子', '颈部', '右肩', '右肘', '右腕', '左肩', '左肘', '左腕', '右髋', '右膝', '右踝', '左髋', '左膝', '左踝', '右眼',
      '左眼', '右耳', '左耳'
    ]
  }
}
const TYPE = 'STYLEDELTA_POSE_EDITOR'
const STYLE = await readStyle('pose/pose_editor.css')
const WIDTH = 400
const HEIGHT = 560
const LONGEST_SIDE = 8192
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
const FAST = 10
// Milliseconds without a change after which undo is told.
const SETTLED = 300

/** The widget of Pose Editor. Its value is the JSON text that delta/pose reads; an empty one passes the connected pose on. */
export const poseEditors = {
  [TYPE]: (node, name, data) => createEditor(node, name, data?.[1]?.default ?? '')
}

function createEditor(node, inputName, initial) {
  const editor = new PoseEditor(node, translate(TEXTS), initial)
  const widget = addDomWidget(node, inputName, TYPE, editor.root, {
    getValue: () => editor.value,
    setValue: (value) => editor.setValue(value),
    getMinHeight: () => HEIGHT,
    serialize: true
  })
  editor.onChange = (value) => widget.callback?.(value)
  chain(node, 'onExecuted', (output) => editor.offer(output?.styledelta_pose?.[0]))
  return { widget, minWidth: WIDTH, minHeight: HEIGHT }
}

class PoseEditor {
  constructor(node, texts, initial) {
    Object.assign(this, { node, texts, value: initial, offered: null, chosen: null, frameIndex: 0, onChange: () => {} })
    this.canvas = poseCanvas(texts.canvas, {
      onChoose: (chosen) => this.choose(chosen),
      onMove: (points, dx, dy) => this.edit((frame) => movePoints(frame.people[this.chosen.person], points, dx, dy)),
      onDone: commit
    })
    this.build()
    this.keepToItself()
    this.show()
  }

  build() {
    const { texts } = this
    this.points = html('select', { className: 'sd-pose-points', attributes: { 'aria-label': texts.point } })
    this.points.addEventListener('change', () => this.choose(JSON.parse(this.points.value)))
    this.hide = this.button('hide', () => this.toggle(false))
    this.hideLimb = this.button('hideLimb', () => this.toggle(true))
    this.add = this.button('add', () => this.addPerson())
    this.removal = this.button('remove', () => this.removePerson())
    this.take = this.button('take', () => this.choosePose(this.offered))
    this.whole = this.button('whole', () => this.canvas.look())
    this.json = this.button('json', () => this.toggleText())
    this.frame = this.number('frame', (value) => this.goTo(value - 1))
    this.width = this.number('width', (value) => this.resize('canvas_width', value))
    this.height = this.number('height', (value) => this.resize('canvas_height', value))
    this.text = html('textarea', { className: 'sd-pose-text', hidden: true, spellcheck: false, attributes: { 'aria-label': texts.json, 'data-capture-wheel': 'true' } })
    this.text.addEventListener('change', () => this.setText(this.text.value))
    this.status = html('div', { className: 'sd-pose-status', attributes: { role: 'status' } })
    const first = html('div', { className: 'sd-pose-bar' }, this.points, this.hide, this.hideLimb)
    const second = html('div', { className: 'sd-pose-bar' }, this.add, this.removal, this.take, this.whole, this.json)
    const third = html('div', { className: 'sd-pose-bar' }, this.width.label, this.height.label, this.frame.label)
    const parts = [style(STYLE), first, second, this.canvas.root, this.text, third, this.status]
    this.root = html('div', { className: 'sd-pose', attributes: { role: 'group', 'aria-label': texts.editor } }, ...parts)
  }

  button(name, onclick) {
    return html('button', { type: 'button', className: `sd-pose-button sd-pose-${name}`, onclick }, this.texts[name])
  }

  number(name, onValue) {
    const input = html('input', { type: 'number', className: `sd-pose-${name}`, min: '1', step: '1' })
    input.addEventListener('change', () => {
      if (Number.isInteger(input.valueAsNumber)) onValue(input.valueAsNumber)
      this.show()
    })
    return { input, label: html('label', {}, `${this.texts[name]} `, input) }
  }

  /** The graph is not to be dragged, zoomed or edited by what is meant for the editor. */
  keepToItself() {
    keepPointer(this.root)
    this.root.addEventListener('contextmenu', (event) => event.stopPropagation())
    this.text.addEventListener('wheel', (event) => event.stopPropagation())
    this.root.addEventListener('keydown', (event) => {
      if (!event.ctrlKey && !event.metaKey) event.stopPropagation()
    })
    this.canvas.root.addEventListener('keydown', (event) => this.keyPressed(event))
  }

  keyPressed(event) {
    if (!this.chosen?.key || event.ctrlKey || event.metaKey || event.altKey) return
    const arrow = ARROWS[event.key]
    if (event.key === 'Delete' || event.key === 'Backspace') this.toggle(event.shiftKey)
    else if (arrow) this.nudge(...arrow.map((part) => part * (event.shiftKey ? FAST : 1)))
    else return
    event.preventDefault()
  }

  nudge(dx, dy) {
    const { person, key, index } = this.chosen
    this.edit((frame) => movePoints(frame.people[person], [[key, index]], dx, dy))
    this.settle()
  }

  setValue(value) {
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    // Nodes 2.0 hands back what it is told, in the middle of a drag too.
    if (text !== this.value) {
      this.value = text
      this.chosen = null
      this.show()
    }
    remount(this.node, this.root, '.sd-pose')
  }

  /** Take what a run read from the connected pose, or from a text that cannot be edited as it is. */
  offer(text) {
    if (typeof text !== 'string') return
    this.offered = text
    this.show()
  }

  /** The frames that are edited: those of the value, or, where it is empty, those of the connected pose. */
  frames() {
    if (this.value.trim()) return framesOf(this.value)
    return this.offered ? framesOf(this.offered) : null
  }

  currentFrame(frames) {
    this.frameIndex = Math.min(this.frameIndex, frames.length - 1)
    return frames[this.frameIndex]
  }

  /** Change the current frame by a function and keep the result. */
  edit(change) {
    const frames = this.frames()
    if (!frames) return
    change(this.currentFrame(frames))
    this.keep(textOf(frames))
  }

  keep(text) {
    this.value = text
    this.onChange(text)
    this.node.setDirtyCanvas?.(true, true)
    this.show()
  }

  /** A row of key strokes is one change for undo. */
  settle() {
    clearTimeout(this.settling)
    this.settling = setTimeout(commit, SETTLED)
  }

  choosePose(text) {
    this.chosen = null
    this.keep(text)
    commit()
  }

  setText(text) {
    if (text !== this.value) this.choosePose(text)
  }

  toggleText() {
    this.text.hidden = !this.text.hidden
    this.canvas.root.toggleAttribute('hidden', !this.text.hidden)
    this.show()
  }

  choose(chosen) {
    this.chosen = chosen ?? (this.chosen && { person: this.chosen.person, key: null, index: -1 })
    this.show()
  }

  goTo(index) {
    this.frameIndex = Math.max(index, 0)
    this.chosen = null
  }

  resize(key, value) {
    this.edit((frame) => {
      frame[key] = Math.max(1, Math.min(value, LONGEST_SIDE))
    })
    commit()
  }

  /** Hide the chosen point, or with all that hangs on it, or show it again. */
  toggle(isLimb) {
    if (!this.chosen?.key) return
    const { person, key, index } = this.chosen
    this.edit((frame) => {
      const chosen = frame.people[person]
      const points = isLimb ? limbOf(key, index, (each) => countOf(chosen, each)) : [[key, index]]
      showPoints(chosen, points, !pointsOf(chosen, key)[index].isSeen)
    })
    commit()
  }

  addPerson() {
    const frames = this.frames() ?? [{ canvas_width: 512, canvas_height: 768, people: [] }]
    const frame = this.currentFrame(frames)
    frame.people.push(standingPerson(frame.canvas_width, frame.canvas_height))
    this.chosen = { person: frame.people.length - 1, key: BODY, index: 0 }
    this.keep(textOf(frames))
    commit()
  }

  removePerson() {
    const { person } = this.chosen
    this.chosen = null
    this.edit((frame) => frame.people.splice(person, 1))
    commit()
  }

  show() {
    const frames = this.frames()
    const frame = frames && this.currentFrame(frames)
    if (!frame || this.chosen?.person >= frame.people.length) this.chosen = null
    this.canvas.show(frame, this.chosen)
    this.showPoints(frame)
    this.showButtons(frames, frame)
    if (this.text !== document.activeElement) this.text.value = this.value
    const isOther = !frames && this.value.trim()
    this.status.textContent = isOther ? this.texts.unreadable : this.value.trim() ? this.texts.hint : this.texts.following
  }

  showPoints(frame) {
    const groups = (frame?.people ?? []).flatMap((person, place) =>
      PART_ORDER.filter((key) => countOf(person, key)).map((key) => {
        const options = pointsOf(person, key)
          .filter((point) => point.isPlaced)
          .map(({ index }) => html('option', { value: JSON.stringify({ person: place, key, index }) }, this.nameOf(key, index)))
        return html('optgroup', { label: `${place + 1}: ${this.texts.parts[key]}` }, ...options)
      })
    )
    this.points.replaceChildren(html('option', { value: 'null' }, this.texts.none), ...groups)
    this.points.value = this.chosen?.key ? JSON.stringify(this.chosen) : 'null'
  }

  nameOf(key, index) {
    return key === BODY ? this.texts.joints[index] : `${this.texts.parts[key]} ${index + 1}`
  }

  showButtons(frames, frame) {
    const person = this.chosen && frame.people[this.chosen.person]
    const point = this.chosen?.key ? pointsOf(person, this.chosen.key)[this.chosen.index] : null
    const isHidden = point && !point.isSeen
    this.hide.textContent = isHidden ? this.texts.show : this.texts.hide
    this.hideLimb.textContent = isHidden ? this.texts.showLimb : this.texts.hideLimb
    this.hide.disabled = this.hideLimb.disabled = !point
    this.removal.disabled = !person
    this.add.disabled = !frame && Boolean(this.value.trim())
    this.take.disabled = !this.offered || this.offered === this.value
    for (const [part, key] of [[this.width, 'canvas_width'], [this.height, 'canvas_height']]) {
      part.input.value = frame?.[key] ?? ''
      part.input.disabled = !frame
      part.input.max = LONGEST_SIDE
    }
    this.frame.label.hidden = !(frames?.length > 1)
    this.frame.input.max = frames?.length ?? 1
    this.frame.input.value = this.frameIndex + 1
  }
}
