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
	need := func(value int, stored quant.Kind) int64 {
		bytes := d.Bytes(value, stored)
		if eng.Devices.Divided {
			bytes /= int64(eng.Devices.Count)
		}
		return bytes
	}
	_, free := eng.GPUMemory()
	asked := need(int(device.Size()), stored)
	if asked <= free {
		return nil
	}
	why, do := "", []string{"take a smaller model"}
	if len(eng.GPU.Users) > 0 {
		why = "; it is used by " + strings.Join(eng.GPU.Users, ", ")
		do = append(do, "end those processes, or name another GPU in CUDA_VISIBLE_DEVICES")
	}
	const half = 2 // bytes
	for _, kind := range []quant.Kind{quant.None, quant.Int8, quant.FourBit} {
		if bytes := need(half, kind); bytes < asked && bytes <= free {
			do = append(do, fmt.Sprintf("in bfloat16 with model_quant %s they are %.1f GB", kind, float64(bytes)/1e9))
		}
	}
	return fault.Input("the model's weights", strings.Join(do, "; "), "%d parameters in %s with model_quant %s are %.1f GB, and GPU %d (%s) has %.1f GB free for them%s",
		d.Parameters(), dtype, stored, float64(asked)/1e9, eng.GPU.Index, eng.GPU.Name, float64(free)/1e9, why)
}
