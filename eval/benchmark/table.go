package benchmark

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"alphalora/internal/fault"
)

// maxLine bounds a line of a table, in bytes.
const maxLine = 1 << 20

// eachLine streams the lines of a tab-separated table. As in GLUE's files, quotes mean
// nothing: a cell is all that stands between two tabs. columns names the cells; where it
// is nil, the first line does. Record 1 is the first line after that.
func eachLine(name string, r io.Reader, columns []string, do recordFunc) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for first := true; lines.Scan(); first = false {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if first {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if columns == nil {
			columns = strings.Split(line, "\t")
			continue
		}
		n++
		f, err := cells(line, columns)
		if err == nil {
			err = do(f)
		}
		if err != nil {
			return badRecord(name, n, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return badRecord(name, n+1, fmt.Errorf("is longer than %d bytes", maxLine))
	case err != nil:
		return fmt.Errorf("%s: cannot be read: %w", name, err)
	case n == 0:
		return fault.Input(name, "give it at least one record", "holds no records")
	}
	return nil
}

// cells are a line's fields, all of them strings.
func cells(line string, columns []string) (fields, error) {
	if !utf8.ValidString(line) {
		return nil, errUTF8
	}
	values := strings.Split(line, "\t")
	if len(values) != len(columns) {
		return nil, fmt.Errorf("has %d cells, not %d (%s)", len(values), len(columns), clip(strings.Join(columns, ", ")))
	}
	f := fields{}
	for i, v := range values {
		f[columns[i]], _ = json.Marshal(v) // a string always can
	}
	return f, nil
}
