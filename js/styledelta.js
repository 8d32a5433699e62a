import { app } from '../../scripts/app.js'
import { stylePalettes } from './palette/style_palette.js'
import { poseEditors } from './pose/pose_editor.js'
import { reportPanel } from './reports/report_panel.js'
import { keepDefinitions } from './rows/lora_names.js'
import { loraRows } from './rows/lora_rows.js'
import { html } from './shared/dom.js'
import { restoreTexts } from './shared/locale.js'

app.registerExtension({
  name: 'styledelta.widgets',
  init: restoreTexts,
  getCustomWidgets: () => ({ ...loraRows, ...stylePalettes, ...poseEditors }),
  refreshComboInNodes: keepDefinitions,
  ...reportPanel
})

// Sockets are drawn by the front end, outside of the pack's widgets.
document.head.append(html('link', { rel: 'stylesheet', href: new URL('./sockets.css', import.meta.url) }))
