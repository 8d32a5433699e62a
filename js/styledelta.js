import { app } from '../../scripts/app.js'
import { loraRows } from './lora_rows.js'

app.registerExtension({
  name: 'StyleDelta',
  getCustomWidgets: () => ({ ...loraRows })
})
