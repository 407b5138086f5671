package quant

import (
	"encoding/binary"
	"math"
)

// quantiseRows fills codes [out, in] and scales [out]; a row of zeros has the scale 0.
func quantiseRows(values []float32, out int, codes, scales []byte) {
	in := len(values) / max(out, 1)
	share(out, func(from, to int) {
		for row := from; row < to; row++ {
			w := values[row*in : (row+1)*in]
			scale := largest(w) / 127
			binary.LittleEndian.PutUint32(scales[4*row:], math.Float32bits(scale))
			if scale == 0 {
				continue
			}
			for i, v := range w {
				code := math.RoundToEven(float64(v / scale))
				codes[row*in+i] = byte(int8(max(-127, min(127, code)))) // rows of subnormal size round past the end
			}
		}
	})
}

func restoreRows(codes, scales []byte, values []float32) {
	in := len(values) / max(len(scales)/4, 1)
	for i := range values {
		scale := math.Float32frombits(binary.LittleEndian.Uint32(scales[i/in*4:]))
		values[i] = float32(int8(codes[i])) * scale
	}
}
