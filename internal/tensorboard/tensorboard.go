// Package tensorboard writes scalars as the event files that TensorBoard reads.
//
// An event file is a sequence of records in TensorFlow's framing, all numbers little-endian:
//
//	length of data  uint64
//	masked CRC-32C of these eight bytes  uint32
//	data
//	masked CRC-32C of data  uint32
//
// A sum c is masked as ((c >> 15) | (c << 17)) + 0xa282ead8. Data is one protocol buffer,
// of whose fields these are written:
//
//	Event:    wall_time = 1 double, step = 2 int64, file_version = 3 string,
//	          summary = 5 Summary, session_log = 7 SessionLog
//	Summary:  value = 1 repeated {tag = 1 string, simple_value = 2 float}
//	SessionLog: status = 1 enum, START = 1
//
// (tensorflow/core/util/event.proto, framework/summary.proto, lib/io/record_writer.h.)
// The first event of a file is its version. The second is a SessionLog START: TensorBoard
// drops what earlier files of the directory hold of its step and later ones, so that a run
// which goes on from a checkpoint shows no step twice.
//
// There is no kept Go library for this: those that exist have had no release for years or
// need TensorFlow itself.
package tensorboard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"alphalora/internal/fault"
)

// prefix begins the names of event files; TensorBoard knows them by it.
const prefix = "events.out.tfevents."

// Writer appends to one event file. It is not for concurrent use.
type Writer struct {
	file *os.File
	now  func() time.Time
}

// Create starts a new event file in dir, which is made if need be, for a run whose next
// step is first, from 1. Where that is 1, the event files of an earlier run are removed;
// otherwise they stay, and count up to the step before first. TensorBoard reads files in
// the order of their names, which begin with a time in seconds: where the clock has gone
// back, the new file is named one second after the newest.
func Create(dir string, first int) (*Writer, error) { return create(dir, first, time.Now) }

func create(dir string, first int, now func() time.Time) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Input(dir, "choose a directory that can be written", "cannot be made: %v", fault.Reason(err))
	}
	newest, err := earlier(dir, first == 1)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fmt.Sprintf("%s%010d.alphalora", prefix, max(now().Unix(), newest+1)))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fault.Input(path, "choose a directory that can be written", "cannot be made: %v", fault.Reason(err))
	}
	w := &Writer{file: f, now: now}
	version := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "brain.Event:2")
	start := message(nil, 7, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1))
	for _, e := range [][]byte{w.event(0, version), w.event(first, start)} {
		if err := w.record(e); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return w, nil
}

// earlier returns the time in the name of the newest event file of dir, 0 for none, and
// removes the files on demand.
func earlier(dir string, remove bool) (newest int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ".")
		if seconds, err := strconv.ParseInt(number, 10, 64); err == nil && seconds < 1e10 {
			newest = max(newest, seconds)
		}
		if remove {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return 0, err
			}
		}
	}
	return newest, nil
}

// Scalars writes the values of one step, by their tags, as one event.
func (w *Writer) Scalars(step int, values map[string]float64) error {
	var summary []byte
	for _, tag := range slices.Sorted(maps.Keys(values)) {
		value := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), tag)
		value = protowire.AppendFixed32(protowire.AppendTag(value, 2, protowire.Fixed32Type), math.Float32bits(float32(values[tag])))
		summary = message(summary, 1, value)
	}
	return w.record(w.event(step, message(nil, 5, summary)))
}

// Close ends the file.
func (w *Writer) Close() error { return w.file.Close() }

// event puts time and step before a body. A step of 0 is the default, which is not written.
func (w *Writer) event(step int, body []byte) []byte {
	seconds := float64(w.now().UnixMicro()) / 1e6
	e := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(seconds))
	if step != 0 {
		e = protowire.AppendVarint(protowire.AppendTag(e, 2, protowire.VarintType), uint64(step))
	}
	return append(e, body...)
}

// message appends a field that holds a message.
func message(to []byte, field protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), body)
}

// record frames data and appends it by a single write: what a killed process leaves ends
// with a whole record.
func (w *Writer) record(data []byte) error {
	framed := binary.LittleEndian.AppendUint64(make([]byte, 0, len(data)+16), uint64(len(data)))
	framed = binary.LittleEndian.AppendUint32(framed, masked(framed))
	framed = append(framed, data...)
	framed = binary.LittleEndian.AppendUint32(framed, masked(data))
	if _, err := w.file.Write(framed); err != nil {
		return fmt.Errorf("%s: not written: %w", w.file.Name(), fault.Reason(err))
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the sum that the framing holds: a plain sum of data that hold sums of their
// own tells little.
func masked(data []byte) uint32 {
	c := crc32.Checksum(data, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
