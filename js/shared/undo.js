import { app } from '../../../scripts/app.js'

/** Tell the editor's undo that a change is over. */
export function commit() {
  app.canvas.emitBeforeChange()
  app.canvas.emitAfterChange()
}
