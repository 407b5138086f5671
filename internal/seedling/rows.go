package seedling

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// WriteRows writes count rows of pretraining data, one JSON object {"input_ids":[...]}
// a line, each of length tokens: documents one after the other, every one begun
// by BOSID and ended by EOSID, cut where a row is full. encode turns a text into
// ids without special tokens.
func (w *World) WriteRows(out io.Writer, encode func(string) []int, seed uint64, count, length int) error {
	if count < 1 || length < 2 {
		return fmt.Errorf("rows: %d rows of %d tokens: need at least 1 row of 2 tokens", count, length)
	}
	buffered := bufio.NewWriter(out)
	encoder := json.NewEncoder(buffered)
	var pending []int
	for document := range w.Corpus(seed) {
		pending = append(pending, BOSID)
		pending = append(pending, encode(document)...)
		pending = append(pending, EOSID)
		for ; len(pending) >= length && count > 0; count-- {
			if err := encoder.Encode(map[string][]int{"input_ids": pending[:length]}); err != nil {
				return err
			}
			pending = pending[length:]
		}
		if count == 0 {
			return buffered.Flush()
		}
	}
	panic("unreachable: the corpus has no end")
}
