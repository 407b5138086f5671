package model

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strconv"

	"alphalora/internal/fault"
	"alphalora/model/quant"
	"alphalora/model/weights"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Quantisation says how the projections of a model are stored. The zero value is whole.
type Quantisation struct {
	Kind  quant.Kind
	Cache string            // directory where quantised weights are kept; empty: nowhere
	Log   func(line string) // told when weights are quantised; may be nil
}

// stored is a file of quantised projections: safetensors with each projection's pieces, named
// as in [quant.Piece], and a checksum. It is made once of a base. nil quantises what it is
// asked for.
type stored struct {
	path string
	set  *weights.Set
	quantiser
}

// quantiser names what a file of quantised weights is made from, in its metadata.
type quantiser struct {
	kind quant.Kind
	base string // fingerprint of the checkpoint
}

func (q quantiser) metadata() map[string]string {
	return map[string]string{"base": q.base, "model_quant": q.kind.String(), "version": strconv.Itoa(quant.Version)}
}

// file is the name in a cache.
func (q quantiser) file() string { return fmt.Sprintf("%s-%.32s.safetensors", q.kind, q.base) }

// checksum names the tensor, the last one of the file, that holds the SHA-256 of all before.
const checksum = "sha256"

// openStored opens the quantised projections of a checkpoint, made first where they are not
// kept yet.
func (m *Model) openStored(ctx context.Context, set *weights.Set, how Quantisation) (*stored, error) {
	if how.Kind == quant.None || how.Cache == "" {
		return nil, nil
	}
	m.fingerprint = set.Fingerprint()
	s := &stored{quantiser: quantiser{how.Kind, m.fingerprint}}
	s.path = filepath.Join(how.Cache, s.file())
	if _, err := os.Stat(s.path); err != nil {
		if how.Log != nil {
			how.Log(fmt.Sprintf("quantising %s once to %s: kept in %s", m.Dir, how.Kind, s.path))
		}
		if err := os.MkdirAll(how.Cache, 0o755); err != nil {
			return nil, fault.Input("cache "+how.Cache, "name another directory, or none", "cannot be made: %v", fault.Reason(err))
		}
		if err := s.write(ctx, m.Description, set); err != nil {
			return nil, err
		}
	}
	return s, s.open(m.Description)
}

// again is the remedy for a file that cannot be used.
const again = "remove the file, and it is made again"

