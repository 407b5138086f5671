// Package quant stores matrices in few bits: numbers in, bytes out, and back.
//
// int8 holds one signed byte a value and one f32 scale a row (an output channel):
//
//	scale = max|w| / 127,  code = round(w / scale),  w ≈ code · scale
//
// nf4 holds four bits a value. All values of the matrix, in the order of the file, are cut
// into blocks of [Block]; a block is divided by its largest size, absmax, and each value
// becomes the nearest of the 16 levels of [NF4]. The sizes are quantised again: less their
// mean, in blocks of [Nested], each to the nearest of the 256 levels of [Dynamic] times the
// block's own largest size. Two values share a byte, the first one in its upper half.
//
//	absmax ≈ Dynamic[code8] · nested + offset,  w ≈ NF4[code4] · absmax
//
// That is 4 + 8/64 + 32/(64·256) = 4.127 bits a value. Sources: Dettmers et al., QLoRA, 2023,
// and 8-bit Optimizers via Block-wise Quantization, 2022. Codes and sizes are those of
// bitsandbytes, which scripts/quantisation.sh compares them with.
package quant

import (
	"runtime"
	"slices"
	"sync"

	"alphalora/internal/fault"
)

// Kind is how a base model's projections are stored. The zero value is [None].
type Kind string

// The kinds.
const (
	None    Kind = ""     // in the number format of the other weights
	Int8    Kind = "int8" // a byte a value, a scale a row
	FourBit Kind = "nf4"  // four bits a value, a size a block
)

// names of the kinds in configurations.
var names = map[string]Kind{"none": None, "int8": Int8, "nf4": FourBit}

// Parse reads a configuration's name of a kind: none, int8 or nf4.
func Parse(name string) (Kind, error) {
	kind, ok := names[name]
	if !ok {
		return None, fault.Input("model_quant "+name, "use none, int8 or nf4", "no such way of storing weights")
	}
	return kind, nil
}

// String is the kind's name in configurations.
func (k Kind) String() string {
	if k == None {
		return "none"
	}
	return string(k)
}

// Version changes whenever the same matrix gives other bytes.
const Version = 1

// Piece is a part of a quantised matrix.
type Piece struct {
	Suffix string // of its name, behind the matrix's
	Type   Type
	Shape  []int
	Data   []byte // little-endian; nil of a mere description
}

// Type is a piece's number format, spelt as in safetensors files.
type Type string

// The formats of pieces.
const (
	I8  Type = "I8"
	U8  Type = "U8"
	F32 Type = "F32"
)

// size is the bytes of a value.
func (t Type) size() int {
	if t == F32 {
		return 4
	}
	return 1
}

// Suffixes of the pieces. The codes are first in every kind.
const (
	Codes  = ".codes"  // int8: I8 [out, in]; nf4: U8 [blocks, Block/2]
	Scale  = ".scale"  // int8: F32 [out]
	Absmax = ".absmax" // nf4: U8 [blocks]
	Sizes  = ".nested" // nf4: F32 [⌈blocks/Nested⌉]
	Offset = ".offset" // nf4: F32 []
)

// Pieces describes what a matrix [out, in] is stored as.
func (k Kind) Pieces(out, in int) []Piece {
	switch k {
	case Int8:
		return []Piece{{Suffix: Codes, Type: I8, Shape: []int{out, in}}, {Suffix: Scale, Type: F32, Shape: []int{out}}}
	case FourBit:
		blocks := pieces(out*in, Block)
		return []Piece{{Suffix: Codes, Type: U8, Shape: []int{blocks, Block / 2}}, {Suffix: Absmax, Type: U8, Shape: []int{blocks}},
			{Suffix: Sizes, Type: F32, Shape: []int{pieces(blocks, Nested)}}, {Suffix: Offset, Type: F32}}
	}
	return nil
}

// Bytes is what a matrix [out, in] takes; 0 of [None].
func (k Kind) Bytes(out, in int) int {
	total := 0
	for _, p := range k.Pieces(out, in) {
		total += p.bytes()
	}
	return total
}

func (p Piece) bytes() int {
	n := p.Type.size()
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Quantise stores finite values [out, in], row by row.
func (k Kind) Quantise(values []float32, out, in int) []Piece {
	list := k.Pieces(out, in)
	for i := range list {
		list[i].Data = make([]byte, list[i].bytes())
	}
	switch k {
	case Int8:
		quantiseRows(values, out, list[0].Data, list[1].Data)
	case FourBit:
		quantiseBlocks(values, list)
	}
	return list
}

// Restore is what the pieces of a matrix [out, in] stand for, as the graph computes it too.
func (k Kind) Restore(list []Piece, out, in int) []float32 {
	values := make([]float32, out*in)
	switch k {
	case Int8:
		restoreRows(list[0].Data, list[1].Data, values)
	case FourBit:
		restoreBlocks(list, values)
	}
	return values
}

// pieces is how many pieces of a size n values are cut into, the last one maybe shorter.
func pieces(n, size int) int { return (n + size - 1) / size }

// largest is the largest size of some values.
func largest(values []float32) float32 {
	most := float32(0)
	for _, v := range values {
		most = max(most, v, -v)
	}
	return most
}

// share runs work over [0, n) on all cores.
func share(n int, work func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() { work(n*w/workers, n*(w+1)/workers) })
	}
	wait.Wait()
}

// middles are halfway between neighbouring levels: a value above so many of them is nearest
// to the level of that number.
func middles(levels []float32) []float32 {
	list := make([]float32, len(levels)-1)
	for i := range list {
		list[i] = (levels[i] + levels[i+1]) / 2
	}
	return list
}

// nearest is the number of the level that v is nearest to, the lower one of two.
func nearest(middles []float32, v float32) byte {
	at, _ := slices.BinarySearch(middles, v)
	return byte(at)
}
