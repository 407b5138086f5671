package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"alphalora/internal/atomicfile"
)

// Write saves tensors as one safetensors file, whole or not at all. The same tensors
// always give the same bytes: they are laid out by name, the header padded to eight bytes.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	return Stream(path, tensors, metadata, func(t Tensor) ([]byte, error) { return t.Data, nil })
}

// Stream is [Write] for tensors whose bytes are made when their turn comes, so that one of
// them at a time is held. Of tensors only names, formats and shapes count.
func Stream(path string, tensors []Tensor, metadata map[string]string, data func(Tensor) ([]byte, error)) error {
	list := slices.Clone(tensors)
	slices.SortFunc(list, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	header, err := makeHeader(list, metadata)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		if err := binary.Write(w, binary.LittleEndian, uint64(len(header))); err != nil {
			return err
		}
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, t := range list {
			values, err := data(t)
			if err != nil {
				return err
			}
			if want, _ := t.Size(); want != len(values) {
				return fmt.Errorf("tensor %s: %d bytes for shape %v of %s", t.Name, len(values), t.Shape, t.DType)
			}
			if _, err := w.Write(values); err != nil {
				return err
			}
		}
		return nil
	})
}

// Size is the number of bytes that the tensor's shape and format ask for.
func (t Tensor) Size() (int, error) {
	n, err := product(t.Shape)
	if err != nil {
		return 0, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return n * sizes[t.DType], nil
}

func makeHeader(list []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	field := func(name string, value any) error {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		data, err := json.Marshal(value)
		b.Write(key)
		b.WriteByte(':')
		b.Write(data)
		return err
	}
	if len(metadata) > 0 {
		if err := field("__metadata__", metadata); err != nil {
			return nil, err
		}
	}
	at := uint64(0)
	for i, t := range list {
		if i > 0 && list[i-1].Name == t.Name {
			return nil, fmt.Errorf("tensor %s comes twice", t.Name)
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{} // a scalar
		}
		size, err := t.Size()
		if err != nil {
			return nil, err
		}
		if err := field(t.Name, entry{t.DType, shape, [2]uint64{at, at + uint64(size)}}); err != nil {
			return nil, err
		}
		at += uint64(size)
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return b.Bytes(), nil
}