// open maps the file and holds it against what it should be, to the byte.
func (s *stored) open(d Description) (err error) {
	if s.set, err = weights.OpenFile(s.path); err != nil {
		return s.refuse(err)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for key, want := range s.metadata() {
		if got := s.set.Metadata()[key]; got != want {
			return fault.Input(s.path, again, "is of another base or way: its %s is %.40q, needed is %.40q", key, got, want)
		}
	}
	if err := s.check(d); err != nil {
		return s.refuse(err)
	}
	return nil
}

// refuse says what is wrong with the file, and this file's remedy in the place of others.
func (s *stored) refuse(err error) error {
	why := err.Error()
	if bad := (*fault.Bad)(nil); errors.As(err, &bad) {
		why = bad.Why
	}
	return fault.Input(s.path, again, "cannot be used: %s", why)
}

// check holds the file's tensors against the model's description, their values against what
// quantising makes, and all against the checksum.
func (s *stored) check(d Description) error {
	layout := append(s.layout(d), weights.Tensor{Name: checksum, DType: "U8", Shape: []int{sha256.Size}})
	specs := make([]weights.Spec, len(layout))
	for i, t := range layout {
		specs[i] = weights.Spec{Name: t.Name, Shape: t.Shape}
	}
	if err := s.set.Check(specs); err != nil {
		return err
	}
	for _, want := range layout {
		if t, _ := s.set.Get(want.Name); t.DType != want.DType {
			return fmt.Errorf("tensor %s is in %s where %s is expected", t.Name, t.DType, want.DType)
		}
	}
	if sum, _ := s.set.Get(checksum); !bytes.Equal(sum.Data, s.sum()) {
		return errors.New("its checksum does not match")
	}
	for _, want := range layout {
		t, _ := s.set.Get(want.Name)
		if err := t.CheckFinite(); err != nil {
			return err
		}
		if at := bytes.IndexByte(t.Data, leastI8); at >= 0 && t.DType == weights.DType(quant.I8) {
			return fmt.Errorf("code %d of tensor %s is -128 where -127 to 127 is expected", at, t.Name)
		}
	}
	return nil
}

// leastI8 is -128, the one byte that is no code: each of nf4's is a pair of levels.
const leastI8 = 0x80

// sum is the checksum of what the file holds.
func (s *stored) sum() []byte {
	h := s.digest()
	for _, name := range s.set.Names() { // sorted, as they were written
		if t, _ := s.set.Get(name); name != checksum {
			add(h, t)
		}
	}
	return h.Sum(nil)
}

// digest begins the checksum with what the metadata say.
func (q quantiser) digest() hash.Hash {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s %s %d\n", q.base, q.kind, quant.Version)
	return h
}

func add(h hash.Hash, t weights.Tensor) {
	_, _ = fmt.Fprintf(h, "%q %s %v\n", t.Name, t.DType, t.Shape)
	_, _ = h.Write(t.Data)
}

// layout lists the pieces of all projections, without their bytes.
func (q quantiser) layout(d Description) []weights.Tensor {
	var list []weights.Tensor
	for _, p := range d.held() {
		if p.projects() {
			list = append(list, tensorsOf(p, q.kind.Pieces(p.Shape[0], p.Shape[1]))...)
		}
	}
	return list
}

// tensorsOf names a projection's pieces.
func tensorsOf(p place, pieces []quant.Piece) []weights.Tensor {
	list := make([]weights.Tensor, len(pieces))
	for i, piece := range pieces {
		list[i] = weights.Tensor{Name: p.Name + piece.Suffix, DType: weights.DType(piece.Type), Shape: piece.Shape, Data: piece.Data}
	}
	return list
}

// write quantises all projections into the file, one at a time.
func (s *stored) write(ctx context.Context, d Description, set *weights.Set) error {
	owner := map[string]place{}
	for _, p := range d.held() {
		for _, piece := range s.kind.Pieces(1, 1) {
			owner[p.Name+piece.Suffix] = p
		}
	}
	list := append(s.layout(d), weights.Tensor{Name: checksum, DType: "U8", Shape: []int{sha256.Size}})
	ready := map[string]weights.Tensor{} // the pieces of one projection follow each other
	sum := s.digest()
	err := weights.Stream(s.path, list, s.metadata(), func(t weights.Tensor) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if t.Name == checksum {
			return sum.Sum(nil), nil
		}
		if _, ok := ready[t.Name]; !ok {
			p := owner[t.Name]
			whole, _ := set.Get(p.File)
			pieces, err := s.quantise(p, p.view(whole))
			if err != nil {
				return nil, err
			}
			for _, piece := range pieces {
				ready[piece.Name] = piece
			}
		}
		piece := ready[t.Name]
		delete(ready, t.Name)
		add(sum, piece)
		return piece.Data, nil
	})
	if err != nil {
		return fmt.Errorf("%w (name another directory for quantised weights, or none)", err)
	}
	return nil
}

// quantise makes the pieces of a weight in a checkpoint.
func (q quantiser) quantise(p place, t weights.Tensor) ([]weights.Tensor, error) {
	if err := t.CheckFinite(); err != nil {
		return nil, err
	}
	values, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	t.Release()
	return tensorsOf(p, q.kind.Quantise(values, p.Shape[0], p.Shape[1])), nil
}

// deviceFormats are those of pieces.
var deviceFormats = map[weights.DType]dtypes.DType{weights.DType(quant.I8): dtypes.Int8, weights.DType(quant.U8): dtypes.Uint8, weights.F32: dtypes.Float32}

// upload moves a projection's pieces to the device; t is its weight in the checkpoint.
func (s *stored) upload(m *Model, p place, t weights.Tensor) (err error) {
	var pieces []weights.Tensor
	if s == nil {
		if pieces, err = (quantiser{kind: m.Quant}).quantise(p, t); err != nil {
			return err
		}
	} else {
		for _, piece := range tensorsOf(p, m.Quant.Pieces(p.Shape[0], p.Shape[1])) {
			piece, _ = s.set.Get(piece.Name)
			pieces = append(pieces, piece)
		}
	}
	for _, piece := range pieces {
		shape := shapes.Make(deviceFormats[piece.DType], piece.Shape...)
		parts, err := m.Engine.FillEach(shape, func(dst []byte) error {
			copy(dst, piece.Data)
			return nil
		})
		if err != nil {
			return err
		}
		piece.Release()
		_, axis := m.Engine.Devices.Split(shape)
		m.addParts(piece.Name, parts, axis)
	}
	return nil
}

func (s *stored) close() {
	if s != nil && s.set != nil {
		_ = s.set.Close()
	}
}

// QuantFingerprint names how the projections are stored, such as "nf4/1"; empty for whole ones.
func (m *Model) QuantFingerprint() string {
	if m.Quant == quant.None {
		return ""
	}
	return fmt.Sprintf("%s/%d", m.Quant, quant.Version)
}
