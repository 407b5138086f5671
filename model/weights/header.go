package weights

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"unicode/utf8"
)

// maxHeader bounds the JSON header, as the format does.
const maxHeader = 100 << 20

// maxRank bounds the axes of a tensor.
const maxRank = 16

type entry struct {
	DType   DType     `json:"dtype"`
	Shape   []int     `json:"shape"`
	Offsets [2]uint64 `json:"data_offsets"`
}

// parseHeader reads the tensors that a file of this content declares, in the order of
// their bytes. It accepts nothing that does not fit data to the byte.
func parseHeader(data []byte) (list []Tensor, metadata map[string]string, err error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("%d bytes are too few for a safetensors file", len(data))
	}
	n := uint64(0)
	for i := 7; i >= 0; i-- {
		n = n<<8 | uint64(data[i])
	}
	if n > maxHeader || n > uint64(len(data)-8) {
		return nil, nil, fmt.Errorf("its header claims %d bytes, but the file has %d in all", n, len(data))
	}
	header, body := data[8:8+n], data[8+n:]
	if !utf8.Valid(header) {
		return nil, nil, fmt.Errorf("its header is not UTF-8")
	}
	names, raw, err := object(header)
	if err != nil {
		return nil, nil, fmt.Errorf("its header: %w", err)
	}
	for i, name := range names {
		if name == "__metadata__" {
			if err := json.Unmarshal(raw[i], &metadata); err != nil {
				return nil, nil, fmt.Errorf("its metadata: %w", err)
			}
			continue
		}
		t, err := view(name, raw[i], body)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, t)
	}
	return list, metadata, contiguous(list, body)
}

// object splits a JSON object into its keys and values, and refuses a key that comes twice.
func object(data []byte) (names []string, raw []json.RawMessage, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, fmt.Errorf("is not a JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		name := key.(string) // a decoder gives only strings as keys
		if seen[name] {
			return nil, nil, fmt.Errorf("%.80q comes twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		names, raw = append(names, name), append(raw, value)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, err
	}
	if rest := bytes.TrimSpace(data[d.InputOffset():]); len(rest) > 0 {
		return nil, nil, fmt.Errorf("has %d bytes after its end", len(rest))
	}
	return names, raw, nil
}

// view makes the tensor that one header entry declares.
func view(name string, raw json.RawMessage, body []byte) (Tensor, error) {
	var e entry
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Tensor{}, fmt.Errorf("tensor %.120q: %w", name, err)
	}
	size, known := sizes[e.DType]
	if !known {
		return Tensor{}, fmt.Errorf("tensor %.120q: dtype %.20q is not known", name, e.DType)
	}
	count, err := product(e.Shape)
	if err != nil {
		return Tensor{}, fmt.Errorf("tensor %.120q: %w", name, err)
	}
	from, to := e.Offsets[0], e.Offsets[1]
	switch {
	case from > to || to > uint64(len(body)):
		return Tensor{}, fmt.Errorf("tensor %.120q: claims bytes %d to %d, but the file has %d", name, from, to, len(body))
	case uint64(count)*uint64(size) != to-from:
		return Tensor{}, fmt.Errorf("tensor %.120q: shape %v of %s needs %d bytes, but %d are given", name, e.Shape, e.DType, count*size, to-from)
	}
	return Tensor{Name: name, DType: e.DType, Shape: e.Shape, Data: body[from:to:to], start: int(from)}, nil
}

// contiguous sorts the tensors by place and refuses overlaps and holes.
func contiguous(list []Tensor, body []byte) error {
	sort.SliceStable(list, func(i, j int) bool { return list[i].start < list[j].start })
	at := 0
	for _, t := range list {
		if len(t.Data) == 0 {
			continue
		}
		if t.start != at {
			return fmt.Errorf("tensor %.120q: begins at byte %d where %d is expected: tensors overlap or leave a hole", t.Name, t.start, at)
		}
		at += len(t.Data)
	}
	if at != len(body) {
		return fmt.Errorf("%d bytes of data belong to no tensor", len(body)-at)
	}
	return nil
}

// product multiplies the axes, and refuses more than half of what an int can count.
func product(shape []int) (int, error) {
	if len(shape) > maxRank {
		return 0, fmt.Errorf("%d axes are more than %d", len(shape), maxRank)
	}
	n := 1
	for _, d := range shape {
		if d < 0 || (d > 0 && n > math.MaxInt/16/d) {
			return 0, fmt.Errorf("shape %v is not possible", shape)
		}
		n *= d
	}
	return n, nil
}
