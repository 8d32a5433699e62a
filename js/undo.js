import { app } from '../../scripts/app.js'

/** Tell the editor's undo that a change is over. */
export function commit() {
  // Nodes 2.0 measures a node in the frame after: its new size belongs to the change.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    app.canvas.emitBeforeChange()
    app.canvas.emitAfterChange()
  }))
}
