package model

import (
	"fmt"

	"alphalora/internal/engine"
	"alphalora/model/nn"
)

// FlashRefusal tells why the model's layers cannot take [nn.Flash] for rows of so many
// tokens; empty where they can. packed rows hold several texts, which a mask keeps apart.
func (m *Model) FlashRefusal(tokens int, packed bool) string {
	if m.Engine.Name != engine.CUDA {
		return fmt.Sprintf("it is xla:cuda's, not %s's", m.Engine.Name)
	}
	if n := m.Engine.Devices.Count; n > 1 {
		return fmt.Sprintf("XLA cannot divide the call over %d devices, and would have each compute it for all rows", n)
	}
	if packed {
		return "it cannot keep the texts of packed rows apart"
	}
	for layer := range m.Layers {
		if w := m.Window(layer); w > 0 && w < tokens {
			return fmt.Sprintf("layer %d sees a window of %d tokens, and rows have up to %d", layer, w, tokens)
		}
	}
	return nn.FlashRefusal(m.Tensors[0].DType(), m.HeadDim, m.AttentionCap)
}
