import { app } from '../../scripts/app.js'
import { stylePalettes } from './palette/style_palette.js'
import { poseEditors } from './pose/pose_editor.js'
import { reportPanel } from './reports/report_panel.js'
import { keepDefinitions } from './rows/lora_names.js'
import { loraRows } from './rows/lora_rows.js'
import { restoreTexts } from './shared/locale.js'
import { colourSockets } from './sockets.js'

app.registerExtension({
  name: 'styledelta.widgets',
  async init() {
    colourSockets()
    await restoreTexts()
  },
  getCustomWidgets: () => ({ ...loraRows, ...stylePalettes, ...poseEditors }),
  refreshComboInNodes: keepDefinitions,
  ...reportPanel
})
