package model

import (
	"fmt"
	"strings"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model/quant"
)

// room refuses a model whose weights alone need more memory than the GPU has free, before
// any is loaded. Where the device's memory is not known it refuses nothing.
func room(eng *engine.Engine, d Description, dtype string, stored quant.Kind) error {
	device, _, err := ParseDType(dtype)
	if err != nil || eng.GPU == nil {
		return err
	}
	need := d.Bytes(int(device.Size()), stored)
	if _, free := eng.GPUMemory(); need > free {
		why, do := "", "take a smaller model or bfloat16"
		if len(eng.GPU.Users) > 0 {
			why, do = "; it is used by "+strings.Join(eng.GPU.Users, ", "), "end those processes, or name another GPU in CUDA_VISIBLE_DEVICES"
		}
		return fault.Input("the model's weights", do, "%d parameters in %s are %.1f GB, and %s has %.1f GB free for them%s",
			d.Parameters(), dtype, float64(need)/1e9, fmt.Sprintf("GPU %d (%s)", eng.GPU.Index, eng.GPU.Name), float64(free)/1e9, why)
	}
	return nil
}
