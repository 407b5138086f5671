package data

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"sort"

	"alphalora/internal/fault"
)

// entry is what memory holds of a sample.
type entry struct {
	at     int64 // of its words in the file
	place  int32 // its line, or its number in the file where there are no lines of its own
	tokens int32
}

// The first word of a sample says how its labels are stored.
const (
	allLearnt     = 0 // every id is its own label
	signsTell     = 1 // ^id instead of id: not learnt
	labelsApart   = 2 // the labels follow the ids
	wordBytes     = 4
	maxPlaceValue = math.MaxInt32
)

// Set is samples in a temporary file that is gone when the program ends, however it ends.
// A sample can be read by several goroutines at once.
type Set struct {
	Report
	file   *os.File
	out    *bufio.Writer
	hash   hash.Hash
	words  []byte // of the sample that is written
	at     int64
	index  []entry
	firsts []int    // of each file, its first sample
	forms  []layout // of each file
}

func newSet(dir string) (*Set, error) {
	f, err := os.CreateTemp(dir, "alphalora-tokens-*")
	if err != nil {
		return nil, cacheFault(dir, err)
	}
	if err := os.Remove(f.Name()); err != nil { // its bytes stay until it is closed
		_ = f.Close()
		return nil, cacheFault(dir, err)
	}
	return &Set{file: f, out: bufio.NewWriterSize(f, 1<<20), hash: sha256.New()}, nil
}

func cacheFault(dir string, err error) error {
	return fault.Input("data.cache "+dir, "name a directory with room, that can be written", "the tokens are not written: %v", fault.Reason(err))
}

// add appends a sample.
func (s *Set) add(sample Sample, at int) error {
	if at > maxPlaceValue || len(s.index) == maxPlaceValue {
		return fault.Input(s.Files[len(s.Files)-1].Path, "split the file", "has more than %d records", maxPlaceValue)
	}
	form := formOf(sample)
	words := binary.LittleEndian.AppendUint32(s.words[:0], uint32(form))
	for i, id := range sample.IDs {
		if form == signsTell && sample.Labels[i] == Ignored {
			id = ^id
		}
		words = binary.LittleEndian.AppendUint32(words, uint32(id))
	}
	if form == labelsApart {
		for _, label := range sample.Labels {
			words = binary.LittleEndian.AppendUint32(words, uint32(label))
		}
	}
	s.words = words
	s.index = append(s.index, entry{at: s.at, place: int32(at), tokens: int32(len(sample.IDs))})
	s.at += int64(len(words))
	_, _ = s.hash.Write(words) // a hash takes everything
	_, err := s.out.Write(words)
	return err
}

func formOf(sample Sample) int {
	if sample.Labels == nil {
		return allLearnt
	}
	for i, label := range sample.Labels {
		if label != Ignored && label != sample.IDs[i] {
			return labelsApart
		}
	}
	return signsTell
}

// seal ends the writing.
func (s *Set) seal() error {
	s.SHA256 = hex.EncodeToString(s.hash.Sum(nil))
	s.words = nil
	err := s.out.Flush()
	s.out = nil
	return err
}

// Len is the number of samples.
func (s *Set) Len() int { return len(s.index) }

// Tokens is the length of a sample.
func (s *Set) Tokens(i int) int { return int(s.index[i].tokens) }

// Sample reads a sample.
func (s *Set) Sample(i int) (Sample, error) {
	e, end := s.index[i], s.at
	if i+1 < len(s.index) {
		end = s.index[i+1].at
	}
	words := make([]byte, end-e.at)
	if _, err := s.file.ReadAt(words, e.at); err != nil && err != io.EOF {
		return Sample{}, fmt.Errorf("sample %d (%s): its tokens are not read: %w", i, s.Origin(i), err)
	}
	form, words := binary.LittleEndian.Uint32(words), words[wordBytes:]
	n := int(e.tokens)
	sample := Sample{IDs: int32s(words[:n*wordBytes])}
	switch form {
	case signsTell:
		sample.Labels = make([]int32, n)
		for i, id := range sample.IDs {
			sample.Labels[i] = id
			if id < 0 {
				sample.IDs[i], sample.Labels[i] = ^id, Ignored
			}
		}
	case labelsApart:
		sample.Labels = int32s(words[n*wordBytes:])
	}
	return sample, nil
}

func int32s(words []byte) []int32 {
	list := make([]int32, len(words)/wordBytes)
	for i := range list {
		list[i] = int32(binary.LittleEndian.Uint32(words[i*wordBytes:]))
	}
	return list
}

// Origin tells where a sample comes from: its file and line, or number in the file.
func (s *Set) Origin(i int) string {
	at := sort.SearchInts(s.firsts, i+1) - 1
	path, where := s.Files[at].Path, s.index[i].place
	switch s.forms[at] {
	case linesLayout:
		return fmt.Sprintf("%s:%d", path, where)
	case arrayLayout:
		return fmt.Sprintf("%s (record %d)", path, where)
	}
	return fmt.Sprintf("%s (row %d)", path, where)
}

// Shares are the files' samples with their weights, for [Plan].
func (s *Set) Shares() []Share {
	shares := make([]Share, len(s.firsts))
	for i, first := range s.firsts {
		to := s.Len()
		if i+1 < len(s.firsts) {
			to = s.firsts[i+1]
		}
		shares[i] = Share{From: first, To: to, Weight: s.Files[i].Weight}
	}
	return shares
}

// Close frees the temporary file.
func (s *Set) Close() error { return s.file.Close() }

// Bytes is the size of the temporary file.
func (s *Set) Bytes() int64 { return s.at }
